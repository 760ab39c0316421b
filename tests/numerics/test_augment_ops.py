"""Cutout, jitter and mixtures against loops over images, and all augmentation in the order it promises."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import FP32, FP64, noise_dataset
from hotlap.data.augment import GROUPS, ColorJitter, Cutmix, Cutout, Epoch, Flip, Mixup, Translate
from hotlap.data.device import DeviceSet
from hotlap.engine.feed.device import DeviceFeed
from hotlap.plan import Plan
from hotlap.seeds import generator
from reference import augment_slow as slow

CPU = torch.device("cpu")
# float64 batches, but choices that are drawn in float32 are exact in the loop too: only sums differ
EXACT = 1e-12


def at(count: int, height=10, width=14, *, epoch=0, progress=0.0, seed=0) -> Epoch:
    return Epoch(epoch, progress, count, height, width, partial(generator, seed, "augment", 0), CPU)


def random_batch(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets_of(labels, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.as_tensor(labels), classes).double()


shapes = st.tuples(st.sampled_from([1, 3]), st.integers(4, 9), st.integers(4, 9))


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(1, 4), st.integers(0, 999))
def test_cutout_blanks_the_drawn_square_and_nothing_else(shape, side, seed):
    _, h, w = shape
    op, x = Cutout(side), random_batch(seed, 6, *shape)
    choice = op.draw(at(6, h, w, seed=seed))
    got = op.paint(choice, x).numpy()
    for b, place in enumerate(choice.tolist()):
        top, left = divmod(place, w)
        assert 0 <= top <= h - side
        assert 0 <= left <= w - side
        assert np.array_equal(got[b], slow.cut(x[b].numpy(), top, left, side))
        assert np.array_equal(got[b], op.one(x[b].numpy(), place))  # as on the host


@pytest.mark.parametrize("side", [4, 10])
def test_cutout_reaches_every_place_wholly_inside_equally_often(side):
    places = Counter(divmod(p, 14) for p in Cutout(side).draw(at(77_000)).tolist())
    assert set(places) == {(r, c) for r in range(10 - side + 1) for c in range(14 - side + 1)}
    expected = 77_000 / len(places)
    # 6 sd of a binomial count; one in about 10^7 would be further out by chance
    assert all(abs(n - expected) < 6 * expected**0.5 for n in places.values())


def test_balanced_cutout_deals_all_places_to_equal_groups():
    # 7 * 11 = 77 places: all used
    counts = Counter(Cutout(4, "balanced").draw(at(770)).tolist())
    assert set(counts.values()) == {10}
    assert len(counts) == 77


def test_balanced_cutout_uses_at_most_200_places_an_epoch_and_others_in_the_next():
    draws = [Cutout(4, "balanced").draw(at(3000, 20, 30, epoch=e)).tolist() for e in range(40)]
    for draw in draws:
        counts = Counter(draw)
        assert len(counts) == GROUPS == 200
        assert set(counts.values()) == {15}
    everywhere = {top * 30 + left for top in range(17) for left in range(27)}
    # a place is left out of an epoch with probability 259 / 459: out of all 40 with 10^-10
    assert set().union(*draws) == everywhere


@settings(max_examples=25, deadline=None)
@given(shapes, st.floats(0, 1), st.floats(0, 1), st.integers(0, 999))
def test_jitter_is_brightness_then_contrast(shape, brightness, contrast, seed):
    op, x = ColorJitter(brightness, contrast), random_batch(seed, 5, *shape)
    choice = op.draw(at(5, seed=seed))
    got = op.paint(choice, x).numpy()
    for b, (add, times) in enumerate(choice.tolist()):
        assert abs(add) <= brightness + 1e-6
        assert abs(times - 1) <= contrast + 1e-6
        want = slow.jittered(x[b].numpy(), add, times)
        assert np.allclose(got[b], want, atol=EXACT)
        assert np.allclose(op.one(x[b].numpy(), (add, times)), want, atol=EXACT)


def test_jitter_is_uniform_over_its_ranges_and_drawn_apart():
    b, c = ColorJitter(0.4, 0.2).draw(at(40_000)).T
    for values, middle, half in ((b, 0.0, 0.4), (c, 1.0, 0.2)):
        assert values.min() < middle - 0.999 * half  # 40,000 draws miss the outermost 0.05% with 10^-9
        assert values.max() > middle + 0.999 * half
        assert values.mean() == pytest.approx(middle, abs=6 * half / 3**0.5 / 200)  # 6 standard errors
        assert values.var() == pytest.approx(half**2 / 3, rel=0.03)
    assert abs(torch.corrcoef(torch.stack((b, c)))[0, 1]) < 6 / 200


def test_jitter_is_in_units_of_the_sets_deviation():
    data = noise_dataset((3, 8, 8), train=20)
    images = DeviceSet(data.train, data.spec, FP64)
    images.fill(data.train)
    plain = images.read(torch.arange(20))
    bright = ColorJitter().paint(torch.tensor([[0.5, 1.0]]).expand(20, 2), plain)
    mean, std = (np.array(v)[:, None, None] for v in (data.spec.mean, data.spec.std))
    grey = data.train.images.astype(np.float64).transpose(0, 3, 1, 2)
    assert np.allclose(bright.numpy() * std + mean, grey + 0.5 * std, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 4.0])
def test_mixup_shares_are_beta_folded_to_at_most_one_half(alpha):
    share = Mixup(alpha).draw(at(40_000)).double()
    assert share.min() >= 0
    assert share.max() <= 0.5
    # folding s to min(s, 1 - s) keeps (s - 1/2)^2; of Beta(a, a) the mean of that is 1 / (4 (2 a + 1)), and
    # of its square kurtosis times that squared, kurtosis = 3 (2 a + 1) / (2 a + 3)
    square = (share - 0.5) ** 2
    want = 1 / (4 * (2 * alpha + 1))
    spread = (3 * (2 * alpha + 1) / (2 * alpha + 3) - 1) ** 0.5 * want
    assert square.mean() == pytest.approx(want, abs=6 * spread / 200)
    fourth = square**2
    want4 = 3 * (2 * alpha + 1) / (2 * alpha + 3) * want**2
    assert fourth.mean() == pytest.approx(want4, abs=6 * float(fourth.std()) / 200)


@settings(max_examples=20, deadline=None)
@given(shapes, st.integers(2, 7), st.integers(0, 999))
def test_mixup_blends_with_the_next_image_and_its_target(shape, batch, seed):
    op, x = Mixup(0.8), random_batch(seed, batch, *shape)
    labels = np.random.default_rng(seed).integers(0, 3, batch)
    share = op.draw(at(batch, seed=seed))
    got, target = op.mix(share, x, targets_of(labels, 3))
    want, wanted = slow.mixed_up(list(x.numpy()), [slow.one_hot(n, 3) for n in labels], share.tolist())
    assert np.allclose(got.numpy(), want, atol=EXACT)
    assert np.allclose(target.numpy(), wanted, atol=EXACT)
    assert np.allclose(target.sum(1).numpy(), 1, atol=EXACT)
    assert all(target[b, n] >= 0.5 for b, n in enumerate(labels))  # its own label keeps the larger share


@settings(max_examples=20, deadline=None)
@given(shapes, st.integers(1, 4), st.integers(2, 7), st.integers(0, 999))
def test_cutmix_pastes_the_next_images_square_for_a_share_of_its_area(shape, side, batch, seed):
    op, x = Cutmix(side), random_batch(seed, batch, *shape)
    labels = np.random.default_rng(seed).integers(0, 3, batch)
    choice = op.draw(at(batch, *shape[1:], seed=seed))
    got, target = op.mix(choice, x, targets_of(labels, 3))
    corners = [divmod(n, shape[2]) for n in choice.tolist()]
    hot = [slow.one_hot(n, 3) for n in labels]
    want, wanted = slow.cut_and_mixed(list(x.numpy()), hot, corners, side)
    assert np.array_equal(got.numpy(), want)
    assert np.allclose(target.numpy(), wanted, atol=EXACT)
    assert np.allclose(target.sum(1).numpy(), 1, atol=EXACT)


@pytest.mark.parametrize("op", [Mixup(start=0.5), Cutmix(start=0.5)])
def test_mixtures_do_nothing_before_their_start(op):
    x, target = random_batch(0, 6, 3, 10, 14), targets_of([0, 1, 2, 0, 1, 2], 3)
    early, late = (op.draw(at(6, progress=p)) for p in (0.499, 0.5))
    got, blended = op.mix(early, x, target)
    assert torch.equal(got, x)
    assert torch.equal(blended, target)
    got, blended = op.mix(late, x, target)
    assert not torch.equal(got, x)
    assert not torch.equal(blended, target)


OPS = [
    (Translate(2), Flip(), Cutout(3), ColorJitter(0.3, 0.3), Mixup(0.8), Cutmix(4)),
    (Cutmix(2), Mixup(0.8), ColorJitter(0.3, 0.3), Cutout(3), Flip(), Translate(2)),
    (ColorJitter(), Flip("balanced"), Cutout(2, "balanced"), Translate(1, "balanced")),
    (Cutout(4),),
    (Mixup(),),
]


@pytest.mark.parametrize("ops", OPS, ids=lambda ops: "-".join(type(o).__name__ for o in ops))
@pytest.mark.parametrize("shape", [(3, 8, 11), (1, 12, 9)])
@pytest.mark.parametrize("backend", [FP64, FP32], ids=lambda e: e.precision)
def test_geometry_comes_before_pixels_and_pixels_before_mixtures(ops, shape, backend):
    data = noise_dataset(shape, classes=3, train=24, test=3)
    images = DeviceSet(data.train, data.spec, backend)
    images.fill(data.train)
    feed = DeviceFeed(Plan(augment=ops, epochs=2.0), images, backend, 8)
    feed.begin(seed=1)
    for step in (0, 4):  # the second is in the second epoch
        feed.enter(step)
        index = feed.index()
        x, target, labels = feed.batch()
        want, wanted = one_by_one(ops, feed, index.tolist(), data)
        # float32 keeps 7 digits of values up to about 5
        tolerance = EXACT * 10 if backend is FP64 else 5e-6
        assert x.is_contiguous(memory_format=backend.format)
        assert np.allclose(x.numpy(), want, atol=tolerance)
        assert labels.tolist() == data.train.labels[index.numpy()].tolist()
        if any(isinstance(op, Mixup | Cutmix) for op in ops):
            assert target.shape == (8, 3)
            assert np.allclose(target.numpy(), wanted, atol=1e-6 if backend is FP32 else EXACT)
        else:
            assert torch.equal(target, labels)


def one_by_one(ops, feed, index, data):
    """The batch and its targets as the module's docstring describes them."""
    spec = data.spec
    xs = [slow.normalised(data.train.images[n], spec.mean, spec.std) for n in index]
    targets = [slow.one_hot(data.train.labels[n], spec.classes) for n in index]
    drawn = [[feed.choices[i][n].tolist() for n in index] for i in range(len(ops))]
    pairs = list(zip(ops, drawn, strict=True))
    for kinds in ((Translate, Flip), (Cutout, ColorJitter), (Mixup, Cutmix)):
        for op, choices in [p for p in pairs if isinstance(p[0], kinds)]:
            if isinstance(op, Translate):
                side = 2 * op.pixels + 1
                moves = [(c // side - op.pixels, c % side - op.pixels) for c in choices]
                xs = [slow.moved(x, *by) for x, by in zip(xs, moves, strict=True)]
            elif isinstance(op, Flip):
                xs = [slow.flipped(x) if c else x for x, c in zip(xs, choices, strict=True)]
            elif isinstance(op, Cutout):
                corners = [divmod(c, spec.width) for c in choices]
                xs = [slow.cut(x, *at, op.pixels) for x, at in zip(xs, corners, strict=True)]
            elif isinstance(op, ColorJitter):
                xs = [slow.jittered(x, *c) for x, c in zip(xs, choices, strict=True)]
            elif isinstance(op, Mixup):
                xs, targets = slow.mixed_up(xs, targets, choices)
            else:
                corners = [divmod(c, spec.width) if c >= 0 else None for c in choices]
                xs, targets = slow.cut_and_mixed(xs, targets, corners, op.pixels)
    return np.stack(xs), np.stack(targets)
