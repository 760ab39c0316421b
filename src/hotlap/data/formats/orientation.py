"""How a picture was held, by EXIF, and how it is turned upright."""

from __future__ import annotations

import struct
from contextlib import suppress

from PIL import Image

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(exif: object) -> int:
    """EXIF's orientation as it stands there, 1 if there is none.

    Read here: Pillow's reader takes longer than decoding a small PNG, and this never fails.
    """
    if not isinstance(exif, bytes):
        return 1
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    with suppress(struct.error):
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            tag, form = struct.unpack_from(order + "HH", tiff, entry)
            if tag == 0x0112:
                width = {1: "B", 4: "I"}.get(form, "H")
                return int(struct.unpack_from(order + width, tiff, entry + 8)[0])
    return 1
