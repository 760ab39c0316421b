"""WebP: the size of the canvas, by the header. Pillow makes room for all of it while it opens the file."""

from __future__ import annotations

import struct

from hotlap.data.formats.unreadable import Unreadable


def canvas_of(data: bytes) -> tuple[int, int]:
    """Width and height."""
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise Unreadable("truncated")
    form = data[12:16]
    if form == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise Unreadable("corrupt", f"begins with {form!r}")
