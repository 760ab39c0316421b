"""What a net or a trick may know of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DataSpec:
    """The facts about a data set that nets and tricks are built from.

    Args:
        shape: one image as (channels, height, width), in pixels.
        class_names: names in label order: label i is `class_names[i]`.
        train_count: number of training images.
        test_count: number of test images.
        mean: per-channel mean of the training images, on the 0-255 scale.
        std: per-channel standard deviation of the training images, on the 0-255 scale.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_count: int
    test_count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Of an image."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Of an image, pixels."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """Of an image, pixels."""
        return self.shape[2]

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.class_names)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataSpec:
        """The spec whose fields JSON holds.

        Raises:
            KeyError, TypeError: it holds something else.
        """
        lists = {name: tuple(value[name]) for name in ("shape", "class_names", "mean", "std")}
        return cls(**lists, train_count=value["train_count"], test_count=value["test_count"])
