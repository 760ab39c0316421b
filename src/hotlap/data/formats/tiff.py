"""TIFF: where its pixels lie, how deep they are, and its pages."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

from hotlap.data.formats.unreadable import Unreadable

MOST_FRAMES = 1000  # that are counted, here and of a GIF: each may be a few bytes of a large file


def check_tiff(image: Any, size: int) -> int:
    """Bits a sample; no pixels lie beyond the end, which libtiff would say itself, on standard error."""
    for starts, counts in ((273, 279), (324, 325)):  # strips, tiles
        spans = zip(image.tag_v2.get(starts, ()), image.tag_v2.get(counts, ()), strict=False)
        if any(start + count > size for start, count in spans):
            raise Unreadable("truncated")
    return 16 if 16 in image.tag_v2.get(258, ()) else 8


def tiff_pages(data: bytes) -> int:
    """Pages of a TIFF, by the chain of its directories. (Pillow would read them, and each anew for each.)"""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    seen: set[int] = set()
    with suppress(struct.error):  # the chain leaves the file
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        while at and at not in seen and len(seen) <= MOST_FRAMES:
            (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
            after = at + (8 + 20 * entries if big else 2 + 12 * entries)
            (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, after)
            seen.add(at)
            at = following
    return len(seen)
