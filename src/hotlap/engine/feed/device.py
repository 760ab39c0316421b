"""Batches from a set on the device: shuffled, augmented and normalised there, all of it inside the step."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.data.augment import Epoch, Geometry, Mixture, Pixels
from hotlap.data.device import DeviceSet
from hotlap.data.loading import sides
from hotlap.machine.backend import Backend
from hotlap.machine.ranks import ALONE, Ranks
from hotlap.plan import Plan
from hotlap.seeds import generator


class Prelude(Protocol):
    """What a feed trains at the start of a run to choose its batches."""

    def compile(self) -> None: ...


class DeviceFeed:
    """The batches of a run, and where in it they are.

    What is random is drawn in bulk at the start of each epoch (`enter`), into buffers that the step reads;
    so `batch` is the same kernels on the same addresses every time and can be captured.

    Args:
        plan: its augmentation, epochs and number of classes are used.
        images: the training set on the device.
        backend: device and arithmetic.
        size: images a batch.
        ranks: the processes of the run. A batch is the same whatever their number; each makes its share.

    Attributes:
        steps_per_epoch, steps: of an epoch and of the whole run.
        step_index, cursor: (1,) int64 on the device: the step of the run, and of the epoch.
        order: (count,) int64, the epoch's order.
        choices: for each augmentation, what was drawn for each image of the set.
        wait_s: seconds spent waiting for batches in `push`; 0 here.
    """

    def __init__(self, plan: Plan, images: DeviceSet, backend: Backend, size: int, ranks: Ranks = ALONE):
        self.plan, self.images, self.backend, self.size = plan, images, backend, size
        self.ranks = ranks
        self.wait_s = 0.0
        self.seed = 0
        device, count = backend.device, len(images)
        self.steps_per_epoch = count // size
        self.steps = max(1, math.ceil(plan.epochs * self.steps_per_epoch - 1e-9))
        zeros = partial(torch.zeros, dtype=torch.int64, device=device)
        self.step_index, self.cursor, self.order = zeros(1), zeros(1), zeros(count)
        self.offsets = torch.arange(size, device=device)
        self.choices = [torch.zeros_like(op.draw(self._epoch(0, i))) for i, op in enumerate(plan.augment)]
        self.drawn: tuple[int, int] | None = None  # the (seed, epoch) whose draws the buffers hold

    @property
    def prelude(self) -> Prelude | None:
        """What this feed trains at the start of a run to choose its batches; nothing here."""
        return None

    def assume_prelude(self) -> None:
        """Let the next `begin` go without the prelude, as if it had run: for timing and capturing steps."""

    def compile(self) -> None:
        """Compile the prelude, if there is one."""
        if self.prelude is not None:
            self.prelude.compile()

    def begin(self, seed: int) -> None:
        """Before the first step of a run, in its training time."""
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Forget what was drawn, and stand before the first step."""
        self.seed, self.drawn = seed, None
        self.step_index.zero_()
        self.cursor.zero_()

    def enter(self, step: int) -> None:
        """Stand before `step`, with its epoch's order and augmentation drawn."""
        epoch = self.epoch_of(step)
        self.step_index.fill_(step)
        self.cursor.fill_(step - self.first_of(epoch))
        if self.drawn == (self.seed, epoch):
            return
        self.order.copy_(self._ordered(epoch))
        for i, (op, choice) in enumerate(zip(self.plan.augment, self.choices, strict=True)):
            choice.copy_(op.draw(self._epoch(epoch, i)))
        self.drawn = (self.seed, epoch)

    def epoch_of(self, step: int) -> int:
        """Which pass over the images a step belongs to."""
        return step // self.steps_per_epoch

    def first_of(self, epoch: int) -> int:
        """The step that a pass begins with."""
        return epoch * self.steps_per_epoch

    def _ordered(self, epoch: int) -> Tensor:
        """(count,) int64: every image once, in the order of this pass."""
        device = self.backend.device
        order = generator(self.seed, "order", epoch, device=device)
        return torch.randperm(len(self.order), generator=order, device=device)

    def _epoch(self, index: int, operation: int) -> Epoch:
        _, height, width = self.images.shape
        progress = self.first_of(index) / self.steps
        streams = partial(generator, self.seed, "augment", operation, device=self.backend.device)
        return Epoch(index, progress, len(self.images), height, width, streams, self.backend.device)

    def push(self) -> None:
        """What the host does before each step; nothing here."""

    def advance(self, losses: Tensor) -> None:
        """The step is done, and has come to these losses (B,), of all ranks' images; part of it."""
        self.step_index.add_(1)
        self.cursor.add_(1)

    def state(self) -> dict[str, Tensor]:
        """What a run that is resumed has to know of the batches before; by name, views."""
        return {}

    def index(self) -> Tensor:
        """(B,) int64: which images are in the batch, all ranks' together."""
        return self.order.index_select(0, self.cursor * self.size + self.offsets)

    def batch(self, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """The next batch, or this rank's share of it.

        Args:
            scale: side of the images as a share of the set's.

        Returns:
            images (B, C, H, W), targets ((B,) int64, or (B, classes) where a mixture blends them), and the
            images' own labels (B,) int64.
        """
        index = self.ranks.mine(self.index())
        x, labels = self.read(index), self.images.labels.index_select(0, index)
        target = labels
        for op, choice in self._operations(Mixture, index):
            if target is labels:
                classes = torch.arange(self.images.classes, device=labels.device)
                target = (labels[:, None] == classes).to(self.backend.weights_dtype)
            x, target = op.mix(choice, x, target)
        return resized(x, scale, self.backend.format), target, labels

    def read(self, index: Tensor) -> Tensor:
        """Augmented, normalised images (B, C, H, W) at `index` (B,)."""
        maps = None
        geometry = self._operations(Geometry, index)
        if geometry:
            _, height, width = self.images.shape
            rows, columns = (
                torch.arange(n, device=index.device).expand(len(index), n) for n in (height, width)
            )
            for op, choice in geometry:
                rows, columns = op.edit(choice, rows, columns)
            maps = rows, columns
        x = self.images.read(index, maps)
        for op, choice in self._operations(Pixels, index):
            x = op.paint(choice, x)
        return x

    def _operations(self, kind: tuple[type, ...], index: Tensor) -> list[tuple[Any, Tensor]]:
        pairs = zip(self.plan.augment, self.choices, strict=True)
        return [(op, choice.index_select(0, index)) for op, choice in pairs if isinstance(op, kind)]


def resized(x: Tensor, scale: float, layout: torch.memory_format) -> Tensor:
    """Images (B, C, H, W) brought to `scale` times their sides, rounded, with an antialiasing filter: the one
    of `F.interpolate(mode="bilinear", antialias=True)`, as products of matrices, which are faster."""
    if scale == 1:
        return x
    b, c, height, width = x.shape
    h, w = sides(height, width, scale)
    wide = x.permute(0, 2, 3, 1).to(torch.promote_types(x.dtype, torch.float32))
    rows, columns = (resizing(*n, wide.dtype, x.device) for n in ((height, h, 1), (width, w, c)))
    down = rows @ wide.reshape(b, height, width * c)
    small = F.linear(down.view(b * h, width * c), columns).view(b, h, w, c)
    return small.to(x.dtype).permute(0, 3, 1, 2).contiguous(memory_format=layout)


@cache
def resizing(size: int, to: int, channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(to * channels, size * channels): `to` pixels as weighted means of `size`, each channel by itself. The
    weights fall in a straight line with the distance, to 0 at the distance of two of the resulting pixels."""
    at = torch.device("cpu") if device.type == "mps" else device  # which has no float64
    wide = partial(torch.arange, dtype=torch.float64, device=at)
    step = size / to
    distances = (wide(to)[:, None] + 0.5) * step - (wide(size) + 0.5)
    weights = (1 - distances.abs() / step).clamp(min=0)
    weights /= weights.sum(1, keepdim=True)
    return torch.kron(weights, torch.eye(channels, dtype=torch.float64, device=at)).to(device, dtype)
