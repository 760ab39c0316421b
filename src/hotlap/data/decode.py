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
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hotlap.data.fit import WHITE
from hotlap.data.formats.gif import gif_frames as _gif_frames
from hotlap.data.formats.kinds import HEAD_BYTES, kind_of
from hotlap.data.formats.modes import gray_palette, over
from hotlap.data.formats.modes import standard as _standard
from hotlap.data.formats.orientation import TURNS, orientation_of
from hotlap.data.formats.png import check_chunks, check_full, head_of
from hotlap.data.formats.reasons import reason_of
from hotlap.data.formats.tiff import MOST_FRAMES, check_tiff
from hotlap.data.formats.tiff import tiff_pages as _tiff_pages
from hotlap.data.formats.unreadable import Unreadable
from hotlap.data.formats.webp import canvas_of
from hotlap.files import why

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "MAX_SIDE", "Picture", "Unreadable", "decode"]

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

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_PIXELS_AT_ONCE = 1 << 22

# An image is read or it is not, and `remarks` says what is odd; Pillow's own words would land in between.
_IGNORED: Any = ("ignore", None, Warning, re.compile(r"PIL\b|hotlap\.data\.(decode|formats)\b"), 0)
logging.getLogger("PIL").addHandler(logging.NullHandler())


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
    kind = kind_of(data)
    with _Quiet():
        try:
            return _decoded(data, kind, channels, background)
        except Unreadable:
            raise
        except Exception as err:
            reason, detail = reason_of(err, data, kind), f"{type(err).__name__}: {err}"[:200]
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
        if state.st_size > HEAD_BYTES << 8:
            kind_of(os.read(handle, HEAD_BYTES))  # a large file that is no image is not read whole
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
        width, height, depth, gray = head_of(data)
        _check_size(width, height)
        check_chunks(data)
    elif kind == "WebP":
        _check_size(*canvas_of(data))
    image = _plugin(kind)(io.BytesIO(data), "")
    _check_size(*image.size)
    if kind == "TIFF":
        depth = check_tiff(image, len(data))
    mode: str = image.mode
    turned = kind == "TIFF" and image.tag_v2.get(274) in TURNS  # which Pillow does as it loads
    image.load()
    if kind == "PNG":
        check_full(data, image)
    info: dict[str, Any] = image.info
    if said := _frames(data, kind, image):
        remarks.append(said)
    if info.get("icc_profile"):
        remarks.append("ICC profile not applied")
    orientation = orientation_of(info.get("exif")) if kind != "TIFF" else 1

    standard = _standard(image, kind, depth, remarks)
    gray = gray or standard.mode in ("L", "LA") or (mode in ("P", "PA") and gray_palette(image))
    has_alpha = standard.mode in ("LA", "RGBA")
    if channels is None:
        channels = 1 if gray and (not has_alpha or len(set(background)) == 1) else 3
    if has_alpha and channels != 4:
        standard = over(standard, background, channels, remarks)
    if standard.mode != _MODES[channels]:
        standard = standard.convert(_MODES[channels])
    if orientation in TURNS:
        standard = standard.transpose(TURNS[orientation])
    if turned or orientation in TURNS:
        remarks.append("turned as EXIF says")
    elif orientation != 1:
        remarks.append("no such EXIF orientation: as stored")
    return Picture(_array(standard, channels), mode, tuple(remarks), kind)


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
    number = f"{count:,}" if count <= MOST_FRAMES else f"over {MOST_FRAMES:,}"
    return f"several pages: first of {number}" if kind == "TIFF" else f"animated: first of {number} frames"


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
