"""Mean and standard deviation of images, exact, in one pass and little memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hotlap.spec import DataSpec

_IMAGES = 512  # at once


class Moments:
    """Sums of the images seen so far, a channel.

    Sums of 0-255 integers in float64 stay below 2**53 in each stretch, and Python's integers carry them on.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total, self.squares = [0] * channels, [0] * channels

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Count images (N, H, W, C) uint8 in."""
        channels = len(self.total)
        for start in range(0, len(images), _IMAGES):
            chunk = images[start : start + _IMAGES].reshape(-1, channels)
            self.count += len(chunk)
            for c in range(channels):
                x = chunk[:, c].astype(np.float64)
                self.total[c] += int(x.sum())
                self.squares[c] += int(x @ x)

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(t / self.count for t in self.total)

    @property
    def std(self) -> tuple[float, ...]:
        """Of the population."""
        n = self.count
        return tuple(
            ((n * s - t * t) / (n * n)) ** 0.5 for t, s in zip(self.total, self.squares, strict=True)
        )


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
