"""PNG: what Pillow does not look at. Checksums of pixels, and whether there are enough of them."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from hotlap.data.formats.unreadable import Unreadable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK = struct.Struct(">I4s")
UNPACK_BYTES = 1 << 16


def head_of(data: bytes) -> tuple[int, int, int, bool]:
    """Width, height, bits a sample, and whether the image is gray."""
    if len(data) < 33:
        raise Unreadable("truncated")
    if data[12:16] != b"IHDR":
        raise Unreadable("corrupt", f"begins with {data[12:16]!r}")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    return width, height, depth, colour in (0, 4)


def check_chunks(data: bytes) -> None:
    """Every chunk is whole and as its checksum says. Pillow does not look at the checksums of pixels."""
    view = memoryview(data)
    at = len(SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise Unreadable("truncated")
        length, name = CHUNK.unpack_from(data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise Unreadable("truncated" if name.isalpha() else "corrupt")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise Unreadable("corrupt", f"checksum of {name!r}")
        if name == b"IEND":
            return
        at = end + 4


def check_full(data: bytes, image: Any) -> None:
    """Pillow leaves 0 where the compressed pixels end too early, and says nothing.

    Most images are known to be full by their last pixel; the others are unpacked once more and counted.
    """
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    last = image.getpixel((width - 1, height - 1))
    if (any(last) if isinstance(last, tuple) else last) and not image.info.get("interlace"):
        return
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    # Interlaced, an image is seven smaller ones: (first column, first row, step across, step down) of each.
    parts = [(0, 0, 1, 1)]
    if image.info.get("interlace"):
        parts = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]
    missing = 0
    for column, row, across, down in parts:
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        missing += rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    unpacker = zlib.decompressobj()
    at = len(SIGNATURE)
    while missing > 0:
        length, name = CHUNK.unpack_from(data, at)
        if name == b"IEND":
            raise Unreadable("truncated")
        packed = data[at + 8 : at + 8 + length] if name == b"IDAT" else b""
        while packed and missing > 0:
            missing -= len(unpacker.decompress(packed, UNPACK_BYTES))
            packed = unpacker.unconsumed_tail
        at += 12 + length
