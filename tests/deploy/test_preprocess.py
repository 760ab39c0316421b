"""What leaves with the net sees the pixels that `hotlap.data.fit` makes, at any size."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from hotlap.data.fit import fit
from hotlap.deploy.preprocess import Preprocess
from hotlap.runs.checkpoint import Preprocessing
from hotlap.spec import DataSpec

FITS = ("crop", "pad", "stretch")


def spec_of(channels: int) -> DataSpec:
    means, sds = (120.0, 110.0, 100.0, 90.0), (60.0, 0.0, 62.0, 63.0)
    return DataSpec((channels, 1, 1), ("a", "b"), 1, 1, means[:channels], sds[:channels])


def levels(pixels: np.ndarray, how: Preprocessing) -> np.ndarray:
    made = Preprocess(how, spec_of(pixels.shape[-1])).resize(torch.from_numpy(np.array(pixels))[None])
    return made[0].permute(1, 2, 0).numpy()


def differing(pixels: np.ndarray, how: Preprocessing) -> int:
    """Pixels off `fit`'s, of which none may be off by more than a level."""
    off = np.abs(levels(pixels, how) - fit(pixels, how.size, how.fit, how.background).astype(np.float32))
    assert off.max() <= 1
    return int((off > 0).sum())


def picture(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Noise, or a ramp with a little of it: many sums of it by round weights end in a half."""
    noise = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    if rng.random() < 0.5:
        return noise
    ramp = np.add.outer(np.arange(height), np.arange(width)) % 255
    return (ramp[:, :, None] + noise % 2).astype(np.uint8)


@pytest.mark.parametrize("how", FITS)
def test_every_pixel_is_that_of_fit_up_to_32_times_the_size(how):
    rng = np.random.default_rng(0)
    for i in range(120):
        size = tuple(map(int, rng.integers(1, 70, 2))) if i % 2 else (int(rng.choice([24, 32, 48, 64])),) * 2
        if i % 3:  # any size; else one from which each pixel is made of as many, where ties are
            height, width = (int(rng.integers(1, min(32 * n, 600) + 1)) for n in size)
        else:
            height, width = (int(n * rng.integers(1, 9)) for n in size)
        pixels = picture(rng, height, width, (1, 3, 4)[i % 3])
        background = (7, 7, 7) if i % 3 == 2 else (1, 200, 90)
        assert not differing(pixels, Preprocessing(size, how, background)), (i, pixels.shape, size)


@pytest.mark.parametrize("how", FITS)
def test_beyond_that_at_most_one_in_ten_thousand_is_a_level_off(how):
    rng = np.random.default_rng(1)
    off = total = 0
    for height, width in ((1600, 40), (33, 2500), (1024, 1536), (1999, 701), (1280, 1280)):
        for side in (1, 5, 16, 20):
            pixels = picture(rng, height, width, 3)
            off += differing(pixels, Preprocessing((side, side), how))
            total += 3 * side * side
    assert off <= 1e-4 * total


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3), (31, 33), (32, 32), (1200, 3)])
def test_the_smallest_and_the_longest_pictures(how, size):
    rng = np.random.default_rng(2)
    for want in ((32, 32), (8, 40), (41, 7)):
        assert not differing(rng.integers(0, 256, (*size, 3), dtype=np.uint8), Preprocessing(want, how))


def test_where_an_odd_pixel_goes():
    """Cropped and padded by odd numbers of pixels, on both axes."""
    ramp = np.arange(35, dtype=np.uint8)
    for how, shape in product(("crop", "pad"), ((35, 32), (32, 35), (29, 32), (32, 29))):
        pixels = np.broadcast_to(
            (ramp[:, None] * 3 + ramp[None, :])[: shape[0], : shape[1], None], (*shape, 3)
        )
        assert not differing(np.array(pixels), Preprocessing((32, 32), how, (9, 8, 7)))


def test_pixels_are_normalised_as_the_device_set_does_it():
    from hotlap.data.dataset import Split
    from hotlap.data.device import DeviceSet
    from hotlap.machine.backend import Backend

    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (4, 9, 11, 3), dtype=np.uint8)
    spec = DataSpec((3, 9, 11), ("a", "b"), 4, 4, (120.0, 110.0, 100.0), (60.0, 0.0, 62.0))
    split = Split(images, np.zeros(4, np.int64))
    there = DeviceSet(split, spec, Backend(torch.device("cpu"), "fp32", "contiguous", False, ""))
    there.fill(split)
    made = Preprocess(Preprocessing.of(spec), spec)(torch.from_numpy(images))
    want = there.read(torch.arange(4))
    # in the second channel a difference of 0 is a product of 110,000 less 110,000, in float32 steps of 1/128
    for channel, tolerance in enumerate((1e-5, 0.02, 1e-5)):
        assert torch.allclose(made[:, channel], want[:, channel], rtol=1e-6, atol=tolerance)
    assert made[:, 1].abs().max() > 1000, "a channel that is constant was to be divided by 1/1000"
