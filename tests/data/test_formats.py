"""What is read of single formats by hotlap itself, each against what Pillow reads or against the format."""

from __future__ import annotations

import io
import struct
import zlib

import image_files as files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import chunk, encoded, halves, png, tiff
from PIL import Image

from hotlap.data.decode import FORMATS, Unreadable, decode
from hotlap.data.formats.gif import gif_frames
from hotlap.data.formats.kinds import HEAD_BYTES, kind_of
from hotlap.data.formats.orientation import orientation_of
from hotlap.data.formats.png import check_chunks, check_full, head_of
from hotlap.data.formats.reasons import cut_off
from hotlap.data.formats.reasons import reason_of as in_words
from hotlap.data.formats.tiff import tiff_pages
from hotlap.data.formats.webp import canvas_of

GRAY = halves(200, 40)
SIDE = st.integers(1, 40)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def reason_of(call, *arguments) -> str:
    with pytest.raises(Unreadable) as caught:
        call(*arguments)
    return caught.value.reason


# -- which format ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("format", FORMATS)
def test_what_pillow_writes_is_told_by_its_first_bytes(format, mode):
    source = Image.fromarray(halves()).convert(mode)
    try:
        data = encoded(source, format)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"Pillow writes no {format} of {mode}")
    assert kind_of(data) == format
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == format.upper()


OTHERS = {
    b"%!PS-Adobe": "PostScript, which is not read; save it as PNG or JPEG",
    b"\xc5\xd0\xd3\xc6\x1e\0\0\0": "PostScript, which is not read; save it as PNG or JPEG",
    b"\xff\x4f\xff\x51\0\x2f": "JPEG 2000, which is not read; save it as PNG or JPEG",
    b"\xff\x0a\xfa\x7f": "JPEG XL, which is not read; save it as PNG or JPEG",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL, which is not read; save it as PNG or JPEG",
    b"\x1f\x8b\x08\0": "gzip-compressed, not an image",
    b"\0\0\1\0\2\0": "an icon (ICO), which is not read; save it as PNG or JPEG",
    b"<svg xmlns='x'/>": "an SVG drawing, which is not read; save it as PNG or JPEG",
    b" \r\n<!-- drawn --><SVG/>": "an SVG drawing, which is not read; save it as PNG or JPEG",
    b"<!DOCTYPE svg><svg/>": "an SVG drawing, which is not read; save it as PNG or JPEG",
    b"<!-- moved --><html></html>": "a web page, not an image",
    b"\t<script>": "a web page, not an image",
    b"<!-- neither -->": "not an image",
    b"BM" + bytes(12) + b"\x0d\0\0\0" + bytes(40): "not an image",  # no bitmap's header is of 13 bytes
    b"P7\nWIDTH 1\n": "not an image",
    b"P6,": "not an image",
    b"GIF88a": "not an image",
    b"RIFF\0\0\0\0WAVE": "not an image",
}


@pytest.mark.parametrize("data", OTHERS)
def test_what_is_no_image_that_is_read_is_named(data):
    assert reason_of(kind_of, data + bytes(40)) == OTHERS[data]


def test_only_the_beginning_of_a_text_is_looked_at():
    assert reason_of(kind_of, b"<!--" + b" " * (HEAD_BYTES - 7) + b"<svg>") == "not an image"
    assert reason_of(kind_of, b"<!--" + b" " * (HEAD_BYTES - 8) + b"<svg>").startswith("an SVG drawing")


def box(*brands: bytes, size: int | None = None) -> bytes:
    """The first box of a file of ISO's container: its size, major brand, version, and compatible brands."""
    major, *others = brands
    body = b"ftyp" + major + b"\0\0\2\0" + b"".join(others)
    return struct.pack(">I", 4 + len(body) if size is None else size) + body


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (box(b"avif", b"mif1", b"miaf"), "AVIF"),
        (box(b"avis", b"msf1"), "AVIF"),
        (box(b"mif1", b"miaf", b"avif"), "AVIF"),
        (box(b"mif1", *[b"xxxx"] * 59, b"avif"), "AVIF"),  # in the last word that is looked at
        (box(b"heic", b"mif1"), "HEIC, which is not read; save it as PNG or JPEG"),
        (box(b"hevc"), "HEIC, which is not read; save it as PNG or JPEG"),
        (box(b"msf1", b"iso8"), "HEIC, which is not read; save it as PNG or JPEG"),
        (box(b"isom", b"iso2", b"mp41"), "a video, not an image"),
        (box(b"isom", size=16) + b"avif", "a video, not an image"),  # behind the box
        (box(b"isom", *[b"xxxx"] * 60, b"avif"), "a video, not an image"),
        (box(b"qt  ", size=4000), "truncated"),
    ],
)
def test_images_and_videos_in_one_container_are_told_apart_by_their_brands(data, want):
    assert (kind_of(data) if want == "AVIF" else reason_of(kind_of, data)) == want


