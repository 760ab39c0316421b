"""Odd images: decoded right, or refused in words; never another exception, a hang, or memory unbounded."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import image_files as files
import numpy as np
import pytest
from image_files import BLUE, HEIGHT, RED, WIDTH, chunk, encoded, halves, picture, png, tiff
from PIL import Image

from hotlap.data import decode as module
from hotlap.data.decode import MAX_PIXELS, Picture, Unreadable, decode
from hotlap.data.formats.tiff import check_tiff

CASES = Path(os.environ.get("HOTLAP_CASES") or Path(__file__).parents[2].parent / "shared" / "cases")
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LIGHT, DARK = (200,) * 3, (40,) * 3
OVER, TURNED = "transparent: laid over the background", "turned as EXIF says"
WIDE = "16 bits scaled to 8"
AVIF = importlib.util.find_spec("PIL._avif") is not None


def unreadable(data) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(data)
    return caught.value.reason


def seen(got: Picture) -> tuple:
    """The colours of a picture of two halves."""
    height, width, _ = got.pixels.shape
    left, right = got.pixels[height // 2, width // 4], got.pixels[height // 2, -width // 4]
    return tuple(left.tolist()), tuple(right.tolist())


def near(got: tuple, want: tuple, tolerance: float = 0) -> bool:
    return bool(np.abs(np.subtract(got, want, dtype=int)).max() <= tolerance)


# --- the folder of cases ------------------------------------------------------------------------------------


def cases() -> list:
    index = CASES / "odd-images.json"
    if not index.is_file():
        reason = f"no {index}; name its folder in HOTLAP_CASES"
        return [pytest.param("", {}, marks=pytest.mark.skip(reason=reason))]
    return [pytest.param(name, case, id=name) for name, case in json.loads(index.read_text()).items()]


@pytest.mark.parametrize(("name", "case"), cases())
def test_a_case_of_the_folder(name, case):
    path = CASES / "odd-images" / name
    if case.get("decodes") is False:
        assert unreadable(path).split()[0].strip(",") in (case["why"].split()[0].strip(":"), "a")
        return
    pixels = decode(path).pixels
    height, width, channels = pixels.shape
    assert channels == 3
    if "either" in case:
        assert pixels.max() > 100
        return
    assert [width, height] == case["size"]
    places = {
        "left": (height // 2, width // 4),
        "right": (height // 2, -width // 4),
        "top": (height // 4, width // 2),
        "bottom": (-height // 4, width // 2),
        "lower_left": (-height // 4, width // 4),
        "lower_right": (-height // 4, -width // 4),
    }
    for where in places.keys() & case.keys():
        assert near(pixels[places[where]], case[where], case["tolerance"]), where


# --- images made here ---------------------------------------------------------------------------------------

GRAY = halves(200, 40)
BILEVEL = Image.fromarray(halves(255, 0)).convert("1")
RGB16 = halves(dtype=np.uint16) * 256 + 7  # another low byte than the high one
GRAY16 = halves(200 * 257, 40 * 257, np.uint16)
RGBA = np.dstack([halves(), halves(0, 255)])
MIDDLING = np.dstack([halves(), halves(128, 255)])
PALETTE = picture().quantize(4)
HOLED = Image.fromarray(RGBA).quantize(4)


def palette_with(alpha: bytes | int) -> bytes:
    return encoded(PALETTE, "PNG", transparency=alpha)


def index_of(colour) -> int:
    return int(np.asarray(PALETTE)[0, 0 if colour == RED else -1])


def two_frames(format: str, **options) -> bytes:
    second = Image.fromarray(255 - halves())
    return encoded(picture(), format, save_all=True, append_images=[second], **options)


def shallow(depth: int, left: int, right: int, key: int | None = None) -> bytes:
    """A gray PNG of 1, 2 or 4 bits a sample."""
    per_byte = 8 // depth
    rows = halves(left, right).reshape(HEIGHT, -1, per_byte) if WIDTH // 2 % per_byte == 0 else None
    if rows is None:  # 18 samples are no whole number of bytes: 16 and 16 instead
        rows = halves(left, right)[:, 2:-2].reshape(HEIGHT, -1, per_byte)
    shifts = np.arange(per_byte)[::-1] * depth
    packed = (rows.astype(np.uint16) << shifts).sum(2).astype(np.uint8)
    extra = () if key is None else (chunk(b"tRNS", struct.pack(">H", key)),)
    return png(packed, 0, depth, extra, size=(packed.shape[1] * per_byte, HEIGHT))


def lab() -> bytes:
    """The two colours in CIELAB under D50, as TIFF has them: L of 255, a and b signed."""
    linear = [(v / 255 / 12.92 if v < 11 else ((v / 255 + 0.055) / 1.055) ** 2.4) for v in (200, 40)]
    bradford = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    stored = []
    for rgb in ((linear[0], linear[1], linear[1]), (linear[1], linear[1], linear[0])):
        x, y, z = np.cbrt(bradford @ rgb / (0.9642, 1, 0.8249))
        stored.append([round(v) % 256 for v in ((116 * y - 16) * 2.55, 500 * (x - y), 200 * (y - z))])
    return tiff(halves(*stored), 8)


def rle_bmp() -> bytes:
    """An 8-bit BMP with runs, 4 x 2: a row of index 1 and a row of index 0."""
    body = bytes([4, 1, 0, 0, 4, 0, 0, 0, 0, 1])
    palette = bytes([*BLUE[::-1], 0, *RED[::-1], 0]) + bytes(4 * 254)
    offset = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(body), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset) + header + palette + body


def top_down_bmp() -> bytes:
    data = bytearray(encoded(halves()[:, :, ::-1].copy(), "BMP"))
    data[22:26] = struct.pack("<i", -HEIGHT)
    return bytes(data)


def icc() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def turned(orientation: int, format: str = "JPEG", block: bytes | None = None, **options) -> bytes:
    stored = files.stored_for(halves(), orientation) if 1 <= orientation <= 8 else halves()
    exif = files.exif(orientation) if block is None else block
    return encoded(np.ascontiguousarray(stored), format, exif=exif, **options)


GIF_OFF_CENTRE = (  # a frame of colour 0 that begins 5 pixels into the screen; colour 1 is transparent
    b"GIF89a" + struct.pack("<HHBBB", 10, 4, 0x80, 0, 0) + bytes([*BLUE, *RED])
    + b"!\xf9\x04\x01\0\0\x01\0" + b"," + struct.pack("<HHHHB", 5, 0, 5, 4, 0)
    + encoded(Image.new("L", (5, 4), 0), "GIF").split(b",", 1)[1][9:]
)  # fmt: skip

# name: bytes, what is seen left and right, how far off it may be, remarks, the mode as stored, its channels
ODD: dict[str, tuple] = {
    "png rgb": (encoded(halves(), "PNG"), (RED, BLUE), 0, (), "RGB", 3),
    "png gray": (encoded(GRAY, "PNG"), (LIGHT, DARK), 0, (), "L", 1),
    "png gray and alpha": (
        encoded(Image.merge("LA", [Image.fromarray(v) for v in (GRAY, halves(0, 255))]), "PNG"),
        (WHITE, DARK), 0, (OVER,), "LA", 1,
    ),
    "png rgba": (encoded(RGBA, "PNG"), (WHITE, BLUE), 0, (OVER,), "RGBA", 3),
    "png rgba, half there": (encoded(MIDDLING, "PNG"), ((227, 147, 147), BLUE), 0, (OVER,), "RGBA", 3),
    "png rgba, all there": (encoded(picture("RGBA"), "PNG"), (RED, BLUE), 0, (), "RGBA", 3),
    "png palette": (encoded(PALETTE, "PNG"), (RED, BLUE), 0, (), "P", 3),
    "png palette, one left out": (palette_with(index_of(RED)), (WHITE, BLUE), 0, (OVER,), "P", 3),
    "png palette, an alpha each": (
        palette_with(bytes(0 if i == index_of(RED) else 254 + i % 2 for i in range(4))),
        (WHITE, BLUE), 1, (OVER,), "P", 3,
    ),
    "png palette of grays": (
        encoded(Image.fromarray(GRAY).convert("P"), "PNG"), (LIGHT, DARK), 0, (), "P", 1,
    ),
    "png 1 bit": (encoded(BILEVEL, "PNG"), (WHITE, BLACK), 0, (), "1", 1),
    "png 1 bit, black left out": (shallow(1, 1, 0, key=0), (WHITE, WHITE), 0, (OVER,), "1", 1),
    "png 2 bits": (shallow(2, 2, 1), ((170,) * 3, (85,) * 3), 0, (), "L", 1),
    "png 2 bits, one left out": (shallow(2, 2, 1, key=1), ((170,) * 3, WHITE), 0, (OVER,), "L", 1),
    "png 4 bits": (shallow(4, 12, 3), ((204,) * 3, (51,) * 3), 0, (), "L", 1),
    "png 8 bits gray, one left out": (
        png(GRAY, 0, extra=(chunk(b"tRNS", struct.pack(">H", 40)),)), (LIGHT, WHITE), 0, (OVER,), "L", 1,
    ),
    "png rgb, one left out": (
        png(halves(), 2, extra=(chunk(b"tRNS", struct.pack(">HHH", *RED)),)),
        (WHITE, BLUE), 0, (OVER,), "RGB", 3,
    ),
    "png 16 bits gray": (png(GRAY16, 0, 16), (LIGHT, DARK), 0, (WIDE,), "I;16", 1),
    "png 16 bits gray, one left out": (
        png(GRAY16, 0, 16, (chunk(b"tRNS", struct.pack(">H", 40 * 257)),)),
        (LIGHT, WHITE), 0, (WIDE, OVER), "I;16", 1,
    ),
    "png 16 bits gray and alpha": (
        png(np.dstack([GRAY16, halves(0, 65535, np.uint16)]), 4, 16),
        (WHITE, DARK), 0, (WIDE, OVER), "RGBA", 1,
    ),
    "png 16 bits rgb": (png(RGB16, 2, 16), (RED, BLUE), 0, (WIDE,), "RGB", 3),
    "png 16 bits rgb, one left out": (
        png(RGB16, 2, 16, (chunk(b"tRNS", struct.pack(">HHH", *(v * 256 + 7 for v in RED))),)),
        (WHITE, BLUE), 0, (WIDE, OVER), "RGB", 3,
    ),
    "png 16 bits rgba": (png(RGBA.astype(np.uint16) * 257, 6, 16), (WHITE, BLUE), 0, (WIDE, OVER), "RGBA", 3),
    "png with exif": (turned(6, "PNG"), (RED, BLUE), 0, (TURNED,), "RGB", 3),
    "png with exif after the pixels": (
        png(files.stored_for(halves(), 3), 2, after=(chunk(b"eXIf", files.exif(3)[6:]),)),
        (RED, BLUE), 0, (TURNED,), "RGB", 3,
    ),
    "png with a profile": (
        encoded(halves(), "PNG", icc_profile=icc()), (RED, BLUE), 0, ("ICC profile not applied",), "RGB", 3,
    ),
    "png and bytes behind it": (encoded(halves(), "PNG") + b"more", (RED, BLUE), 0, (), "RGB", 3),
    "png interlaced": (files.interlaced(halves()), (RED, BLUE), 0, (), "RGB", 3),
    "png animated": (two_frames("PNG"), (RED, BLUE), 0, ("animated: first of 2 frames",), "RGB", 3),
    "jpeg": (encoded(halves(), "JPEG", quality=95), (RED, BLUE), 3, (), "RGB", 3),
    "jpeg gray": (encoded(GRAY, "JPEG", quality=95), (LIGHT, DARK), 2, (), "L", 1),
    "jpeg progressive": (encoded(halves(), "JPEG", progressive=True), (RED, BLUE), 6, (), "RGB", 3),
    "jpeg of rgb as it is": (
        encoded(halves(), "JPEG", keep_rgb=True, quality=95), (RED, BLUE), 3, (), "RGB", 3,
    ),
    "jpeg cmyk": (encoded(picture("CMYK"), "JPEG", quality=95), (RED, BLUE), 3, (), "CMYK", 3),
    "jpeg cmyk without Adobe's marker": (
        files.without_adobe(encoded(picture("CMYK"), "JPEG", quality=95)), (RED, BLUE), 3, (), "CMYK", 3,
    ),
    "jpeg ycck": (files.ycck(), (RED, BLUE), 5, (), "CMYK", 3),
    "jpeg with other pictures behind it": (
        two_frames("MPO", quality=95), (RED, BLUE), 3, ("several pictures: the first",), "RGB", 3,
    ),
    "jpeg with half an exif": (
        turned(1, block=files.exif(6)[:20], quality=95), (RED, BLUE), 3, (), "RGB", 3,
    ),
    "jpeg with exif that points nowhere": (
        turned(1, block=b"Exif\0\0II*\0" + b"\xff" * 8, quality=95), (RED, BLUE), 3, (), "RGB", 3,
    ),
    "jpeg with a long orientation": (
        turned(3, block=files.exif(3, order=">", kind=4), quality=95), (RED, BLUE), 3, (TURNED,), "RGB", 3,
    ),
    "webp": (encoded(halves(), "WEBP", quality=95), (RED, BLUE), 6, (), "RGB", 3),
    "webp lossless rgba": (encoded(RGBA, "WEBP", lossless=True), (WHITE, BLUE), 0, (OVER,), "RGBA", 3),
    "webp animated": (
        two_frames("WEBP", lossless=True), (RED, BLUE), 0, ("animated: first of 2 frames",), "RGB", 3,
    ),
    "webp with exif": (turned(5, "WEBP", lossless=True), (RED, BLUE), 0, (TURNED,), "RGB", 3),
    "gif": (encoded(picture(), "GIF"), (RED, BLUE), 0, (), "P", 3),
    "gif gray": (encoded(GRAY, "GIF"), (LIGHT, DARK), 0, (), "P", 1),
    "gif animated": (two_frames("GIF"), (RED, BLUE), 0, ("animated: first of 2 frames",), "P", 3),
    "gif with a hole": (encoded(Image.fromarray(RGBA), "GIF"), (WHITE, BLUE), 0, (OVER,), "P", 3),
    "gif with a frame off centre": (GIF_OFF_CENTRE, (WHITE, BLUE), 0, (OVER,), "P", 3),
    "bmp": (encoded(halves(), "BMP"), (RED, BLUE), 0, (), "RGB", 3),
    "bmp from the top": (top_down_bmp(), (RED[::-1], BLUE[::-1]), 0, (), "RGB", 3),
    "bmp 1 bit": (encoded(BILEVEL, "BMP"), (WHITE, BLACK), 0, (), "1", 1),
    "bmp palette": (encoded(PALETTE, "BMP"), (RED, BLUE), 0, (), "P", 3),
    "tiff": (encoded(halves(), "TIFF"), (RED, BLUE), 0, (), "RGB", 3),
    "tiff lzw": (encoded(halves(), "TIFF", compression="tiff_lzw"), (RED, BLUE), 0, (), "RGB", 3),
    "tiff fax": (
        encoded(BILEVEL, "TIFF", compression="group4"),
        (WHITE, BLACK), 0, (), "1", 1,
    ),
    "tiff jpeg": (encoded(halves(), "TIFF", compression="jpeg"), (RED, BLUE), 6, (), "RGB", 3),
    "tiff of pages": (two_frames("TIFF"), (RED, BLUE), 0, ("several pages: first of 2",), "RGB", 3),
    "tiff 16 bits": (encoded(GRAY16, "TIFF"), (LIGHT, DARK), 0, (WIDE,), "I;16", 1),
    "tiff 16 bits from the big end": (tiff(GRAY16, 1, order=">"), (LIGHT, DARK), 0, (WIDE,), "I;16B", 1),
    "tiff 16 bits, white is 0": (tiff(65535 - GRAY16, 0), (LIGHT, DARK), 0, (WIDE,), "I;16", 1),
    "tiff 8 bits, white is 0": (tiff(255 - GRAY, 0), (LIGHT, DARK), 0, (), "L", 1),
    "tiff 16 bits rgb": (tiff(RGB16, 2), (RED, BLUE), 0, (WIDE,), "RGB", 3),
    "tiff 32 bits": (tiff(GRAY16.astype(np.int32), 1, form=2), (LIGHT, DARK), 0, (WIDE,), "I", 1),
    "tiff floats": (
        encoded(halves(200 / 255, 40 / 255, np.float32), "TIFF"),
        (LIGHT, DARK), 0, ("floats of 0 to 1 scaled to 0 to 255",), "F", 1,
    ),
    "tiff cmyk": (encoded(picture("CMYK"), "TIFF"), (RED, BLUE), 0, (), "CMYK", 3),
    "tiff ycbcr": (encoded(picture("YCbCr"), "TIFF", compression="tiff_lzw"), (RED, BLUE), 2, (), "RGB", 3),
    "tiff lab": (lab(), (RED, BLUE), 4, (), "LAB", 3),
    "tiff with an orientation": (
        tiff(files.stored_for(halves(), 8), 2, tags=((274, 3, 8),)), (RED, BLUE), 0, (TURNED,), "RGB", 3,
    ),
    "tiff whose pages go round": (tiff(GRAY, 1, next_ifd=8), (LIGHT, DARK), 0, (), "L", 1),
    "ppm": (encoded(halves(), "PPM"), (RED, BLUE), 0, (), "RGB", 3),
    "pgm 16 bits": (
        b"P5 36 24 65535\n" + GRAY16.astype(">u2").tobytes(), (LIGHT, DARK), 0, (WIDE,), "I", 1,
    ),
    "pbm": (encoded(BILEVEL, "PPM"), (WHITE, BLACK), 0, (), "1", 1),
    "pgm in words": (
        b"P2\n# made by hand\n4 1\n255\n200 200 40 40\n", (LIGHT, DARK), 0, (), "L", 1,
    ),
    "pfm": (
        b"Pf\n36 24\n-1.0\n" + halves(200 / 255, 40 / 255, np.float32).tobytes(),
        (LIGHT, DARK), 0, ("floats of 0 to 1 scaled to 0 to 255",), "F", 1,
    ),
}  # fmt: skip
if AVIF:
    ODD |= {
        "avif": (encoded(halves(), "AVIF", quality=95), (RED, BLUE), 6, (), "RGB", 3),
        "avif turned": (turned(6, "AVIF", quality=95), (RED, BLUE), 6, (TURNED,), "RGB", 3),
    }


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_decoded(name):
    data, want, tolerance, remarks, mode, channels = ODD[name]
    got = decode(data)
    assert got.pixels.dtype == np.uint8
    assert got.pixels.shape[2] == 3
    assert near(seen(got), want, tolerance), seen(got)
    assert got.remarks == remarks
    assert got.mode == mode
    bare = decode(data, channels=None)
    assert bare.pixels.shape == (*got.pixels.shape[:2], channels)
    if channels == 1:
        assert np.array_equal(np.repeat(bare.pixels, 3, 2), got.pixels)
    luma = decode(data, channels=1).pixels
    assert luma.shape[2] == 1
    assert near(luma[..., 0], np.asarray(Image.fromarray(got.pixels).convert("L")))


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBa", "La", "PA", "CMYK", "1"])
def test_a_mode_that_files_seldom_have(mode):
    source = Image.fromarray(GRAY if mode in ("La", "1") else halves())
    if mode[-1] in "aA":
        source = source.convert({"PA": "P", "La": "LA", "RGBa": "RGBA"}[mode])
    got = module._standard(source.convert(mode, dither=Image.Dither.NONE), "TIFF", 8, [])
    assert got.mode == {"La": "LA", "1": "L"}.get(mode, "RGBA" if mode[-1] in "aA" else "RGB")
    want = {"La": (200, 255), "1": 255}.get(mode, (*RED, 255)[: len(got.mode)])
    assert near(got.getpixel((0, 0)), want, 30 if mode == "PA" else 3)  # PA: the nearest of a fixed palette


def test_large_images_come_in_parts(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8)
    data = encoded(pixels, "PNG")
    for at_once in (1, 70, 30 * 49, 30 * 50):
        monkeypatch.setattr(module, "_PIXELS_AT_ONCE", at_once)
        got = decode(data).pixels
        assert np.array_equal(got, pixels)
        assert not got.flags.writeable


@pytest.mark.parametrize("depth", [2, 4])
def test_each_level_of_a_shallow_png_may_be_left_out(depth):
    most = (1 << depth) - 1
    for level in range(most + 1):
        got = decode(shallow(depth, level, most - level, key=level), background=(1, 2, 3))
        assert seen(got) == ((1, 2, 3), ((most - level) * 255 // most,) * 3)


def test_a_bmp_with_runs():
    assert decode(rle_bmp()).pixels.tolist() == [[[*BLUE]] * 4, [[*RED]] * 4]


@pytest.mark.parametrize("name", ["png rgba", "png palette, one left out", "gif with a hole"])
def test_transparent_pixels_show_the_background(name):
    assert seen(decode(ODD[name][0], background=(1, 2, 3))) == ((1, 2, 3), BLUE)


def test_a_gray_image_over_a_coloured_background_is_in_colour():
    data = ODD["png gray and alpha"][0]
    got = decode(data, channels=None, background=(9, 8, 200))
    assert seen(got) == ((9, 8, 200), DARK)
    assert decode(ODD["png gray"][0], channels=None, background=(9, 8, 200)).pixels.shape[2] == 1
    luma = Image.new("RGB", (1, 1), (9, 8, 200)).convert("L").getpixel((0, 0))
    assert seen(decode(data, channels=1, background=(9, 8, 200))) == ((luma,), (40,))


def test_alpha_is_kept_where_it_is_asked_for():
    assert seen(decode(ODD["png rgba, half there"][0], channels=4)) == ((*RED, 128), (*BLUE, 255))
    assert seen(decode(ODD["jpeg gray"][0], channels=4))[0][3] == 255
    with pytest.raises(ValueError, match="not 2"):
        decode(ODD["png rgb"][0], channels=2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_an_image_is_turned_as_its_exif_says(orientation, format):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    upright = np.dstack([rows * 9, columns * 7, rows + columns]).astype(np.uint8)
    stored = np.ascontiguousarray(files.stored_for(upright, orientation))
    if format == "TIFF":
        data = tiff(stored, 2, tags=((274, 3, orientation),))
    else:
        data = encoded(stored, format, exif=files.exif(orientation), quality=100, subsampling=0)
    assert near(decode(data).pixels, upright, 8 if format == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_image_as_stored(orientation):
    got = decode(turned(orientation, "PNG"))
    assert (seen(got), got.remarks) == ((RED, BLUE), ("no such EXIF orientation: as stored",))


def gif_of(count: int) -> bytes:
    one = encoded(Image.fromarray(np.zeros((1, 1), np.uint8)), "GIF")
    at = one.index(b",")
    return one[:at] + one[at:-1] * count + b";"


def test_frames_beyond_a_thousand_are_not_counted():
    assert decode(gif_of(1000)).remarks == ("animated: first of 1,000 frames",)
    assert decode(gif_of(5000)).remarks == ("animated: first of over 1,000 frames",)
    assert module._gif_frames(gif_of(5000)) == 1001, "time must not grow with the frames"


def test_pages_beyond_a_thousand_are_not_counted():
    data = tiff(GRAY, 1)
    ends = range(len(data), len(data) + 6 * 5000, 6)  # each an empty directory, and where the next one is
    chain = b"".join(struct.pack("<HI", 0, at + 6) for at in ends)
    data = tiff(GRAY, 1, next_ifd=len(data)) + chain
    assert decode(data).remarks == ("several pages: first of over 1,000",)
    assert module._tiff_pages(data) == 1001


# --- where an image comes from ------------------------------------------------------------------------------


def test_a_path_bytes_and_a_file_say_the_same(tmp_path):
    path = tmp_path / "no such suffix.jpg"
    path.write_bytes(ODD["png rgb"][0])
    want = decode(ODD["png rgb"][0]).pixels
    assert np.array_equal(decode(path).pixels, want)
    assert np.array_equal(decode(str(path)).pixels, want)
    with path.open("rb") as file:
        assert np.array_equal(decode(file).pixels, want)


@pytest.mark.parametrize("most", [1, 7, 100])
def test_a_file_that_is_read_in_pieces_is_whole(tmp_path, monkeypatch, most):
    path = tmp_path / "a.png"
    path.write_bytes(SAMPLE)
    read = os.read
    monkeypatch.setattr(module.os, "read", lambda handle, count: read(handle, min(count, most)))
    assert np.array_equal(decode(path).pixels, halves())
    size = path.stat().st_size
    path.write_bytes(SAMPLE[:-20])
    monkeypatch.setattr(
        module.os, "fstat", lambda handle: os.stat_result((0o100600, 0, 0, 1, 0, 0, size, 0, 0, 0))
    )
    assert unreadable(path) == "truncated"  # it became shorter while it was read


def test_what_is_no_file_is_unreadable(tmp_path):
    assert "No such file" in unreadable(tmp_path / "missing.png")
    assert unreadable(tmp_path) == "a folder, not an image"
    os.mkfifo(tmp_path / "pipe")
    assert unreadable(tmp_path / "pipe") == "not a file"
    assert "embedded null" in unreadable("a\0b")
    closed = io.BytesIO(b"x")
    closed.close()
    assert "closed" in unreadable(closed)


def test_a_large_file_that_is_no_image_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "film.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    assert unreadable(path) == "not an image"
    with path.open("r+b") as file:
        file.write(b"\xff\xd8\xff\xe0")
    assert unreadable(path) == "1024.0 GiB, over the limit of 1"
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    assert "over the limit" in unreadable(io.BytesIO(ODD["jpeg"][0]))


def test_a_large_file_is_read_from_its_first_byte(tmp_path):
    """Of files over 1 MiB the head is tried first."""
    pixels = np.random.default_rng(0).integers(0, 256, (700, 600, 3), np.uint8)
    path = tmp_path / "large.bmp"
    path.write_bytes(encoded(pixels, "BMP"))
    assert path.stat().st_size > module.HEAD_BYTES << 8
    assert np.array_equal(decode(path).pixels, pixels)


def test_of_an_open_file_no_more_is_read_than_an_image_may_have():
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            assert 0 <= size <= module.MAX_BYTES + 1
            return ODD["jpeg"][0]

    assert decode(Endless()).pixels.size


def test_an_image_says_of_what_format_it_was():
    for kind in ("PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF", "PPM"):
        assert decode(encoded(halves(), kind)).kind == kind


def test_gray_with_alpha_is_gray_in_any_format():
    light = Image.merge("LA", (Image.new("L", (4, 4), 90), Image.new("L", (4, 4), 128)))
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(light, kind), channels=None).pixels.shape == (4, 4, 1)


def test_a_palette_is_gray_only_if_all_of_its_colours_are():
    image = Image.new("P", (4, 4), 9)
    grays = [level for i in range(10) for level in (i, i, i)]
    image.putpalette(grays)
    assert decode(encoded(image, "PNG"), channels=None).pixels.shape[2] == 1
    image.putpalette([*grays[:-1], 200])
    assert decode(encoded(image, "PNG"), channels=None).pixels.shape[2] == 3


def test_numbers_may_be_as_small_and_as_large_as_is_said():
    floats = encoded(halves(0.0, 1.0, np.float32), "TIFF")
    integers = tiff(halves(0, 0xFFFF, np.int32), 1, form=2)
    for data in (floats, integers):
        assert seen(decode(data)) == (BLACK, WHITE)


def test_tiles_beyond_the_end_are_told_and_one_bit_needs_no_depth():
    tiled = SimpleNamespace(tag_v2={324: (8, 40), 325: (32, 32)})
    assert check_tiff(tiled, 72) == 8
    with pytest.raises(Unreadable, match="truncated"):
        check_tiff(tiled, 71)


def test_a_side_may_be_as_long_as_is_said():
    longest = np.zeros((1, module.MAX_SIDE, 3), np.uint8)
    assert decode(encoded(longest, "PNG")).pixels.shape == longest.shape


def test_warnings_that_someone_resets_meanwhile_stay_reset():
    with warnings.catch_warnings():
        with module._Quiet():
            warnings.resetwarnings()
        assert module._IGNORED not in warnings.filters


# --- refused ------------------------------------------------------------------------------------------------

SAMPLE = encoded(halves(), "PNG")
BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty"),
    "a byte": (b"\x89", "not an image"),
    "text": (b"hello, world\n", "not an image"),
    "json": (b'{"error": "not found"}', "not an image"),
    "a web page": (b"\xef\xbb\xbf\n <!DOCTYPE html><html></html>", "a web page, not an image"),
    "a web page without a type": (b"<HTML><body>404</body></HTML>", "a web page, not an image"),
    "a web page in xml": (b"<?xml version='1.0'?><html xmlns='x'>", "a web page, not an image"),
    "svg": (b"<?xml version='1.0'?><!-- x --><svg xmlns='x'/>", "an SVG drawing"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "HEIC"),
    "mp4": (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(40), "a video"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    "pdf": (b"%PDF-1.7\n", "a PDF"),
    "photoshop": (b"8BPS\0\1" + bytes(30), "a Photoshop file"),
    "icon": (encoded(picture(), "ICO"), "an icon"),
    "jpeg 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(30), "JPEG 2000"),
    "zip": (b"PK\x03\x04" + bytes(30), "a zip archive"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "png cut": (SAMPLE[:-20], "truncated"),
    "png without its end": (SAMPLE[:-12], "truncated"),
    "png with a wrong checksum of pixels": (SAMPLE[:-14] + b"no" + SAMPLE[-12:], "corrupt"),
    "png with too few pixels": (png(halves()[:9], 2, size=(WIDTH, HEIGHT)), "truncated"),
    "png with too few pixels, interlaced": (
        files.interlaced(halves(), -40 * 3), "truncated",
    ),
    "png of a kind there is not": (png(halves(), 5), "corrupt"),
    "png of no width": (png(halves(), 2, size=(0, 4)), "corrupt"),
    "png with a palette image and no palette": (png(GRAY, 3), "corrupt"),
    "png that says text and is none": (b"\x89PNG\r\n\x1a\n" + b"x" * 60, "corrupt"),
    "jpeg cut": (encoded(halves(), "JPEG")[:-30], "truncated"),
    "jpeg of 12 bits": (
        encoded(halves(), "JPEG").replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "corrupt",
    ),
    "jpeg without pixels": (b"\xff\xd8\xff\xe0\x00\x02\xff\xd9", "corrupt"),
    "webp cut": (encoded(halves(), "WEBP")[:-9], "truncated"),
    "webp of nothing": (b"RIFF\x16\0\0\0WEBPxxxx" + bytes(20), "corrupt"),
    "gif cut": (encoded(picture(), "GIF")[:-30], "truncated"),
    "gif without a frame": (b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";", "corrupt"),
    "bmp cut": (encoded(halves(), "BMP")[:-30], "truncated"),
    "tiff cut": (encoded(halves(), "TIFF")[:-30], "truncated"),
    "tiff cut before its directory": (tiff(GRAY, 1)[:200], "truncated"),
    "tiff, compressed, with pixels beyond the end": (
        tiff(GRAY, 1, tags=((258 + 1, 3, 5),)).replace(
            struct.pack("<HHII", 279, 4, 1, GRAY.size), struct.pack("<HHII", 279, 4, 1, 99999)), "truncated",
    ),
    "tiff of 64 bits": (tiff(GRAY.astype(np.float64), 1, form=3), "a kind of TIFF that is not read"),
    "tiff of a page beyond the end": (tiff(GRAY, 1)[:4] + b"\xff" * 30, "truncated"),
    "floats beyond 1": (encoded(halves(0.5, 1.5, np.float32), "TIFF"), "floats outside 0 to 1"),
    "floats under 0": (encoded(halves(-0.5, 0.5, np.float32), "TIFF"), "floats outside 0 to 1"),
    "floats that are infinite": (encoded(halves(0.5, np.inf, np.float32), "TIFF"), "floats outside 0 to 1"),
    "floats that are none": (encoded(halves(0.5, np.nan, np.float32), "TIFF"), "floats that are no numbers"),
    "integers under 0": (tiff(halves(-1, 9, np.int32), 1, form=2), "integers outside 0 to 65535"),
    "integers of 17 bits": (tiff(halves(1, 65536, np.int32), 1, form=2), "integers outside 0 to 65535"),
    "ppm cut": (encoded(halves(), "PPM")[:-30], "truncated"),
    "ppm of a number without end": (b"P6 " + b"9" * 5000, "corrupt"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_said_in_words(name):
    data, reason = BROKEN[name]
    assert unreadable(data).startswith(reason)


def test_every_cut_of_every_format_is_refused_or_decodes_whole():
    reasons = set()
    for name in ("png palette", "jpeg", "jpeg progressive", "webp", "gif animated", "bmp", "tiff lzw", "ppm"):
        data = ODD[name][0]
        whole = decode(data).pixels
        for end in range(0, len(data), 1 + len(data) // 60):
            try:
                assert np.array_equal(decode(data[:end]).pixels, whole), (name, end)
            except Unreadable as err:
                reasons.add(err.reason)
    assert reasons == {"empty", "truncated", "corrupt", "not an image"}


def test_a_reason_survives_the_way_from_another_process():
    with pytest.raises(Unreadable) as caught:
        decode(BROKEN["jpeg cut"][0])
    back = pickle.loads(pickle.dumps(caught.value))
    assert (str(back), back.reason) == ("truncated", "truncated")
    assert back.detail == caught.value.detail != ""


@pytest.mark.parametrize(
    "error", [MemoryError, RecursionError, OverflowError, zlib.error, struct.error, KeyError]
)
def test_whatever_a_plugin_raises_is_unreadable(error, monkeypatch):
    def fails(*_):
        raise error("deep inside")

    monkeypatch.setattr(module, "_plugin", lambda kind: fails)
    want = "too large for the memory of this machine" if error is MemoryError else "corrupt"
    assert unreadable(SAMPLE) == want


def test_a_format_that_this_pillow_lacks_is_said(monkeypatch):
    monkeypatch.setitem(module._PLUGINS, "WebP", ("NoSuchPlugin", "X"))
    module._plugin.cache_clear()
    assert "WebP, which this Pillow was built without" in unreadable(ODD["webp"][0])
    module._plugin.cache_clear()


# --- bombs: a few bytes that claim to be huge ---------------------------------------------------------------


def claims_of_jpeg(width: int, height: int) -> bytes:
    data = bytearray(encoded(halves(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def claims_of_bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(halves(), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def claims_of_gif(width: int, height: int, frame: tuple[int, int]) -> bytes:
    data = bytearray(encoded(picture(), "GIF", disposal=2))
    data[6:10] = struct.pack("<HH", width, height)
    at = data.index(b",")
    data[at + 5 : at + 9] = struct.pack("<HH", *frame)
    return bytes(data)


def claims_of_webp(form: bytes) -> bytes:
    body = {
        b"VP8X": bytes(4) + (16383).to_bytes(3, "little") * 2,
        b"VP8L": b"\x2f" + (0x3FFF | 0x3FFF << 14).to_bytes(4, "little") + bytes(9),
        b"VP8 ": b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 0x3FFF, 0x3FFF) + bytes(9),
    }[form]
    body = form + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


ZEROS = zlib.compress(bytes(1 << 26), 9)  # 64 MiB in 64 KiB
TEXT = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))
BOMBS = {
    "png": png(halves(), 2, size=(30000, 30000)),
    "png strip": png(halves(), 2, size=(1, 150_000_000)),
    "png of 2 to the 31": png(halves(), 6, size=((1 << 31) - 1, (1 << 31) - 1)),
    "png text": png(halves(), 2, extra=(chunk(b"zTXt", b"k\0\0" + ZEROS),)),
    "png text behind the pixels": png(halves(), 2, after=(chunk(b"zTXt", b"k\0\0" + ZEROS),)),
    "png text, many times": png(halves(), 2, extra=(TEXT,) * 999),
    "png international text": png(halves(), 2, extra=(chunk(b"iTXt", b"k\0\1\0\0\0" + ZEROS),)),
    "png profile": png(halves(), 2, extra=(chunk(b"iCCP", b"k\0\0" + ZEROS),)),
    "jpeg": claims_of_jpeg(65500, 65500),
    "jpeg strip of 200 megapixels": claims_of_jpeg(3060, 65500),
    "bmp": claims_of_bmp(40000, 40000),
    "bmp from the top": claims_of_bmp(40000, -40000),
    "gif": claims_of_gif(65535, 65535, (36, 24)),
    "gif with a huge frame": claims_of_gif(36, 24, (65535, 65535)),
    "tiff": tiff(GRAY, 1, claim=(1 << 16, 1 << 16)),
    "tiff of 2 to the 32": tiff(GRAY, 1, claim=((1 << 32) - 1, (1 << 32) - 1)),
    "webp, extended": claims_of_webp(b"VP8X"),
    "webp, lossless": claims_of_webp(b"VP8L"),
    "webp, lossy": claims_of_webp(b"VP8 "),
    "ppm": b"P6 100000 100000 255\n" + bytes(99),
    "ppm in words": b"P3 100000 100000 255\n" + b"1 " * 99,
}
if AVIF:
    _avif = encoded(halves(), "AVIF")
    _at = _avif.index(b"ispe") + 8
    BOMBS["avif"] = _avif[:_at] + struct.pack(">II", 30000, 30000) + _avif[_at + 8 :]

UNDER_A_LIMIT = """
import pickle, resource, sys
from hotlap.data.decode import Unreadable, decode
bombs, warm = pickle.load(sys.stdin.buffer)
for data in warm:
    decode(data)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (160 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name, data in bombs.items():
    try:
        print(name, "decoded", decode(data).pixels.shape, sep="|")
    except Unreadable as err:
        print(name, err.reason, sep="|")
"""


def test_bombs_are_refused_in_160_mb_and_in_no_time():
    warm = [ODD[name][0] for name in ("png rgb", "jpeg", "webp", "gif", "bmp", "tiff lzw", "ppm")]
    warm += [ODD["avif"][0]] if AVIF else []
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", UNDER_A_LIMIT],
        input=pickle.dumps((BOMBS, warm)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    said = dict(line.split("|", 1) for line in done.stdout.decode().splitlines())
    assert said.keys() == BOMBS.keys()
    for name, reason in said.items():
        if "text" in name or "profile" in name:
            assert reason == "text or a profile in it unpacks to more than is safe", name
        elif name == "avif":
            assert not reason.startswith(("decoded", "too large for the memory")), name
        elif name == "gif with a huge frame":
            assert reason == "more megapixels than Pillow's limit"
        else:
            assert "over the limit of" in reason, (name, reason)
    assert time.perf_counter() - start < 30


def test_black_images_are_full():
    """Black is what an image that ends early looks like. Of small ones some interlaced parts are empty."""
    for height, width in np.ndindex(10, 10):
        black = np.zeros((height + 1, width + 1, 3), np.uint8)
        for data in (png(black, 2), files.interlaced(black)):
            assert decode(data).pixels.shape == black.shape
        for most in (-1, -3 * (width + 1)):
            assert unreadable(files.interlaced(black, most)) == "truncated"
    for depth in (1, 2, 4):
        packed = np.zeros((5, 2), np.uint8)
        assert not decode(png(packed, 0, depth, size=(3, 5))).pixels.any()
        assert unreadable(png(packed[1:], 0, depth, size=(9, 5))) == "truncated"


def test_a_wide_claim_and_a_tall_one_at_the_limit(monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", HEIGHT * WIDTH)
    decode(SAMPLE)
    monkeypatch.setattr(module, "MAX_PIXELS", HEIGHT * WIDTH - 1)
    assert "megapixels, over the limit of" in unreadable(SAMPLE)
    assert MAX_PIXELS == 200_000_000


# --- quiet --------------------------------------------------------------------------------------------------

NOISY = (
    ODD["jpeg with exif that points nowhere"][0],
    tiff(GRAY, 1, tags=((700, 2, 9),)).replace(
        struct.pack("<HHI", 700, 2, 1), struct.pack("<HHI", 700, 2, 1 << 30)
    ),
)


def test_pillow_warns_of_these():
    """Or the next test would show nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(io.BytesIO(NOISY[1])) as image:
            image.load()
    assert caught


def test_warnings_do_not_leak_and_filters_stay_as_they_were():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        for data in NOISY:
            decode(data)
        warnings.warn("somebody else's", stacklevel=1)
        assert warnings.filters == before
    assert [str(w.message) for w in caught] == ["somebody else's"]


def test_threads_decode_side_by_side():
    before, failures = list(warnings.filters), []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(40):
                name = rng.choice(sorted(ODD))
                assert near(seen(decode(ODD[name][0])), ODD[name][1], ODD[name][2]), name
                decode(NOISY[1])
        except Exception as err:
            failures.append(err)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert warnings.filters == before


# --- fuzz ---------------------------------------------------------------------------------------------------

SEEDS = [data for data, *_ in ODD.values() if len(data) < 6000] + [rle_bmp(), gif_of(3)]
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mended(data: bytearray) -> bytes:
    """A PNG with its checksums made right again: otherwise nothing behind them is ever reached."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        crc = zlib.crc32(data[at + 4 : at + 8 + length])
        data[at + 8 + length : at + 12 + length] = struct.pack(">I", crc)
        at += 12 + length
    return bytes(data)


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        way = rng.randrange(6)
        at = rng.randrange(len(out)) if rng.random() < 0.5 else rng.randrange(min(len(out), 128))
        if way == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            out[at] = rng.randrange(256)
        elif way == 2:  # a field of a header
            width = rng.choice((1, 2, 4))
            value = rng.choice(EXTREMES) & (1 << 8 * width) - 1
            out[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))
        elif way == 3:
            del out[max(at, 1) :]
        elif way == 4:
            other = rng.choice(SEEDS)
            cut = rng.randrange(len(other))
            out[at : at + rng.randrange(40)] = other[cut : cut + rng.randrange(40)]
        else:
            del out[at : at + rng.randrange(1, 9)]
        if not out:
            break
    return mended(out) if data.startswith(b"\x89PNG") and rng.random() < 0.9 else bytes(out)


def test_no_mutation_breaks_the_decoder(monkeypatch, capfd):
    # Within the true limit a claim may take hundreds of megabytes, thousands of times.
    monkeypatch.setattr(module, "MAX_PIXELS", 1 << 20)
    decoded, reasons, slowest = 0, set(), 0.0
    rng = random.Random(7)
    for _ in range(5000):
        data = mutated(rng.choice(SEEDS), rng)
        start = time.perf_counter()
        try:
            got = decode(data, channels=rng.choice((None, 1, 3, 4)))
        except Unreadable as err:
            reasons.add(err.reason.split(",")[0])
        else:
            decoded += 1
            height, width, channels = got.pixels.shape
            assert got.pixels.dtype == np.uint8
            assert height * width <= module.MAX_PIXELS
            assert min(height, width) >= 1
            assert channels in (1, 3, 4)
        slowest = max(slowest, time.perf_counter() - start)
    capfd.readouterr()  # libtiff writes of broken TIFFs to standard error itself
    assert decoded > 200, "mutations that only break what is checked first test little"
    assert {"truncated", "corrupt", "not an image"} <= reasons
    assert slowest < 3
