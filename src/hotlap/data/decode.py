"""The one decoder: an image's bytes to uint8 pixels, the same wherever hotlap reads an image.

What is read: PNG, JPEG, WebP, AVIF, GIF, BMP, TIFF and PPM (PBM, PGM, PFM), told by their contents, never by
a name. Other formats stay shut, however many Pillow knows: some of its plugins start other programs (EPS).

An image that cannot be read is `Unreadable`, in words, whatever Pillow raised. So is one that would be too
large: its header is looked at before memory is used.
"""

from __future__ import annotations

import functools
import importlib
import io
import logging
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from hotlap.data.fit import WHITE, shade
from hotlap.files import why

MAX_PIXELS = 200_000_000
MAX_SIDE = 100_000  # longer ones are no pictures, and resizing a strip of 1 x 100,000,000 would take minutes
MAX_BYTES = 1 << 30

# Pillow's plugin and its class for each format. The class is called directly: no other plugin sees the bytes,
# and a JPEG with further pictures behind it (MPO) is read as the JPEG that it begins with.
_PLUGINS = {
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "PPM": ("PpmImagePlugin", "PpmImageFile"),
}
FORMATS = tuple(_PLUGINS)

_PNG = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_HEAD_BYTES = 4096
_UNPACK_BYTES = 1 << 16
_PIXELS_AT_ONCE = 1 << 22
_MOST_FRAMES = 1000  # that are counted: each may be a few bytes of a large file
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAVE = "which is not read; save it as PNG or JPEG"
_OTHERS = (
    (b"%PDF", "a PDF, not an image"),
    (b"%!PS", f"PostScript, {_SAVE}"),
    (b"\xc5\xd0\xd3\xc6", f"PostScript, {_SAVE}"),
    (b"8BPS", f"a Photoshop file, {_SAVE}"),
    (b"\x00\x00\x01\x00", f"an icon (ICO), {_SAVE}"),
    (b"\x00\x00\x00\x0cjP  ", f"JPEG 2000, {_SAVE}"),
    (b"\xff\x4f\xff\x51", f"JPEG 2000, {_SAVE}"),
    (b"\x00\x00\x00\x0cJXL ", f"JPEG XL, {_SAVE}"),
    (b"\xff\x0a", f"JPEG XL, {_SAVE}"),
    (b"PK\x03\x04", "a zip archive, not an image"),
    (b"\x1f\x8b", "gzip-compressed, not an image"),
    (b"version https://git-lfs", "a Git LFS pointer, not an image; run `git lfs pull`"),
)
_WEB_PAGE = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta", b"<title")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)

