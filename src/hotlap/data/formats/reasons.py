"""What Pillow meant, when an image did not decode."""

from __future__ import annotations

from PIL import Image

from hotlap.data.formats.kinds import HEAD_BYTES
from hotlap.data.formats.tiff import tiff_pages
from hotlap.data.formats.unreadable import SAVE


def reason_of(err: Exception, data: bytes, kind: str) -> str:
    """What Pillow meant, in words of `Unreadable`."""
    text = str(err).lower()
    if isinstance(err, MemoryError):
        return "too large for the memory of this machine"
    if isinstance(err, Image.DecompressionBombError):  # of a GIF's frame; of a TIFF, whose limit is lower
        return "more megapixels than Pillow's limit"
    if "too large" in text or "too much memory" in text:
        return "text or a profile in it unpacks to more than is safe"
    if kind == "TIFF" and "unknown pixel mode" in text:
        return f"a kind of TIFF that is not read; {SAVE.split('; ')[1]}"
    ends_early = "truncat" in text or "eof" in text or isinstance(err, EOFError)
    return "truncated" if ends_early or cut_off(data, kind) else "corrupt"


def cut_off(data: bytes, kind: str) -> bool:
    """Whether the end of a file that did not decode is missing."""
    if kind == "JPEG":
        return b"\xff\xd9" not in data[-HEAD_BYTES:]
    if kind == "GIF":
        return b";" not in data[-16:]
    if kind == "TIFF":
        return tiff_pages(data) == 0
    at = 0
    while kind == "AVIF" and at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8:  # 0: to the end; 1: a longer number follows, which no picture needs
            return False
        at += length
    return at > len(data)