def test_the_version_in_a_container_is_no_brand():
    data = struct.pack(">I", 20) + b"ftyp" + b"isom" + b"avif" + b"mp41"
    assert reason_of(kind_of, data) == "a video, not an image"


# -- EXIF ------------------------------------------------------------------------------------------


@st.composite
def directories(draw):
    """An EXIF block with entries of any tags, and the orientation that it says."""
    order = draw(st.sampled_from("<>"))
    entry = st.tuples(st.integers(0, 0xFFFF), st.sampled_from([1, 2, 3, 4, 5]), st.integers(0, 0xFFFFFFFF))
    before = [e for e in draw(st.lists(entry, max_size=4)) if e[0] != 0x0112]
    after = draw(st.lists(entry, max_size=3))
    form, value = draw(st.sampled_from([(1, 255), (3, 0xFFFF), (4, 0xFFFFFFFF)]))
    value = draw(st.one_of(st.integers(1, 8), st.integers(0, value)))
    packed = struct.pack(order + {1: "B", 3: "H", 4: "I"}[form], value).ljust(4, b"\0")
    at = draw(st.integers(8, 40))
    out = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, at).ljust(at, b"\xaa")
    out += struct.pack(order + "H", len(before) + 1 + len(after))
    entries = [(tag, kind, struct.pack(order + "I", number)) for tag, kind, number in before]
    entries += [(0x0112, form, packed)] + [(t, k, struct.pack(order + "I", n)) for t, k, n in after]
    for tag, kind, four in entries:
        out += struct.pack(order + "HHI", tag, kind, 1) + four
    return draw(st.sampled_from([b"Exif\0\0", b""])) + out + bytes(4), value


@given(directories())
def test_an_orientation_is_found_wherever_it_stands(made):
    block, value = made
    assert orientation_of(block) == value


@pytest.mark.parametrize(
    "block", [None, b"", b"Exif\0\0", b"Exif\0\0XX*\0\x08\0\0\0", "II*\0", b"II*\0\x08\0\0\0\0\0"]
)
def test_without_an_orientation_an_image_is_as_stored(block):
    assert orientation_of(block) == 1


@given(directories(), st.data())
def test_a_block_that_is_cut_off_never_fails(made, data):
    block, value = made
    assert orientation_of(block[: data.draw(st.integers(0, len(block)))]) in (1, value, value & 0xFF)


# -- PNG -------------------------------------------------------------------------------------------

KINDS = {"gray": (0, 1), "rgb": (2, 3), "palette": (3, 1), "gray and alpha": (4, 2), "rgba": (6, 4)}
PALETTE = (chunk(b"PLTE", bytes(3 * 256)),)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_black_images_of_every_kind_are_full(kind, depth):
    """Black, and clear, is what Pillow makes of pixels that are missing."""
    colour, samples = KINDS[kind]
    if colour == 3 and depth == 16:
        pytest.skip("a palette's numbers have no 16 bits")
    extra = PALETTE if colour == 3 else ()
    for height, width in ((1, 1), (5, 7), (24, 36)):
        black = np.zeros((height, width, samples), np.uint16 if depth == 16 else np.uint8)
        assert decode(png(black, colour, depth, extra), channels=4).pixels.shape == (height, width, 4)
        for rows in (height - 1, 0):
            cut = png(black[:rows], colour, depth, extra, size=(width, height))
            assert reason_of(decode, cut) == "truncated"


class Black:
    """An image whose last pixel says nothing, so that all of them are counted."""

    def __init__(self, interlace: int) -> None:
        self.info = {"interlace": interlace}

    def getpixel(self, _: tuple[int, int]) -> tuple[int, int, int]:
        return 0, 0, 0


