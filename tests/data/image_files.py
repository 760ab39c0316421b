"""Image files for tests, made here: what Pillow writes, and what it does not (16-bit colours, YCCK)."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

RED, BLUE = (200, 40, 40), (40, 40, 200)
HEIGHT, WIDTH = 24, 36


def halves(left: Any = RED, right: Any = BLUE, dtype: Any = np.uint8) -> np.ndarray:
    """(24, 36[, C]) with one value on the left and another on the right."""
    left, right = np.asarray(left, dtype), np.asarray(right, dtype)
    out = np.empty((HEIGHT, WIDTH, *left.shape), dtype)
    out[:, : WIDTH // 2], out[:, WIDTH // 2 :] = left, right
    return out


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(halves()).convert(mode)


def encoded(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    """The bytes that Pillow writes."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    pixels: np.ndarray,
    colour: int,
    depth: int = 8,
    extra: tuple[bytes, ...] = (),
    after: tuple[bytes, ...] = (),
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG of samples as they are; under 8 bits, `pixels` are rows of packed bytes.

    Args:
        extra, after: chunks before and after the pixels.
        size: (width, height) to claim.
    """
    rows = np.ascontiguousarray(pixels, ">u2" if depth == 16 else np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    width, height = size or (pixels.shape[1], pixels.shape[0])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(raw)), *after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def interlaced(pixels: np.ndarray, most: int | None = None) -> bytes:
    """An RGB PNG as seven smaller images; `most` bytes of them, if not all."""
    raw = b""
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    for row, column, down, across in steps:
        part = np.ascontiguousarray(pixels[row::down, column::across])
        raw += b"".join(b"\0" + line.tobytes() for line in part if line.size)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    body = chunk(b"IDAT", zlib.compress(raw[:most]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def tiff(
    pixels: np.ndarray,
    photometric: int,
    *,
    order: str = "<",
    form: int = 1,
    tags: tuple[tuple[int, int, int], ...] = (),
    claim: tuple[int, int] | None = None,
    next_ifd: int = 0,
) -> bytes:
    """A TIFF of one uncompressed strip.

    Args:
        pixels: (H, W) or (H, W, C) of the samples' type.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 6 YCbCr, 8 LAB.
        form: 1 unsigned, 2 signed, 3 floats.
        tags: further (tag, type, value).
        claim: (width, height) to claim.
    """
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    bits = pixels.dtype.itemsize * 8
    width, height = claim or (width, height)
    start = 8
    many = start + len(body)  # the list of bits a sample, which has no room in its entry
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, samples, bits if samples == 1 else many),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, start),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, len(body)),
        (339, 3, 1, form),
        *((tag, kind, 1, value) for tag, kind, value in tags),
    ]
    lists = struct.pack(f"{order}{samples}H", *[bits] * samples)
    out = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, many + len(lists)) + body + lists
    out += struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in sorted(entries):
        inline = "HH" if kind == 3 and count == 1 else "I"
        out += struct.pack(f"{order}HHI", tag, kind, count)
        out += struct.pack(f"{order}{inline}", value, *([0] if inline == "HH" else []))
    return out + struct.pack(f"{order}I", next_ifd)


def exif(orientation: int, *, order: str = "<", kind: int = 3) -> bytes:
    """An EXIF block with an orientation alone."""
    value = struct.pack(order + "HH", orientation, 0) if kind == 3 else struct.pack(order + "I", orientation)
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    entry = struct.pack(order + "HHHI", 1, 0x0112, kind, 1)
    return b"Exif\0\0" + head + entry + value + struct.pack(order + "I", 0)


def stored_for(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores with this orientation, so that turned as it says it is `upright`."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]


def ycck() -> bytes:
    """A CMYK JPEG as Photoshop writes it: inverted, then turned into YCC and K (Adobe's transform 2)."""
    rgb = 255 - halves().astype(float)  # libjpeg takes 255 - C, and what is stored inverted is C = R
    y = rgb @ (0.299, 0.587, 0.114)
    cb, cr = 128 + (rgb[..., 2] - y) * 0.564, 128 + (rgb[..., 0] - y) * 0.713
    planes = np.stack([y, cb, cr, np.full_like(y, 255)], 2).round().clip(0, 255).astype(np.uint8)
    data = encoded(Image.frombytes("CMYK", (WIDTH, HEIGHT), (255 - planes).tobytes()), "JPEG", quality=95)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0, "written with no transform"
    return data[:at] + b"\x02" + data[at + 1 :]


def without_adobe(data: bytes) -> bytes:
    """A JPEG less its APP14 segment."""
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