# An image is read or it is not, and `remarks` says what is odd; Pillow's own words would land in between.
_IGNORED: Any = ("ignore", None, Warning, re.compile(r"PIL\b|hotlap\.data\.decode\b"), 0)
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Unreadable(Exception):
    """An image that cannot be read.

    Args:
        reason: why, in words: "empty", "truncated", "corrupt", "not an image", "a web page, not an image",
            "900 megapixels, over the limit of 200", ...
        detail: what the decoder said, if it said anything.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)  # both, or it would not come back from another process
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Picture:
    """An image as it was decoded.

    Args:
        pixels: (H, W, C) uint8, upright, read-only.
        mode: how it was stored, in Pillow's words (`L`, `RGB`, `P`, `I;16`, `CMYK`, ...).
        remarks: what was done that the user may not expect, a few fixed sentences.
        kind: the format it was stored in, one of `FORMATS`.
    """

    pixels: npt.NDArray[np.uint8]
    mode: str
    remarks: tuple[str, ...] = ()
    kind: str = ""


class _Quiet:
    """Pillow's warnings are not shown meanwhile; those of anyone else are, in other threads too.

    `warnings.catch_warnings` would swap the filters of all threads; this adds one and takes one away.
    """

    def __enter__(self) -> None:
        filters: Any = warnings.filters
        filters.insert(0, _IGNORED)

    def __exit__(self, *_: object) -> None:
        filters: Any = warnings.filters
        with suppress(ValueError):  # someone put other filters in their place meanwhile
            filters.remove(_IGNORED)


def decode(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    channels: int | None = 3,
    background: tuple[int, int, int] = WHITE,
) -> Picture:
    """The pixels of one image: its first frame, turned as EXIF says, colours as stored (no ICC profile).

    16 bits become 8 by their high byte, floats of 0 to 1 become 0 to 255. CMYK becomes RGB without a profile;
    CMYK JPEGs are taken as stored inverted, as browsers do.

    Args:
        source: a file's path, its bytes, or a file open for reading bytes.
        channels: 1 (luma), 3, 4 (RGBA, alpha kept), or None: 1 if the image is gray by its kind (palettes: by
            their colours), else 3.
        background: red, green, blue, 0 to 255, that transparent pixels are laid over.

    Raises:
        Unreadable: for every reason that lies in the source, a missing file too.
        ValueError: for another number of channels.
    """
    if channels is not None and channels not in _MODES:
        raise ValueError(f"an image is decoded to 1, 3 or 4 channels, not {channels}")
    data = _contents(source)
    kind = _kind(data)
    with _Quiet():
        try:
            return _decoded(data, kind, channels, background)
        except Unreadable:
            raise
        except Exception as err:
            reason, detail = _reason(err, data, kind), f"{type(err).__name__}: {err}"[:200]
    raise Unreadable(reason, detail)  # not where it was caught: Pillow's traceback would keep the image


def _contents(source: str | os.PathLike[str] | bytes | BinaryIO) -> bytes:
    try:
        if isinstance(source, bytes):
            data = source
        elif isinstance(source, str | os.PathLike):
            data = _file(source)
        else:
            data = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as err:  # ValueError: a path with a zero byte in it, a file that was closed
        raise Unreadable(f"cannot be read: {why(err)}") from None
    if not data:
        raise Unreadable("empty")
    _check_bytes(len(data))
    return data


def _file(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes. By os.read: opening and reading by `open` takes twice as many calls into the system."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise Unreadable("a folder, not an image" if stat.S_ISDIR(state.st_mode) else "not a file")
        if state.st_size > _HEAD_BYTES << 8:
            _kind(os.read(handle, _HEAD_BYTES))  # a large file that is no image is not read whole
            _check_bytes(state.st_size)
            os.lseek(handle, 0, os.SEEK_SET)
        data = os.read(handle, state.st_size)
        while len(data) < state.st_size and (more := os.read(handle, state.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(handle)


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise Unreadable(f"{size / (1 << 30):.1f} GiB, over the limit of {MAX_BYTES >> 30}")


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise Unreadable("corrupt", f"{width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise Unreadable(f"{width * height / 1e6:,.0f} megapixels, over the limit of {MAX_PIXELS / 1e6:.0f}")
    if max(width, height) > MAX_SIDE:
        raise Unreadable(f"{width} by {height} pixels, over the limit of {MAX_SIDE:,} a side")


def _kind(data: bytes) -> str:
    """The format, by the first bytes; raises `Unreadable` if it is none that is read."""
    if not data:
        raise Unreadable("empty")
    if data.startswith(_PNG):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6f][\s#]", data):
        return "PPM"
    if data[4:8] == b"ftyp":
        return _kind_of_container(data)
    for start, what in _OTHERS:
        if data.startswith(start):
            raise Unreadable(what)
    text = data[:_HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text:
        raise Unreadable(f"an SVG drawing, {_SAVE}")
    if text.startswith(_WEB_PAGE) or (text.startswith((b"<?xml", b"<!--")) and b"<html" in text):
        raise Unreadable("a web page, not an image")
    raise Unreadable("not an image")


def _kind_of_container(data: bytes) -> str:
    """AVIF, HEIC and videos share a container; the brands in its first box tell them apart."""
    size = int.from_bytes(data[:4], "big")
    if size > len(data):
        raise Unreadable("truncated")
    box = data[8 : min(size, 256)]
    brands = {box[i : i + 4] for i in range(0, len(box), 4) if i != 4}  # the second word is a version
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if any(brand[:3] in (b"hei", b"hev", b"mif", b"msf") for brand in brands):
        raise Unreadable(f"HEIC, {_SAVE}")
    raise Unreadable("a video, not an image")


@functools.cache
def _plugin(kind: str) -> Callable[[BinaryIO, str], Any]:
    module_name, class_name = _PLUGINS[kind]
    try:
        module = importlib.import_module(f"PIL.{module_name}")
    except ImportError:  # Pillow before 11.3 has no AVIF
        module = None
    if module is None or not getattr(module, "SUPPORTED", True):
        raise Unreadable(f"{kind}, which this Pillow was built without; save it as PNG or JPEG")
    plugin: Callable[[BinaryIO, str], Any] = getattr(module, class_name)
    return plugin


def _decoded(data: bytes, kind: str, channels: int | None, background: tuple[int, int, int]) -> Picture:
    remarks: list[str] = []
    depth, gray = 8, False
    if kind == "PNG":
        depth, gray = _check_png(data)
    elif kind == "WebP":
        _check_webp(data)
    image = _plugin(kind)(io.BytesIO(data), "")
    _check_size(*image.size)
    if kind == "TIFF":
        depth = _check_tiff(image, len(data))
    mode: str = image.mode
    turned = kind == "TIFF" and image.tag_v2.get(274) in _TURNS  # which Pillow does as it loads
    image.load()
    if kind == "PNG":
        _check_png_is_full(data, image)
    info: dict[str, Any] = image.info
    if said := _frames(data, kind, image):
        remarks.append(said)
    if info.get("icc_profile"):
        remarks.append("ICC profile not applied")
    orientation = _orientation(info.get("exif")) if kind != "TIFF" else 1

    standard = _standard(image, kind, depth, remarks)
    gray = gray or standard.mode in ("L", "LA") or (mode in ("P", "PA") and _gray_palette(image))
    has_alpha = standard.mode in ("LA", "RGBA")
    if channels is None:
        channels = 1 if gray and (not has_alpha or len(set(background)) == 1) else 3
    if has_alpha and channels != 4:
        standard = _over(standard, background, channels, remarks)
    if standard.mode != _MODES[channels]:
        standard = standard.convert(_MODES[channels])
    if orientation in _TURNS:
        standard = standard.transpose(_TURNS[orientation])
    if turned or orientation in _TURNS:
        remarks.append("turned as EXIF says")
    elif orientation != 1:
        remarks.append("no such EXIF orientation: as stored")
    return Picture(_array(standard, channels), mode, tuple(remarks), kind)


def _array(image: Any, channels: int) -> npt.NDArray[np.uint8]:
    width, height = image.size
    rows = max(1, _PIXELS_AT_ONCE // width)
    if rows >= height:
        return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width, channels)
    pixels = np.empty((height, width, channels), np.uint8)
    for top in range(0, height, rows):  # the bytes of all rows would be twice in memory, in parts and joined
        part = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.frombuffer(part.tobytes(), np.uint8).reshape(-1, width, channels)
    pixels.flags.writeable = False
    return pixels


def _standard(image: Any, kind: str, depth: int, remarks: list[str]) -> Any:
    """The loaded image as L, LA, RGB or RGBA, whatever its mode."""
    mode, key = image.mode, image.info.get("transparency")
    if depth == 16 or mode.startswith("I"):
        remarks.append("16 bits scaled to 8")
    if mode == "RGB":
        if not isinstance(key, tuple):
            return image
        if depth == 16:  # Pillow has dropped the low bytes of the pixels, not those of the one to leave out
            image.info["transparency"] = tuple(level >> 8 for level in key)
        return image.convert("RGBA")
    if mode in ("L", "1"):
        plain = image if mode == "L" else image.convert("L")
        if not isinstance(key, int):
            return plain
        # A PNG of 2 or 4 bits says it in its own levels, while its pixels are already 0 to 255.
        level = key * 255 // ((1 << depth) - 1) if mode == "L" and depth < 8 else key
        return _with_alpha(plain, plain.point([0 if v == level else 255 for v in range(256)]))
    if mode in ("P", "PA"):
        if image.palette is None:
            raise Unreadable("corrupt", "no palette")
        return image.convert("RGBA" if key is not None or mode == "PA" else "RGB")
    if mode in ("LA", "RGBA"):
        return image
    if mode in ("La", "RGBa"):
        return image.convert(mode.upper())
    if mode.startswith("I"):
        return _from_integers(image, kind, key)
    if mode == "F":
        remarks.append("floats of 0 to 1 scaled to 0 to 255")
        return _from_floats(image)
    if mode == "LAB":
        return _from_lab(image)
    if mode in ("CMYK", "YCbCr", "HSV", "RGBX"):
        return image.convert("RGB")
    raise Unreadable(f"pixels of a kind that is not read ({mode})")


def _from_integers(image: Any, kind: str, key: object) -> Any:
    values = np.asarray(image)
    if image.mode == "I":
        lowest, highest = image.getextrema()
        if lowest < 0 or highest > 0xFFFF:
            raise Unreadable("integers outside 0 to 65535")
    elif kind == "TIFF" and image.tag_v2.get(262) == 0:  # 0 is white, which Pillow heeds for 8 bits only
        values = 0xFFFF - values
    plain = Image.fromarray((values >> 8).astype(np.uint8))
    if not isinstance(key, int):
        return plain
    return _with_alpha(plain, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))


def _from_floats(image: Any) -> Any:
    values = np.asarray(image)
    lowest, highest = float(values.min()), float(values.max())
    if lowest != lowest:
        raise Unreadable("floats that are no numbers (NaN)")
    if lowest < 0 or highest > 1:
        raise Unreadable("floats outside 0 to 1")
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


def _from_lab(image: Any) -> Any:
    try:
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    except ImportError:
        transform = None
    if transform is None:
        raise Unreadable(f"LAB colours, {_SAVE}")
    return ImageCms.applyTransform(image, transform)


def _with_alpha(plain: Any, alpha: Any) -> Any:
    return Image.merge("LA", (plain, alpha))


def _gray_palette(image: Any) -> bool:
    colours = np.frombuffer(image.palette.palette, np.uint8) if image.palette.rawmode == "RGB" else None
    if colours is None:
        colours = np.asarray(image.getpalette() or [], np.uint8)
    triples = colours[: len(colours) // 3 * 3].reshape(-1, 3)
    return bool((triples == triples[:, :1]).all())


def _over(image: Any, background: tuple[int, int, int], channels: int, remarks: list[str]) -> Any:
    """An LA or RGBA image laid over the background, as L or RGB."""
    mode = "L" if image.mode == "LA" and channels == 1 else "RGB"
    plain, alpha = image.convert(mode), image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return plain
    remarks.append("transparent: laid over the background")
    under = Image.new(mode, image.size, background if mode == "RGB" else shade(background, 1)[0])
    under.paste(plain, mask=alpha)
    return under


def _check_png(data: bytes) -> tuple[int, bool]:
    """Bits a sample, and whether the image is gray; every chunk is whole and as its checksum says.

    Pillow does not look at the checksums of pixels.
    """
    if len(data) < 33:
        raise Unreadable("truncated")
    if data[12:16] != b"IHDR":
        raise Unreadable("corrupt", f"begins with {data[12:16]!r}")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    _check_size(width, height)
    view = memoryview(data)
    at = len(_PNG)
    while True:
        if at + 12 > len(data):
            raise Unreadable("truncated")
        length, name = _CHUNK.unpack_from(data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise Unreadable("truncated" if name.isalpha() else "corrupt")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise Unreadable("corrupt", f"checksum of {name!r}")
        if name == b"IEND":
            return depth, colour in (0, 4)
        at = end + 4


def _check_png_is_full(data: bytes, image: Any) -> None:
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
    at = len(_PNG)
    while missing > 0:
        length, name = _CHUNK.unpack_from(data, at)
        if name == b"IEND":
            raise Unreadable("truncated")
        packed = data[at + 8 : at + 8 + length] if name == b"IDAT" else b""
        while packed and missing > 0:
            missing -= len(unpacker.decompress(packed, _UNPACK_BYTES))
            packed = unpacker.unconsumed_tail
        at += 12 + length


def _check_webp(data: bytes) -> None:
    """Pillow makes room for the whole canvas while it opens a WebP, so the header is read here."""
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise Unreadable("truncated")
    form = data[12:16]
    if form == b"VP8X":
        _check_size(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    elif form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        _check_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        _check_size(width & 0x3FFF, height & 0x3FFF)
    else:
        raise Unreadable("corrupt", f"begins with {form!r}")


def _check_tiff(image: Any, size: int) -> int:
    """Bits a sample; no pixels lie beyond the end, which libtiff would say itself, on standard error."""
    for starts, counts in ((273, 279), (324, 325)):  # strips, tiles
        spans = zip(image.tag_v2.get(starts, ()), image.tag_v2.get(counts, ()), strict=False)
        if any(start + count > size for start, count in spans):
            raise Unreadable("truncated")
    return 16 if 16 in image.tag_v2.get(258, ()) else 8


def _frames(data: bytes, kind: str, image: Any) -> str | None:
    """What to say of an image with more than one frame or page."""
    if kind == "GIF":
        count = _gif_frames(data)
    elif kind == "TIFF":
        count = _tiff_pages(data)
    else:
        count = getattr(image, "n_frames", 1)
    if count < 2:
        return "several pictures: the first" if "mp" in image.info else None
    number = f"{count:,}" if count <= _MOST_FRAMES else f"over {_MOST_FRAMES:,}"
    return f"several pages: first of {number}" if kind == "TIFF" else f"animated: first of {number} frames"


def _gif_frames(data: bytes) -> int:
    """Frames in a GIF, by its blocks; stops where it is cut off. (Pillow would decode them.)"""
    at, count = 13, 0
    if data[10] & 0x80:
        at += 3 << (data[10] & 7) + 1
    while at < len(data) and count <= _MOST_FRAMES:
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


def _tiff_pages(data: bytes) -> int:
    """Pages of a TIFF, by the chain of its directories. (Pillow would read them, and each anew for each.)"""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    seen: set[int] = set()
    with suppress(struct.error):  # the chain leaves the file
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        while at and at not in seen and len(seen) <= _MOST_FRAMES:
            (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
            after = at + (8 + 20 * entries if big else 2 + 12 * entries)
            (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, after)
            seen.add(at)
            at = following
    return len(seen)


def _orientation(exif: object) -> int:
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


def _reason(err: Exception, data: bytes, kind: str) -> str:
    """What Pillow meant, in words of `Unreadable`."""
    text = str(err).lower()
    if isinstance(err, MemoryError):
        return "too large for the memory of this machine"
    if isinstance(
        err, Image.DecompressionBombError
    ):  # a frame of a GIF; a TIFF, for which Pillow's limit is lower
        return "more megapixels than Pillow's limit"
    if "too large" in text or "too much memory" in text:
        return "text or a profile in it unpacks to more than is safe"
    if kind == "TIFF" and "unknown pixel mode" in text:
        return f"a kind of TIFF that is not read; {_SAVE.split('; ')[1]}"
    ends_early = "truncat" in text or "eof" in text or isinstance(err, EOFError)
    return "truncated" if ends_early or _cut_off(data, kind) else "corrupt"


def _cut_off(data: bytes, kind: str) -> bool:
    """Whether the end of a file that did not decode is missing."""
    if kind == "JPEG":
        return b"\xff\xd9" not in data[-_HEAD_BYTES:]
    if kind == "GIF":
        return b";" not in data[-16:]
    if kind == "TIFF":
        return _tiff_pages(data) == 0
    at = 0
    while kind == "AVIF" and at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8:  # 0: to the end; 1: a longer number follows, which no picture needs
            return False
        at += length
    return at > len(data)