def test_pixels_are_counted_to_the_last_byte():
    """Pillow finds some of the ends that come too early itself; these are all of them."""
    for height, width in np.ndindex(10, 10):
        black = np.zeros((height + 1, width + 1, 3), np.uint8)
        raw = b"".join(b"\0" + line.tobytes() for line in black)
        cut = chunk(b"IDAT", zlib.compress(raw[:-1])) + chunk(b"IEND", b"")
        check_full(png(black, 2), Black(0))
        check_full(files.interlaced(black), Black(1))
        assert reason_of(check_full, png(black, 2)[:33] + cut, Black(0)) == "truncated"
        assert reason_of(check_full, files.interlaced(black, -1), Black(1)) == "truncated"


def test_a_head_is_read():
    assert head_of(png(halves(), 2)) == (36, 24, 8, False)
    assert head_of(png(halves(9, 8, np.uint16), 0, 16)) == (36, 24, 16, True)
    for colour, gray in ((0, True), (2, False), (3, False), (4, True), (6, False)):
        assert head_of(png(np.zeros((2, 3, KINDS_OF[colour]), np.uint8), colour)) == (3, 2, 8, gray)
    assert reason_of(head_of, png(halves(), 2)[:32]) == "truncated"
    assert head_of(png(halves(), 2)[:33]) == (36, 24, 8, False)


KINDS_OF = dict(KINDS.values())


def test_every_chunk_is_whole_and_as_its_checksum_says():
    data = png(halves(), 2, extra=(chunk(b"tEXt", b"k\0v"),), after=(chunk(b"tIME", bytes(7)),))
    check_chunks(data)
    check_chunks(data + b"more")
    for end in range(8, len(data)):
        assert reason_of(check_chunks, data[:end]) in ("truncated", "corrupt")
    for at in range(8, len(data)):
        broken = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        assert reason_of(check_chunks, broken) in ("truncated", "corrupt")


def test_a_chunk_that_goes_beyond_the_end_is_cut_if_it_has_a_name():
    head = png(halves(), 2)[:33]
    assert reason_of(check_chunks, head + struct.pack(">I4s", 99, b"IDAT") + bytes(50)) == "truncated"
    assert reason_of(check_chunks, head + struct.pack(">I4s", 99, b"\x00DAT") + bytes(50)) == "corrupt"


# -- WebP, GIF, TIFF -------------------------------------------------------------------------------


@settings(max_examples=30)
@given(SIDE, SIDE, st.sampled_from(["lossy", "lossless", "extended"]))
def test_a_webp_s_canvas_is_its_size(height, width, form):
    exif = {"exif": files.exif(1)} if form == "extended" else {}
    data = encoded(noise(height, width, 3), "WEBP", lossless=form == "lossless", **exif)
    assert data[12:16] == {"lossy": b"VP8 ", "lossless": b"VP8L", "extended": b"VP8X"}[form]
    assert canvas_of(data) == (width, height)


@pytest.mark.parametrize("size", [(1, 16383), (16383, 1), (300, 7), (7, 300), (4096, 2)])
def test_a_webp_s_canvas_has_14_bits_a_side(size):
    source = Image.new("RGB", size, (9, 200, 30))
    for options in ({"lossless": True}, {"quality": 5}, {"lossless": True, "exif": files.exif(1)}):
        assert canvas_of(encoded(source, "WEBP", **options)) == size


def test_a_webp_that_is_cut_or_none_is_refused():
    data = encoded(halves(), "WEBP")
    for end in (12, 29, len(data) - 1):
        assert reason_of(canvas_of, data[:end]) == "truncated"
    assert canvas_of(data + b"more") == (36, 24)
    assert reason_of(canvas_of, data[:12] + b"VP9 " + data[16:]) == "corrupt"


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("colours", ["one table", "a table each"])
def test_frames_of_a_gif_are_counted(count, colours):
    frames = [Image.fromarray(noise(9, 11, 3, seed=i)) for i in range(count)]
    if colours == "one table":
        frames = [frame.convert("L") for frame in frames]
    options = {"save_all": True, "append_images": frames[1:], "comment": b"a comment " * 40}
    data = encoded(frames[0], "GIF", **options)
    with Image.open(io.BytesIO(data)) as image:
        assert gif_frames(data) == image.n_frames == count
    for end in range(13, len(data)):
        assert 0 <= gif_frames(data[:end]) <= count


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pages_of_a_tiff_are_counted(order, big):
    """Of 64 bits too: its numbers are wider, its entries longer, and its first directory stands elsewhere."""
    number, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    mark = b"II" if order == "<" else b"MM"
    for pages in (1, 2, 5):
        head = struct.pack(order + "2sH", mark, 43 if big else 42)
        head += struct.pack(order + "HHQ", 8, 0, 16) if big else struct.pack(order + "I", 8)
        data, at = head, len(head)
        for page in range(pages):
            entries = 1 + page % 3
            end = at + struct.calcsize(order + count + number) + entry * entries
            data += struct.pack(order + count, entries) + b"\xee" * entry * entries
            data += struct.pack(order + number, end if page < pages - 1 else 0)
            at = end
        assert tiff_pages(data) == pages
        assert tiff_pages(data[:-1]) == pages - 1
    assert tiff_pages(head[:-1]) == 0


