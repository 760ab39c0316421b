"""Fitting an image to a size: where it lies, what it is made of, and the same to the last bit everywhere."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hotlap.data import fit as module
from hotlap.data.fit import HOWS, fit, placement, shade, weights
from hotlap.errors import UserError

SIDE = st.integers(1, 48)
SIZE = st.tuples(SIDE, SIDE)
HOW = st.sampled_from(HOWS)


@st.composite
def images(draw):
    """Of one value a pixel, or of 0 and 255 alone, which round the worst."""
    height, width, channels = draw(SIDE), draw(SIDE), draw(st.integers(1, 4))
    pixels = np.random.default_rng(draw(st.integers(0, 2**16))).integers(0, 256, (height, width, channels))
    return (pixels // 128 * 255 if draw(st.booleans()) else pixels).astype(np.uint8)


def resampling(length: int, out: int) -> np.ndarray:
    """The matrix of antialiased bilinear resampling along one side, in floats, by its definition."""
    scale = length / out
    reach = max(scale, 1.0)
    matrix = np.zeros((out, length))
    for i in range(out):
        centre = (i + 0.5) * scale
        for k in range(length):
            matrix[i, k] = max(0.0, 1 - abs(k + 0.5 - centre) / reach)
    return matrix / matrix.sum(1, keepdims=True)


def slowly(pixels: np.ndarray, size: tuple[int, int], how: str, background: int) -> np.ndarray:
    """What `fit` means, in floats, with nothing rounded."""
    height, width, _ = pixels.shape
    rows, columns, top, left = placement(height, width, size, how)
    whole = np.einsum("rh,cw,hwk->rck", resampling(height, rows), resampling(width, columns), pixels * 1.0)
    if how == "crop":
        return whole[top : top + size[0], left : left + size[1]]
    out = np.full((*size, pixels.shape[2]), float(background))
    out[top : top + rows, left : left + columns] = whole
    return out


@settings(max_examples=150)
@given(pixels=images(), size=SIZE, how=HOW)
def test_it_is_antialiased_bilinear(pixels, size, how):
    got = fit(pixels, size, how, (7, 7, 7))
    assert got.dtype == np.uint8
    assert got.shape == (*size, pixels.shape[2])
    want = slowly(pixels, size, how, 7)
    if pixels.shape[2] == 4 and how == "pad":
        got, want = got[..., :3], want[..., :3]  # alpha has a background of its own
    # Each of two passes rounds by half a level, and a mean of such errors is no larger; 0.01 for fixed point.
    assert np.abs(got - want).max() <= 1.01


@settings(max_examples=150)
@given(pixels=images(), size=SIZE)
def test_weights_are_pillows_own_arithmetic(pixels, size):
    """Also what is computed only where an extreme crop keeps it: the same bits."""
    got = pixels
    for axis, out in ((1, size[1]), (0, size[0])):
        if got.shape[axis] == out:
            continue
        first, weight = weights(got.shape[axis], out)
        moved = np.moveaxis(got, axis, 0).astype(np.int64)
        taps = np.minimum(first[:, None] + np.arange(weight.shape[1]), len(moved) - 1)
        total = np.einsum("ot,ot...->o...", weight, moved[taps]) + (1 << 21)
        got = np.moveaxis(np.clip(total >> 22, 0, 255), 0, axis).astype(np.uint8)
    assert np.array_equal(fit(pixels, size, "stretch"), got)
    with pytest.MonkeyPatch.context() as patch:
        want = fit(pixels, size)
        patch.setattr(module, "_MOST_PIXELS", 0)
        patch.setattr(module, "_BLOCK_BYTES", 2048)
        assert np.array_equal(fit(pixels, size), want)


def test_it_is_pillows_resize_with_the_rows_first():
    """In one call Pillow from 13 on picks the order by the shape; where rows come first anyway they agree."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 300, 3), dtype=np.uint8)
    whole = Image.fromarray(pixels).resize((30, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(fit(pixels, (20, 30), "stretch"), np.asarray(whole))


def test_the_pixels_never_change():
    """A model's accuracy hangs on them: another Pillow, numpy or machine must give the same."""
    rows, columns, channel = np.mgrid[:90, :70, :3]
    pixels = ((rows * rows * 7 + columns * 13 * (channel + 1) + rows * columns) % 256).astype(np.uint8)
    found = {how: zlib.crc32(fit(pixels, (32, 24), how, (1, 2, 3))) for how in HOWS}
    assert found == {"crop": 2255387176, "pad": 475816347, "stretch": 1144401483}


@given(pixels=images(), how=HOW)
def test_an_image_of_the_size_is_returned_as_it_is(pixels, how):
    assert fit(pixels, pixels.shape[:2], how) is pixels


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), size=SIZE)
def test_crop_covers_and_pad_lies_within(height, width, size):
    tall, wide = size
    rows, columns, top, left = placement(height, width, size, "crop")
    assert (rows == tall and columns >= wide) or (columns == wide and rows >= tall)
    assert (top, left) == ((rows - tall) // 2, (columns - wide) // 2)
    # The other side is as the proportions have it, to half a pixel, unless it would be under the size.
    exact = max(tall / height, wide / width)
    assert abs(rows - height * exact) <= 0.5
    assert abs(columns - width * exact) <= 0.5
    rows, columns, top, left = placement(height, width, size, "pad")
    assert (rows == tall and 1 <= columns <= wide) or (columns == wide and 1 <= rows <= tall)
    assert (top, left) == ((tall - rows) // 2, (wide - columns) // 2)
    assert placement(height, width, size, "stretch") == (*size, 0, 0)


@pytest.mark.parametrize(
    ("height", "width", "how", "want"),
    [
        (375, 500, "crop", (224, round(500 * 224 / 375), 0, 37)),  # 298.67
        (500, 375, "crop", (299, 224, 37, 0)),
        (2, 3, "crop", (224, 336, 0, 56)),
        (448, 449, "crop", (224, 224, 0, 0)),  # 224.5, half to even
        (448, 451, "crop", (224, 226, 0, 1)),  # 225.5
        (375, 500, "pad", (168, 224, 28, 0)),
        (1, 5000, "pad", (1, 224, 111, 0)),
        (5000, 1, "pad", (224, 1, 0, 111)),
    ],
)
def test_where_an_image_lies(height, width, how, want):
    assert placement(height, width, (224, 224), how) == want


@given(pixels=images(), size=SIZE)
def test_pad_adds_the_background_and_nothing_else(pixels, size):
    rows, columns, top, left = placement(*pixels.shape[:2], size, "pad")
    background = (10, 10, 10) if pixels.shape[2] == 2 else (10, 200, 30)
    got = fit(pixels, size, "pad", background)
    outside = np.ones(size, bool)
    outside[top : top + rows, left : left + columns] = False
    assert (got[outside] == shade(background, pixels.shape[2])).all()
    assert np.array_equal(got[~outside].reshape(rows, columns, -1), fit(pixels, (rows, columns), "stretch"))


@given(pixels=images(), size=SIZE, how=HOW)
def test_a_flipped_image_is_fitted_flipped(pixels, size, how):
    rows, columns, _, _ = placement(*pixels.shape[:2], size, how)
    if (columns - size[1]) % 2 or (rows - size[0]) % 2:
        return  # a centre between two pixels: the offset takes the one before it
    got = fit(np.ascontiguousarray(pixels[::-1, ::-1]), size, how, (9, 9, 9))[::-1, ::-1]
    # The filter is symmetric but for its last bit, which may round a pixel to the next level in each pass.
    assert np.abs(got - fit(pixels, size, how, (9, 9, 9)).astype(int)).max() <= 1


@given(
    value=st.integers(0, 255), height=SIDE, width=SIDE, size=SIZE, how=st.sampled_from(["crop", "stretch"])
)
def test_one_colour_stays_that_colour(value, height, width, size, how):
    assert (fit(np.full((height, width, 3), value, np.uint8), size, how) == value).all()


def test_one_number_is_both_sides():
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(fit(pixels, 8), fit(pixels, (8, 8)))


def test_views_and_read_only_images_are_taken():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    want = fit(np.ascontiguousarray(pixels[::2, ::-1]), 9)
    pixels.flags.writeable = False
    assert np.array_equal(fit(pixels[::2, ::-1], 9), want)


@pytest.mark.parametrize("shape", [(60_000, 1, 3), (1, 60_000, 3)])
def test_a_strip_does_not_take_memory_with_its_proportions(shape):
    """Resized to cover 224 x 224 it would be 13 million by 224 pixels: 9 GB."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tracemalloc.start()
    got = fit(pixels, 224)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 << 20
    along = got[:, 100] if shape[1] == 1 else got[100]  # from the one pixel in the middle to the other
    assert np.abs(along[[0, -1]] - pixels.reshape(-1, 3)[29_999:30_001].astype(int)).max() <= 1


def test_a_mistake_is_said_in_a_line():
    pixels = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(UserError, match="did you mean 'crop'"):
        fit(pixels, 8, "corp")
    with pytest.raises(UserError, match="crop, pad, stretch"):
        fit(pixels, 4, "fill")
    with pytest.raises(UserError, match="from 1 up"):
        fit(pixels, (0, 4))


def test_the_background_in_other_numbers_of_channels():
    luma = Image.new("RGB", (1, 1), (10, 200, 30)).convert("L").getpixel((0, 0))
    assert shade((10, 200, 30), 1) == (luma,)
    assert shade((10, 200, 30), 3) == (10, 200, 30)
    assert shade((10, 200, 30), 4) == (10, 200, 30, 255)
    assert shade((9, 9, 9), 2) == (9, 9)
    with pytest.raises(ValueError, match="not 2"):
        shade((10, 200, 30), 2)
