"""Mean and standard deviation of images, exact, in one pass and little memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hotlap.spec import DataSpec

_IMAGES = 512  # at once


class Moments:
    """How often each value was seen so far, a channel: sums of it are exact.

    Counted, not multiplied: a product of so few numbers would wake numpy's threads, which then wait for a
    core beside the processes that decode.
    """

    def __init__(self, channels: int) -> None:
        self.seen = np.zeros((channels, 256), np.int64)

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Count images (N, H, W, C) uint8 in."""
        for start in range(0, len(images), _IMAGES):
            chunk = images[start : start + _IMAGES].reshape(-1, len(self.seen))
            for c, seen in enumerate(self.seen):
                seen += np.bincount(chunk[:, c], minlength=256)

    @property
    def mean(self) -> tuple[float, ...]:
        """0 if no image was seen."""
        return tuple(total / max(n, 1) for n, total, _ in self._sums())

    @property
    def std(self) -> tuple[float, ...]:
        """Of the population."""
        return tuple(((n * s - t * t) / max(n * n, 1)) ** 0.5 for n, t, s in self._sums())

    def _sums(self) -> list[tuple[int, int, int]]:
        """Of each channel: how many values, their sum, and the sum of their squares."""
        return [
            (sum(seen), sum(v * n for v, n in enumerate(seen)), sum(v * v * n for v, n in enumerate(seen)))
            for seen in self.seen.tolist()
        ]


def data_spec(images: npt.NDArray[np.uint8], class_names: Sequence[str], *, test_count: int) -> DataSpec:
    """Describe a data set by its training images.

    Args:
        images: (N, H, W, C) uint8, N at least 1.
        class_names: names in label order.
        test_count: number of test images.
    """
    count, height, width, channels = images.shape
    moments = Moments(channels)
    moments.add(images)
    return DataSpec(
        shape=(channels, height, width),
        class_names=tuple(class_names),
        train_count=count,
        test_count=test_count,
        mean=moments.mean,
        std=moments.std,
    )
