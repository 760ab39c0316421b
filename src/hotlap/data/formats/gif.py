"""GIF: its frames."""

from __future__ import annotations

from hotlap.data.formats.tiff import MOST_FRAMES


def gif_frames(data: bytes) -> int:
    """Frames in a GIF, by its blocks; stops where it is cut off. (Pillow would decode them.)"""
    at, count = 13, 0
    if data[10] & 0x80:
        at += 3 << (data[10] & 7) + 1
    while at < len(data) and count <= MOST_FRAMES:
        if data[at] == 0x21:
            at += 2
        elif data[at] == 0x2C and at + 9 < len(data):
            count += 1
            flags = data[at + 9]
            at += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return count