def test_a_tiff_of_64_bits_is_read_as_any_other():
    try:
        data = encoded(halves(), "TIFF", big_tiff=True)
    except (TypeError, KeyError):
        pytest.skip("this Pillow writes none")
    if data[2:4] == b"*\0":
        pytest.skip("this Pillow writes none")
    got = decode(data)
    assert np.array_equal(got.pixels, halves())
    assert got.remarks == ()


def test_tiles_beyond_the_end_are_found_as_strips_are():
    size = len(tiff(GRAY, 1, tags=((324, 4, 8), (325, 4, 1))))
    for bytes_of_a_tile in (size - 8 + 1, 1 << 30):
        broken = tiff(GRAY, 1, tags=((324, 4, 8), (325, 4, bytes_of_a_tile)))
        assert reason_of(decode, broken) == "truncated"


def test_a_strip_may_end_where_the_file_does():
    """Pixels behind the directory: the last of them is the file's last byte."""
    data = tiff(GRAY, 1)
    (at,) = struct.unpack_from("<I", data, 4)
    head, strip, rest = data[:8], data[8 : 8 + GRAY.size], data[8 + GRAY.size :]
    rest = rest.replace(struct.pack("<HHII", 273, 4, 1, 8), struct.pack("<HHII", 273, 4, 1, len(head + rest)))
    moved = head[:4] + struct.pack("<I", at - GRAY.size) + rest + strip
    assert np.array_equal(decode(moved, channels=1).pixels[..., 0], GRAY)
    assert reason_of(decode, moved[:-1]) == "truncated"


@pytest.mark.parametrize(
    ("error", "kind", "want"),
    [
        (MemoryError(), "JPEG", "too large for the memory of this machine"),
        (Image.DecompressionBombError("x"), "GIF", "more megapixels than Pillow's limit"),
        (ValueError("Decompressed data too large"), "PNG", "text or a profile in it unpacks to more than is"),
        (ValueError("Too much memory used"), "PNG", "text or a profile in it unpacks to more than is safe"),
        (KeyError("unknown pixel mode"), "TIFF", "a kind of TIFF that is not read; save it as PNG or JPEG"),
        (KeyError("unknown pixel mode"), "PNG", "corrupt"),
        (OSError("image file is truncated"), "PNG", "truncated"),
        (SyntaxError("Truncated File Read"), "PNG", "truncated"),
        (OSError("unexpected EOF"), "PNG", "truncated"),
        (EOFError("no more images"), "PNG", "truncated"),
        (OSError("broken data stream"), "PNG", "corrupt"),
        (OSError("broken data stream"), "GIF", "truncated"),  # which has no end
    ],
)
def test_what_pillow_raises_is_said_in_words(error, kind, want):
    assert in_words(error, b"GIF89a" + bytes(40), kind).startswith(want)


def test_where_an_end_is_missing():
    jpeg, gif = encoded(halves(), "JPEG"), encoded(halves(), "GIF")
    assert not cut_off(jpeg, "JPEG")
    assert cut_off(jpeg[:-2], "JPEG")
    assert not cut_off(jpeg + bytes(HEAD_BYTES - 2), "JPEG")
    assert not cut_off(gif, "GIF")
    assert cut_off(b"GIF89a" + bytes(40), "GIF")
    assert not cut_off(tiff(GRAY, 1), "TIFF")
    assert cut_off(tiff(GRAY, 1)[:60], "TIFF")
    assert not cut_off(b"anything", "PNG")
    boxes = struct.pack(">I4s", 12, b"ftyp") + bytes(4) + struct.pack(">I4s", 20, b"mdat") + bytes(12)
    assert not cut_off(boxes, "AVIF")
    assert cut_off(boxes[:-1], "AVIF")
    assert cut_off(boxes[:20], "AVIF")
    for length in (0, 1):  # to the end, or a longer number follows
        assert not cut_off(boxes + struct.pack(">I4s", length, b"mdat"), "AVIF")
