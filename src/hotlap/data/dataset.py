"""A data set on the host: splits of uint8 images and what describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hotlap.data.facts import Facts
from hotlap.data.names import Names
from hotlap.spec import DataSpec


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, C) uint8 and labels (N,) int64, both possibly memory-mapped, read-only.

    A label is an index of the class names. In a split that is not trained on it may be -1: an image of a
    class that the training images lack, which no prediction is right for. `names` say where each image lies
    in a set of one's own; sets that have a name have none.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: Names | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Args:
        name: what the user asked for (`cifar10`, `patterns`, a path, ...).
        spec: shape, classes, counts, mean and std of the *training* images.
        train: what is trained on.
        test: what accuracy is measured on between epochs and at the end: the validation images where there
            are any.
        origin: where it came from, in words for the user (a path, or "procedural, seed 0").
        held: further splits by name, such as "test" beside "val".
        test_split: what `test` is called in the source: "test", "val".
        facts: what was found while reading it; None for sets that come with the program.
    """

    name: str
    spec: DataSpec
    train: Split
    test: Split
    origin: str
    held: Mapping[str, Split] = field(default_factory=dict)
    test_split: str = "test"
    facts: Facts | None = None
