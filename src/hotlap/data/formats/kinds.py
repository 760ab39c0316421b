"""Which format an image has, by its first bytes, and what those are that are none."""

from __future__ import annotations

import re

from hotlap.data.formats.png import SIGNATURE
from hotlap.data.formats.unreadable import SAVE, Unreadable

HEAD_BYTES = 4096
OTHERS = (
    (b"%PDF", "a PDF, not an image"),
    (b"%!PS", f"PostScript, {SAVE}"),
    (b"\xc5\xd0\xd3\xc6", f"PostScript, {SAVE}"),
    (b"8BPS", f"a Photoshop file, {SAVE}"),
    (b"\x00\x00\x01\x00", f"an icon (ICO), {SAVE}"),
    (b"\x00\x00\x00\x0cjP  ", f"JPEG 2000, {SAVE}"),
    (b"\xff\x4f\xff\x51", f"JPEG 2000, {SAVE}"),
    (b"\x00\x00\x00\x0cJXL ", f"JPEG XL, {SAVE}"),
    (b"\xff\x0a", f"JPEG XL, {SAVE}"),
    (b"PK\x03\x04", "a zip archive, not an image"),
    (b"\x1f\x8b", "gzip-compressed, not an image"),
    (b"version https://git-lfs", "a Git LFS pointer, not an image; run `git lfs pull`"),
)
WEB_PAGE = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta", b"<title")
BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


def kind_of(data: bytes) -> str:
    """The format, by the first bytes; raises `Unreadable` if it is none that is read."""
    if not data:
        raise Unreadable("empty")
    if data.startswith(SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in BMP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6f][\s#]", data):
        return "PPM"
    if data[4:8] == b"ftyp":
        return kind_of_container(data)
    for start, what in OTHERS:
        if data.startswith(start):
            raise Unreadable(what)
    text = data[:HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text:
        raise Unreadable(f"an SVG drawing, {SAVE}")
    if text.startswith(WEB_PAGE) or (text.startswith((b"<?xml", b"<!--")) and b"<html" in text):
        raise Unreadable("a web page, not an image")
    raise Unreadable("not an image")


def kind_of_container(data: bytes) -> str:
    """AVIF, HEIC and videos share a container; the brands in its first box tell them apart."""
    size = int.from_bytes(data[:4], "big")
    if size > len(data):
        raise Unreadable("truncated")
    box = data[8 : min(size, 256)]
    brands = {box[i : i + 4] for i in range(0, len(box), 4) if i != 4}  # the second word is a version
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if any(brand[:3] in (b"hei", b"hev", b"mif", b"msf") for brand in brands):
        raise Unreadable(f"HEIC, {SAVE}")
    raise Unreadable("a video, not an image")
