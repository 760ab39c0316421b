"""What one image looks like, in few bytes: how it lies there, a digest of its pixels, and a perceptual hash.

The hash is pHash (a 32 x 32 picture's lowest 8 x 8 cosines, each above their median or not) as `imagehash`
computes it, the best kept package of its kind; it is in the extra `duplicates`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hotlap.data.decode import Picture
from hotlap.data.fit import fit

DIGEST_BYTES = 16
THUMB_SIDE = 16
THUMB_BYTES = THUMB_SIDE * THUMB_SIDE * 3
_PLAIN = 2.0  # levels of 255: the deviation of a thumbnail up to which it shows next to nothing


@dataclass(frozen=True, slots=True)
class Sight:
    """An image, decoded.

    Args:
        height, width: pixels, upright.
        mode: how it was stored: Pillow's word (`L`, `RGB`, `P`, `CMYK`, ...), with `16-bit` or `float` where
            a sample is so; `1-bit` is black and white.
        kind: the file's format, or `array`.
        treated: what was done that the user may not expect.
        digest: 16 bytes that are another's only if the pixels are.
        thumb: (16, 16, 3) uint8 as bytes, whatever its proportions were; empty without `imagehash`.
        hash: 64 bits, few of them another in an image that looks the same; None for an image that is plain,
            which has nothing to compare, and without `imagehash`.
    """

    height: int
    width: int
    mode: str
    kind: str
    treated: tuple[str, ...]
    digest: bytes
    thumb: bytes
    hash: int | None


Taken = Callable[[str, Sequence[int], Mapping[int, str], Sequence[Sight]], None]
"""Takes of some of a split's items: the split, the items, why those that do not read do not, and the sights
of the others."""


@functools.cache
def hasher() -> Any | None:
    """The module `imagehash`; None if it is not installed."""
    try:
        return importlib.import_module("imagehash")
    except ImportError:
        return None


def sight(picture: Picture) -> Sight:
    """What `picture` looks like."""
    pixels = picture.pixels
    height, width, channels = pixels.shape
    digest = hashlib.blake2b(f"{height} {width} {channels} ".encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(pixels).data)
    thumb, hashed = b"", None
    if hasher() is not None:
        small = fit(pixels, 2 * THUMB_SIDE, "stretch")
        small = np.broadcast_to(small, (*small.shape[:2], 3))
        halved = small.reshape(THUMB_SIDE, 2, THUMB_SIDE, 2, 3).mean((1, 3))
        thumb = np.rint(halved).astype(np.uint8).tobytes()
        if (halved - halved.mean((0, 1))).std() > _PLAIN:
            hashed = _hash(small)
    treated = tuple(r.partition(":")[0] for r in picture.remarks)
    return Sight(height, width, _mode(picture), picture.kind, treated, digest.digest(), thumb, hashed)


def _hash(pixels: npt.NDArray[np.uint8]) -> int:
    module = hasher()
    assert module is not None
    bits = module.phash(Image.fromarray(np.ascontiguousarray(pixels))).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _mode(picture: Picture) -> str:
    mode = picture.mode
    if mode == "1":
        return "1-bit"
    if mode == "F":
        return "L float"
    if mode.startswith("I"):
        return "L 16-bit"
    return f"{mode} 16-bit" if any(r.startswith("16 bits") for r in picture.remarks) else mode
