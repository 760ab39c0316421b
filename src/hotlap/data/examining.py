"""What the images of a source look like, taken in while they are decoded, in little memory."""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from hotlap.data.sight import DIGEST_BYTES, THUMB_BYTES, THUMB_SIDE, Sight, Taken
from hotlap.errors import UserError
from hotlap.files import why


class Examination:
    """The sights of all images that read, in the order they come. Thumbnails lie in a file while it is open.

    Attributes:
        items: of each image, its place in the listing.
        splits: of each image, its split.
        bad: (item, reason) of each image that does not read.
        modes, kinds, treated: how many images were stored so, and treated so.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Examination:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def begin(self) -> Taken:
        """Forget what was taken in, if anything was; returns what takes it in."""
        if self._file:
            self._file.close()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed by __exit__
        self.items = array("q")
        self.splits: list[str] = []
        self.bad: list[tuple[int, str]] = []
        self.modes: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.treated: Counter[str] = Counter()
        self._sides = array("q")
        self._digests = bytearray()
        self._hashes = array("Q")
        self._hashed = bytearray()
        return self._take

    def _take(
        self, split: str, some: Sequence[int], reasons: Mapping[int, str], sights: Sequence[Sight]
    ) -> None:
        self.bad += reasons.items()
        read = [i for i in some if i not in reasons]
        self.items.extend(read)
        self.splits += [split] * len(read)
        for s in sights:
            self.modes[s.mode] += 1
            self.kinds[s.kind] += 1
            self.treated.update(s.treated)
            self._sides.extend((s.height, s.width))
            self._digests += s.digest
            self._hashes.append(s.hash or 0)
            self._hashed.append(s.hash is not None)
        assert self._file is not None
        try:
            self._file.write(b"".join(s.thumb for s in sights))
            self._file.flush()
        except OSError as err:
            folder = Path(tempfile.gettempdir())
            raise UserError(
                f"cannot write thumbnails to {folder}: {why(err)}; free space there, or set TMPDIR"
            ) from err

    @property
    def sides(self) -> npt.NDArray[np.int64]:
        """(n, 2): height and width of each image."""
        return np.array(self._sides, np.int64).reshape(-1, 2)

    @property
    def pictures(self) -> npt.NDArray[np.int64]:
        """(n,): the first image with these pixels, of each image."""
        digests = np.frombuffer(bytes(self._digests), np.dtype((np.void, DIGEST_BYTES)))
        _, first, which = np.unique(digests, return_index=True, return_inverse=True)
        same: npt.NDArray[np.int64] = first[which.reshape(-1)]
        return same

    @property
    def hashed(self) -> npt.NDArray[np.bool_]:
        """(n,): whether an image has a hash."""
        return np.array(self._hashed, bool)

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """(n,): of images without one, 0."""
        return np.array(self._hashes, np.uint64)

    @property
    def thumbs(self) -> npt.NDArray[np.uint8]:
        """(n, 16, 16, 3), mapped from a file; empty if none were made."""
        shape = (-1, THUMB_SIDE, THUMB_SIDE, 3)
        if self._file is None or self._file.tell() < THUMB_BYTES:
            return np.empty((0, *shape[1:]), np.uint8)
        mapped: npt.NDArray[np.uint8] = np.memmap(self._file, np.uint8, "r").reshape(shape)
        return mapped
