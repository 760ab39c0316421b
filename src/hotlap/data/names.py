"""What images are called: many names in little memory, or in a file that is mapped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt


class Names:
    """The name of each image of a split, by its number: where it lies in the source.

    Args:
        text: (bytes,) uint8, all names in UTF-8, one after another.
        ends: (N,) int64, where each of them ends.
    """

    def __init__(self, text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """These names, which can be printed: see `hotlap.data.listing.shown`."""
        parts = [name.encode() for name in names]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return cls(np.frombuffer(b"".join(parts), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, i: int) -> str:
        start = int(self.ends[i - 1]) if i else 0
        return bytes(self.text[start : int(self.ends[i])]).decode("utf-8", "replace")

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Names:
        """Those of these images, in that order."""
        return Names.of(self[int(i)] for i in indices)
