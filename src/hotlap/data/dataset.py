"""A data set on the host: two splits of uint8 images and what describes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hotlap.spec import DataSpec


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, C) uint8 and labels (N,) int64, both possibly memory-mapped, read-only."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A named data set.

    Args:
        name: what the user asked for (`cifar10`, `patterns`, ...).
        spec: shape, classes, counts, mean and std of the *training* images.
        train, test: the two splits.
        origin: where it came from, in words for the user (a path, or "procedural, seed 0").
    """

    name: str
    spec: DataSpec
    train: Split
    test: Split
    origin: str
