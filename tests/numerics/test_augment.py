"""Augmentation by index maps against padding, cropping and flipping images one by one."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import FP32, noise_dataset, program
from hotlap.data.augment import Epoch, Flip, Translate
from hotlap.data.device import DeviceSet
from hotlap.plan import Plan
from hotlap.seeds import generator

CPU = torch.device("cpu")
DATA = noise_dataset((3, 10, 14), classes=3, train=50, test=8)


def epoch(count: int, index: int = 0, seed: int = 0) -> Epoch:
    """What a draw for `count` images knows in epoch `index` of a run of four."""
    return Epoch(index, index / 4, count, 10, 14, partial(generator, seed, "augment", 0), CPU)


def plain(images: DeviceSet, index: torch.Tensor) -> torch.Tensor:
    x = images.images[index].double().permute(0, 3, 1, 2)
    mean = torch.tensor(DATA.spec.mean).double()[None, :, None, None]
    std = torch.tensor(DATA.spec.std).double()[None, :, None, None]
    return (x - mean) / std


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.booleans(), st.integers(0, 1000))
def test_maps_equal_pad_crop_and_flip(pixels, flip_first, seed):
    images = DeviceSet(DATA.train, DATA.spec, FP32)
    images.fill(DATA.train)
    index = torch.randperm(50, generator=torch.Generator().manual_seed(seed))[:12]
    moves, mirrors = Translate(pixels), Flip()
    m = moves.draw(epoch(50, seed=seed))
    f = mirrors.draw(epoch(50, seed=seed + 1))
    ops = [(moves, m), (mirrors, f)]
    if flip_first:
        ops.reverse()
    rows, columns = (torch.arange(n).expand(12, n) for n in (10, 14))
    for op, choice in ops:
        rows, columns = op.edit(choice[index], rows, columns)
    got = images.read(index, (rows, columns))
    want = []
    for x, n in zip(plain(images, index), index.tolist(), strict=True):
        for op, choice in ops:
            if isinstance(op, Flip):
                x = x.flip(2) if choice[n] else x
            else:
                side = 2 * pixels + 1
                r, c = int(choice[n]) // side, int(choice[n]) % side
                x = (
                    F.pad(x[None], (pixels,) * 4, mode="reflect")[0][:, r : r + 10, c : c + 14]
                    if pixels
                    else x
                )
        want.append(x)
    assert got.shape == (12, 3, 10, 14)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(got.double(), torch.stack(want), atol=1e-5)


def test_read_without_maps_normalises_as_described():
    images = DeviceSet(DATA.train, DATA.spec, FP32)
    images.fill(DATA.train)
    index = torch.arange(50)
    assert torch.allclose(images.read(index).double(), plain(images, index), atol=1e-5)
    assert images.read(index).mean((0, 2, 3)).abs().max() < 1e-4  # mean and sd are of these very images
    assert (images.read(index).std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_alternating_flip_shows_each_image_both_ways_in_any_two_epochs_running():
    draws = [Flip("alternating").draw(epoch(1000, i)) for i in range(4)]
    for a, b in pairwise(draws):
        assert torch.equal(a, 1 - b)
    assert 400 < draws[0].sum() < 600


def test_random_flip_is_drawn_anew_and_balanced_flip_is_exact():
    a, b = (Flip().draw(epoch(1000, i)) for i in (0, 1))
    assert not torch.equal(a, b)
    assert 400 < a.sum() < 600
    balanced = [Flip("balanced").draw(epoch(1000, i)) for i in (0, 1)]
    assert [int(d.sum()) for d in balanced] == [500, 500]
    assert not torch.equal(*balanced)


@pytest.mark.parametrize("mode", ["random", "balanced"])
def test_translations_cover_all_shifts(mode):
    draw = Translate(2, mode).draw(epoch(2500))
    counts = torch.bincount(draw, minlength=25)
    assert len(counts) == 25
    assert counts.min() > 50  # 100 expected each, sd 10
    if mode == "balanced":
        assert counts.tolist() == [100] * 25


def test_draws_depend_on_seed_epoch_and_nothing_else():
    made = program(Plan(augment=(Translate(1), Flip()), batch_size=10, epochs=2.0), DATA)

    def drawn(seed, index, step=0):
        made.reset(seed)
        made.feed.enter(index * made.steps_per_epoch + step)
        return [made.feed.order.clone(), *(c.clone() for c in made.feed.choices)]

    first = drawn(0, 0)
    others = [drawn(0, 1), drawn(1, 0)]
    torch.manual_seed(99)  # the global generator plays no part
    for again in (drawn(0, 0), drawn(0, 0, step=3)):  # entered in the middle, too
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in others:
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert sorted(first[0].tolist()) == list(range(50))
