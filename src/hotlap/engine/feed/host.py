"""Batches prepared image by image on the host, as `HostLoader` describes, and copied to the device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hotlap.data.augment import Geometry, Pixels, Translate
from hotlap.data.dataset import Dataset
from hotlap.data.device import DeviceSet
from hotlap.data.loading import HostLoader
from hotlap.engine.feed.device import DeviceFeed
from hotlap.machine.backend import Backend
from hotlap.machine.ranks import ALONE, Ranks
from hotlap.plan import Plan
from hotlap.spec import DataSpec

Floats = npt.NDArray[np.float32]
Batch = list[int]  # the number of the batch in its epoch, then the images in it


class HostFeed(DeviceFeed):
    """A feed whose images come through a `torch.utils.data.DataLoader`; see `DeviceFeed`."""

    def __init__(
        self,
        plan: Plan,
        loader: HostLoader,
        dataset: Dataset,
        images: DeviceSet,
        backend: Backend,
        ranks: Ranks = ALONE,
    ):
        super().__init__(plan, images, backend, plan.batch_size, ranks)
        self.loader, self.dataset = loader, dataset
        self.prepared: Floats | None = None
        self.batches: Iterator[Tensor] | None = None
        self.next_step = 0  # of the run: whose batch `batches` gives next
        c, h, w = images.shape
        share = self.size // ranks.count
        self.buffer = torch.zeros(share, c, h, w, dtype=backend.dtype, device=backend.device)
        self.buffer = self.buffer.to(memory_format=backend.format)

    def begin(self, seed: int) -> None:
        super().begin(seed)
        if self.loader.preprocess == "once":
            self.prepared = preprocess(np.asarray(self.dataset.train.images), self.dataset.spec, self.border)

    @property
    def border(self) -> int:
        return sum(op.pixels for op in self.plan.augment if isinstance(op, Translate))

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.batches = None

    def enter(self, step: int) -> None:
        epoch, within = divmod(step, self.steps_per_epoch)
        fresh = self.drawn != (self.seed, epoch)
        super().enter(step)
        if fresh or step != self.next_step:
            self.batches, self.next_step = self._load(epoch, within), step

    def _load(self, epoch: int, within: int) -> Iterator[Tensor]:
        if self.loader.preprocess == "once" and self.prepared is None:  # a resumed run
            self.prepared = preprocess(np.asarray(self.dataset.train.images), self.dataset.spec, self.border)
        pairs = list(zip(self.plan.augment, self.choices, strict=True))
        pairs = [p for kind in (Geometry, Pixels) for p in pairs if isinstance(p[0], kind)]
        ops = [op for op, _ in pairs]
        choices: list[npt.NDArray[Any]] | None = None
        if self.loader.random == "bulk":
            choices = [choice.cpu().numpy() for _, choice in pairs]
        images = Prepared(self, ops, choices, epoch)
        order = self.order.cpu()
        batches = [
            [n, *self.ranks.mine(order[n * self.size : (n + 1) * self.size]).tolist()]
            for n in range(within, self.steps_per_epoch)
        ]
        made: DataLoader[Tensor] = DataLoader(
            images,  # type: ignore[arg-type]
            batch_sampler=batches,
            num_workers=self.loader.workers,
            collate_fn=stack,
            pin_memory=self.backend.device.type == "cuda",
        )
        return iter(made)

    def push(self) -> None:
        """Wait for the next batch and copy it to the device."""
        if self.batches is None:  # compiling: the buffer's zeros will do
            return
        start = time.perf_counter()
        batch = next(self.batches)
        self.wait_s += time.perf_counter() - start
        self.next_step += 1
        self.buffer.copy_(batch, non_blocking=True)
        if self.next_step % self.steps_per_epoch == 0 or self.next_step == self.steps:
            self.batches = iter(())  # ends the loader's processes before anything else runs

    def read(self, index: Tensor) -> Tensor:
        return self.buffer


class Prepared:
    """The training set as a map-style dataset that prepares one image after another in Python.

    Holds plain arrays only, so that loader processes can have it.
    """

    def __init__(self, feed: HostFeed, ops: list[Any], choices: list[npt.NDArray[Any]] | None, epoch: int):
        self.images = np.asarray(feed.dataset.train.images)
        self.prepared, self.spec, self.border = feed.prepared, feed.dataset.spec, feed.border
        self.ops, self.choices, self.seed, self.epoch = ops, choices, feed.seed, epoch
        self.rank = [feed.ranks.rank] if feed.ranks.count > 1 else []

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, batch: Batch) -> list[Floats]:
        number, *indices = batch
        rng = np.random.default_rng([self.seed, self.epoch, number, *self.rank])
        return [self.example(i, rng) for i in indices]

    def example(self, index: int, rng: np.random.Generator) -> Floats:
        """One augmented, normalised image (C, H, W) float32."""
        if self.prepared is not None:
            image: Floats = self.prepared[index]
        else:
            image = preprocess(self.images[index : index + 1], self.spec, self.border)[0]
        for i, op in enumerate(self.ops):
            if self.choices is not None:
                choice = self.choices[i][index]
            else:
                choice = op.pick(rng, self.spec.height, self.spec.width)
            image = op.one(image, choice)
        return image


def stack(examples: list[Floats]) -> Tensor:
    return torch.from_numpy(np.stack(examples))


def preprocess(images: npt.NDArray[np.uint8], spec: DataSpec, border: int) -> Floats:
    """(N, H, W, C) uint8 to (N, C, H + 2 border, W + 2 border) float32: normalised, edges mirrored."""
    mean = np.array(spec.mean, dtype=np.float32)
    std = np.maximum(np.array(spec.std, dtype=np.float32), 1e-3)
    x = (images.astype(np.float32) - mean) * (1 / std)
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    padded: Floats = np.pad(x, [(0, 0), (0, 0), (border, border), (border, border)], mode="reflect")
    return padded
