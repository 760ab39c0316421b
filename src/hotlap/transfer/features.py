"""What a trunk makes of each image, computed once and kept by image and trunk.

An image is known by its pixels, not by its file's name: twenty photos added to ten thousand cost twenty, and
a folder that is moved or sorted anew costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hotlap.errors import UserError
from hotlap.files import user_cache, write_atomic
from hotlap.nets.folding import FrozenNetwork

BATCH = 32  # images a forward pass
DIGEST_BYTES = 16
KEPT_EVERY_S = 10.0  # seconds between writings of what was computed; longer where writing takes long
WRITING = 1 / 20  # of the time, at most
Tick = Callable[[int, int], None]  # images done, of how many


@dataclass(frozen=True)
class Features:
    """Of each image, what the trunk made of its views.

    Args:
        values: (N, V, F) float32: of the image and, where V is 2, of its mirror.
        computed, kept: images that were put through the trunk now, and that were there from before.
    """

    values: Tensor
    computed: int
    kept: int


class FeatureStore:
    """The features of a data set's images by one trunk, in one file of the cache.

    Args:
        origin: where the images are from; `hotlap data clean` removes the file when that is gone.
        trunk: what the features depend on beside the image: net, weights, arithmetic, views.
        cache_dir: instead of the user's cache.
    """

    def __init__(self, origin: str, trunk: str, cache_dir: Path | None = None):
        key = hashlib.sha256(json.dumps([origin, trunk]).encode()).hexdigest()[:20]
        self.path = user_cache(cache_dir) / "features" / f"{key}.safetensors"
        self.origin = origin

    def read(self) -> dict[bytes, Tensor]:
        """Features (V, F) float16 by the digest of the image; none where there is no file that reads."""
        try:
            with safe_open(self.path, framework="pt") as file:
                digests, values = file.get_tensor("digests"), file.get_tensor("features")
        except (OSError, SafetensorError):
            return {}
        return {bytes(d.tolist()): v for d, v in zip(digests, values, strict=True)}

    def write(self, held: dict[bytes, Tensor]) -> None:
        """Keep these and no others."""
        digests = torch.tensor([list(d) for d in held], dtype=torch.uint8)
        tensors = {"digests": digests, "features": torch.stack(list(held.values()))}
        with suppress(UserError):  # a cache that cannot be written costs the next start its features
            write_atomic(self.path, save(tensors, {"origin": self.origin}))


def features_of(
    trunk: FrozenNetwork,
    images: npt.NDArray[np.uint8],
    store: FeatureStore,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    mirror: bool,
    tick: Tick = lambda done, total: None,
) -> Features:
    """Features of all images, those that are kept read and the others computed and kept.

    What was computed is kept on the way and when anything stops it, so that the next start has only the rest
    to do.

    Args:
        images: (N, H, W, C) uint8.
        mean, std: what the trunk wants subtracted from each channel, and then divided by, on the 0-255 scale.
        mirror: whether each image's mirror is a second view.
    """
    held = store.read()
    digests = [digest(image) for image in images]
    missing = sorted({d: i for i, d in enumerate(digests) if d not in held}.values())
    done, kept_at, took = 0, time.monotonic(), 0.0
    try:
        for part, values in zip(
            batches(missing), computed(trunk, images, missing, mean, std, mirror), strict=True
        ):
            held |= {digests[i]: v for i, v in zip(part, values, strict=True)}
            done += len(part)
            tick(done, len(missing))
            now = time.monotonic()
            if done < len(missing) and now - kept_at > max(KEPT_EVERY_S, took / WRITING):
                store.write({d: held[d] for d in digests if d in held})
                kept_at = time.monotonic()
                took = kept_at - now
    finally:
        if done:
            store.write({d: held[d] for d in digests if d in held})
    values = torch.stack([held[d] for d in digests]).float()
    return Features(values, len(missing), len(images) - len(missing))


def batches(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), BATCH):
        yield numbers[start : start + BATCH]


def computed(
    trunk: FrozenNetwork,
    images: npt.NDArray[np.uint8],
    numbers: list[int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    mirror: bool,
) -> Iterator[Tensor]:
    """Features (B, V, F) float16 of the images at `numbers`, batch by batch."""
    shift, scale = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (mean, std))
    for part in batches(numbers):
        x = torch.from_numpy(np.stack([images[i] for i in part])).permute(0, 3, 1, 2)
        x = ((x.float() - shift) / scale).contiguous(memory_format=torch.channels_last)
        views = [trunk.features(x)] + ([trunk.features(x.flip(3))] if mirror else [])
        yield torch.stack(views, 1).half().cpu()


def digest(image: npt.NDArray[np.uint8]) -> bytes:
    """Of the pixels and the shape."""
    content = np.ascontiguousarray(image)
    made = hashlib.blake2b(str(content.shape).encode(), digest_size=DIGEST_BYTES)
    made.update(content.data)
    return made.digest()
