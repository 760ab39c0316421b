"""Feeds: host against device, resizing against loops, picks against losses worked out anew."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import groupby, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import BF16, FP32, FP64, noise_dataset, program
from hotlap.data.augment import ColorJitter, Cutmix, Cutout, Flip, Mixup, Translate
from hotlap.data.device import DeviceSet
from hotlap.data.loading import HostLoader, Resolution
from hotlap.engine.feed.device import DeviceFeed, resized
from hotlap.engine.feed.host import HostFeed
from hotlap.engine.lower import build_feed
from hotlap.engine.selected import SelectedFeed
from hotlap.nets import AirNet, WhitenStem
from hotlap.nets.build import build_net
from hotlap.optim import SGD
from hotlap.plan import CrossEntropy, HardExamples, HighestLoss, Plan
from hotlap.seeds import generator
from reference import augment_slow as slow

SHAPE = (3, 8, 11)
DATA = noise_dataset(SHAPE, classes=3, train=26, test=4)
BATCH, PER_EPOCH = 6, 4
# the host normalises as (x - mean) * (1 / std), the device as x / std - mean / std: float32 has 7 digits, and
# the second form loses one where it subtracts numbers near 5
ROUNDING = 5e-6


def feed_of(plan: Plan, backend=FP32, data=DATA) -> DeviceFeed:
    plan = replace(plan, batch_size=BATCH)
    images = DeviceSet(data.train, data.spec, backend)
    images.fill(data.train)
    return build_feed(plan, data, images, backend)


def batches(feed: DeviceFeed, start: int, stop: int):
    """The batches of steps `start` to `stop`, as a program takes them."""
    for step in range(start, stop):
        if step == start or step % feed.steps_per_epoch == 0:
            feed.enter(step)
        feed.push()
        yield tuple(t.clone() for t in feed.batch())
        feed.advance(torch.zeros(feed.size))


OPS = [
    (Translate(2), Flip(), Cutout(3), ColorJitter(0.3, 0.3)),
    (Cutout(3), ColorJitter(), Flip("alternating"), Translate(1, "balanced")),
    (Flip(), Mixup(0.8), Cutmix(3), Cutout(2, "balanced")),
    (),
]


@pytest.mark.parametrize("ops", OPS, ids=lambda ops: "-".join(type(o).__name__ for o in ops) or "none")
@pytest.mark.parametrize("preprocess", ["once", "epoch"])
def test_host_and_device_make_the_same_batches_of_the_same_draws(ops, preprocess):
    plan = Plan(augment=ops, epochs=2.0)
    host = feed_of(replace(plan, loader=HostLoader(preprocess, "bulk")))
    device = feed_of(plan)
    assert isinstance(host, HostFeed)
    assert type(device) is DeviceFeed
    for feed in (host, device):
        feed.begin(seed=3)
    pairs = zip(batches(host, 0, 2 * PER_EPOCH), batches(device, 0, 2 * PER_EPOCH), strict=True)
    for (x, target, labels), (want, wanted, own) in pairs:
        assert torch.allclose(x, want, atol=ROUNDING)
        assert torch.equal(target, wanted)
        assert torch.equal(labels, own)
        assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("random", ["bulk", "example"])
def test_a_loader_process_makes_the_same_batches(random):
    plan = Plan(augment=(Translate(2), Flip()), epochs=2.0)
    made = []
    for workers in (0, 1):
        feed = feed_of(replace(plan, loader=HostLoader("epoch", random, workers)))
        feed.begin(seed=0)
        made.append([x for x, _, _ in batches(feed, 0, 2 * PER_EPOCH)])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


@pytest.mark.parametrize("random", ["bulk", "example"])
@pytest.mark.parametrize("preprocess", ["once", "epoch"])
def test_a_host_feed_stands_wherever_it_is_told_to(random, preprocess):
    plan = Plan(augment=(Translate(2), Flip()), epochs=2.0, loader=HostLoader(preprocess, random))
    through = feed_of(plan)
    through.begin(seed=5)
    whole = list(batches(through, 0, 2 * PER_EPOCH))
    resumed = feed_of(plan)
    resumed.reset(seed=5)  # a resumed run begins nothing
    for start in (6, 2, 3, 3):  # on, back, and the same step again
        for got, want in zip(batches(resumed, start, start + 2), whole[start : start + 2], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True)), start


def variants(n: int, pixels: int) -> np.ndarray:
    """The image n in every shift and both ways round."""
    image = slow.normalised(DATA.train.images[n], DATA.spec.mean, DATA.spec.std)
    moves = range(-pixels, pixels + 1)
    shifted = [slow.moved(image, r, c) for r in moves for c in moves]
    return np.stack([*shifted, *(slow.flipped(x) for x in shifted)])


def test_numbers_drawn_for_each_example_give_every_variant_and_are_drawn_anew():
    plan = Plan(augment=(Translate(1), Flip()), epochs=6.0, loader=HostLoader("epoch", "example"))
    feed = feed_of(plan)
    feed.begin(seed=0)
    known = {n: variants(n, 1) for n in range(26)}
    seen: dict[int, list[int]] = {n: [] for n in range(26)}
    for step, (x, _, _) in enumerate(batches(feed, 0, 6 * PER_EPOCH)):
        at = step % PER_EPOCH * BATCH
        for image, n in zip(x.numpy(), feed.order[at : at + BATCH].tolist(), strict=True):
            errors = np.abs(known[n] - image).max((1, 2, 3))
            assert errors.min() < ROUNDING
            seen[n].append(int(errors.argmin()))
    drawn = [v for each in seen.values() for v in each]
    # 144 draws of 18 variants miss one with probability 18 * (17 / 18)^144 < 0.5%, and this seed does not
    assert set(drawn) == set(range(18))
    again = sum(a == b for each in seen.values() for a, b in pairwise(each))
    assert again < 24  # of about 118 pairs of epochs 1 in 18 is the same by chance: 6.6, sd 2.5


def test_cutout_and_jitter_drawn_for_each_example_are_what_they_are_in_bulk():
    ops = (ColorJitter(0.4, 0.2), Cutout(3))
    feed = feed_of(Plan(augment=ops, epochs=4.0, loader=HostLoader("once", "example")))
    feed.begin(seed=0)
    places, found = set(), []
    for step, (x, _, _) in enumerate(batches(feed, 0, 4 * PER_EPOCH)):
        at = step % PER_EPOCH * BATCH
        for image, n in zip(x.double().numpy(), feed.order[at : at + BATCH].tolist(), strict=True):
            blank = (image == 0).all(0)
            rows, columns = (np.flatnonzero(blank.any(axis)) for axis in (1, 0))
            assert blank.sum() == 9
            assert np.ptp(rows) == np.ptp(columns) == 2
            places.add((rows[0], columns[0]))
            source = slow.normalised(DATA.train.images[n], DATA.spec.mean, DATA.spec.std)[:, ~blank].ravel()
            # x = (source + b) c is a line in the source: its slope is c, its intercept b c
            c, bc = np.polyfit(source, image[:, ~blank].ravel(), 1)
            assert np.allclose(image[:, ~blank].ravel(), c * source + bc, atol=2 * ROUNDING)
            found.append((bc / c, c))
    assert len(places) > 30  # 96 draws of 6 x 9 places: 45 of them, sd 2.6
    b, c = np.array(found).T
    assert np.abs(b).max() <= 0.4 + 1e-4
    assert np.abs(c - 1).max() <= 0.2 + 1e-4
    assert b.std() == pytest.approx(0.4 / 3**0.5, rel=0.2)  # 96 draws: sd of the ratio is about 0.05
    assert c.std() == pytest.approx(0.2 / 3**0.5, rel=0.2)


def test_other_seeds_draw_other_numbers_for_each_example():
    plan = Plan(augment=(Translate(2), Flip()), epochs=2.0, loader=HostLoader("once", "example"))
    made = []
    for seed in (0, 0, 1):
        feed = feed_of(plan)
        feed.begin(seed)
        feed.order.copy_(torch.arange(26))  # the same images: only the numbers differ
        feed.drawn, feed.batches = (seed, 0), feed._load(0, 0)
        made.append([x for x, _, _ in batches(feed, 0, PER_EPOCH)])
    assert all(torch.equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(made[0], made[2], strict=True))


def test_waiting_for_the_host_is_counted_and_the_device_makes_nobody_wait():
    plan = Plan(epochs=1.0)
    host, device = feed_of(replace(plan, loader=HostLoader("epoch", "bulk"))), feed_of(plan)
    waited = []
    for feed in (host, device):
        feed.begin(seed=0)
        waited.append([feed.wait_s for _ in batches(feed, 0, PER_EPOCH)])
    assert waited[0][0] > 0
    assert all(b > a for a, b in pairwise(waited[0]))
    assert waited[1] == [0.0] * PER_EPOCH


# resizing


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.sampled_from([0.25, 0.5, 0.625, 0.75, 0.9])
)
def test_resizing_is_a_triangle_filter_as_wide_as_the_pixels_it_makes(channels, height, width, scale):
    gen = torch.Generator().manual_seed(height * width)
    x = torch.randn(2, channels, height, width, generator=gen)
    got = resized(x, scale, torch.channels_last)
    size = [max(1, round(scale * n)) for n in (height, width)]
    assert got.shape == (2, channels, *size)
    assert got.is_contiguous(memory_format=torch.channels_last)
    want = np.stack([slow.shrunk(image, *size) for image in x.double().numpy()])
    # float32 sums of some tens of terms of order one
    assert np.allclose(got.numpy(), want, atol=2e-5)


def test_resizing_keeps_the_dtype_and_flat_images_and_leaves_whole_ones_alone():
    x = torch.full((2, 3, 8, 12), 0.75, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    small = resized(x, 0.5, torch.channels_last)
    assert small.dtype == torch.bfloat16
    assert torch.equal(small, torch.full((2, 3, 4, 6), 0.75, dtype=torch.bfloat16))
    assert resized(x, 1.0, torch.channels_last) is x
    # half the side of a line away from the edges: the mean of each two by two pixels is on it, and the
    # filter, which is even, keeps straight lines
    ramp = torch.arange(16.0)[None, None, None].expand(1, 1, 16, 16)
    mean = ramp.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert torch.allclose(resized(ramp, 0.5, torch.contiguous_format)[..., 1:-1], mean[..., 1:-1], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3, unique=True).map(sorted),
    st.integers(1, 80),
    st.data(),
)
def test_a_stretch_ends_at_the_first_step_at_or_past_its_share(fortieths, steps, data):
    scales = data.draw(st.lists(st.sampled_from([0.5, 0.75]), min_size=3, max_size=3))[: len(fortieths)]
    stretches = Resolution(tuple(n / 40 for n in fortieths), tuple(scales))
    for step in range(steps):
        want = 1.0
        for share, scale in zip(reversed(fortieths), reversed(scales), strict=True):
            if Fraction(step, steps) < Fraction(share, 40):
                want = scale
        assert stretches.at(step / steps) == want


def test_the_net_sees_the_sides_of_each_stretch():
    data = noise_dataset((3, 16, 24), classes=3, train=40, test=4)
    net = AirNet(widths=(4, 4), stem=WhitenStem(images=20))
    resolution = Resolution((0.15, 0.5), (0.625, 0.75))
    made = program(Plan(net=net, batch_size=8, epochs=4.0, resolution=resolution, augment=(Mixup(),)), data)
    seen = []
    made.model.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    for start, stop in made.segments(0, None):
        made.run(start, stop)
    # 20 steps: the first 15% are 3, up to half are 7 more
    sides = [(shape[2:], len(list(steps))) for shape, steps in groupby(seen)]
    assert sides == [((10, 15), 3), ((12, 18), 7), ((16, 24), 10)]
    assert torch.isfinite(made.losses).all()


# hard examples


KEPT, OF, EVERY = 5, 12, 3
HARD = Plan(
    augment=(Translate(1), Flip(), ColorJitter()),
    sampler=HardExamples(OF, EVERY, AirNet(widths=(4, 4), stem=WhitenStem(images=20), logit_scale=0.5)),
    net=AirNet(widths=(4, 4)),
    loss=CrossEntropy(0.1),
    batch_size=KEPT,
    epochs=2.5,
)
HARD = replace(
    HARD,
    rules=tuple(
        replace(r, optimizer=SGD(), lr=0.02, weight_decay=0.01, momentum=0.8, until=1.0) for r in HARD.rules
    ),
)
PLENTY = noise_dataset((3, 8, 8), classes=3, train=40, test=4)


def hard_feed(seed: int, backend=FP64, plan: Plan = HARD) -> SelectedFeed:
    feed = SelectedFeed(plan, plan.sampler, PLENTY, uploaded(backend), backend)
    feed.begin(seed)
    return feed


def uploaded(backend) -> DeviceSet:
    images = DeviceSet(PLENTY.train, PLENTY.spec, backend)
    images.fill(PLENTY.train)
    return images


def smoothed(logits, labels, smoothing: float) -> torch.Tensor:
    """Cross entropy of each example, written out."""
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    right = torch.stack([log_p[b, n] for b, n in enumerate(labels.tolist())])
    return -(1 - smoothing) * right - smoothing * log_p.mean(1)


def test_picks_are_the_hardest_of_each_batch_for_a_proxy_trained_on_them():
    """The proxy's run, step by step, with its own losses, gradients and updates."""
    feed = hard_feed(7)
    drawn = DeviceFeed(HARD, uploaded(FP64), FP64, OF)
    drawn.begin(7)
    proxy = build_net(HARD.sampler.net, PLENTY.spec).double()
    proxy.reset(generator(7, "init"))
    proxy.calibrate(uploaded(FP64).read(torch.arange(20)))
    proxy.train()
    weights = [p for p in proxy.parameters() if p.requires_grad]
    velocity = [torch.zeros_like(w) for w in weights]
    steps = math.ceil(2.5 * (40 // OF))
    assert (feed.steps, feed.steps_per_epoch) == (steps, 3)
    for step, (x, _, labels) in enumerate(batches(drawn, 0, steps)):
        images = drawn.order[step % 3 * OF : (step % 3 + 1) * OF].tolist()
        losses = smoothed(proxy(x), labels, 0.1)
        ranked = sorted(range(OF), key=lambda b: -losses[b].item())
        kept = sorted(ranked[:KEPT])
        assert feed.selector.picks[step].tolist() == [images[b] for b in kept], step
        if step % EVERY == 0:
            grads = torch.autograd.grad(sum(losses[b] for b in kept), weights)
            rate = 0.02 * knob(step, steps)
            with torch.no_grad():
                for w, v, g in zip(weights, velocity, grads, strict=True):
                    g = g + 0.01 * w
                    v.copy_(0.8 * v + g)
                    w -= rate * (g + 0.8 * v)
    for name, want in proxy.state_dict().items():
        assert torch.allclose(feed.selector.model.state_dict()[name], want, rtol=1e-9, atol=1e-12), name


def knob(step: int, steps: int) -> float:
    return float(np.interp((step + 1) / steps, [0, 0.2, 1], [0, 1, 0]))


def test_the_main_net_gets_the_picked_images_with_their_augmentation():
    feed = hard_feed(7)
    drawn = DeviceFeed(HARD, uploaded(FP64), FP64, OF)
    drawn.begin(7)
    for step, (x, target, labels) in enumerate(batches(feed, 0, feed.steps)):
        drawn.enter(step)
        all_x, _, _ = drawn.batch()
        images = drawn.index().tolist()
        picked = feed.selector.picks[step].tolist()
        at = [images.index(n) for n in picked]
        assert len(set(picked)) == KEPT
        assert torch.equal(x, all_x[at])
        assert labels.tolist() == PLENTY.train.labels[picked].tolist()
        assert target is labels or torch.equal(target, labels)


def test_picks_depend_on_the_seed_alone():
    feed = hard_feed(1)
    first = feed.selector.picks.clone()
    feed.begin(2)
    other = feed.selector.picks.clone()
    resumed = SelectedFeed(HARD, HARD.sampler, PLENTY, uploaded(FP64), FP64)
    resumed.reset(1)
    resumed.enter(4)  # a resumed run picks again
    assert torch.equal(first, resumed.selector.picks)
    assert not torch.equal(first, other)
    assert torch.equal(resumed.index(), first[4])


def test_a_half_precision_proxy_picks_too():
    feed = hard_feed(0, BF16)
    for picked in feed.selector.picks.tolist():
        assert len(set(picked)) == KEPT


# the highest losses


# 40 images in batches of 6: 6 steps a full pass; of 25 images 4 steps
RANKED = replace(HARD, sampler=HighestLoss(full=2, share=0.63), batch_size=6, epochs=4.5)


def watched(made) -> list[tuple[list[int], list[float]]]:
    """Of every step that the program will run: the images in its batch, and the loss of each."""
    seen, losses_of = [], made._losses_of

    def noted(*batch):
        losses, correct = losses_of(*batch)
        seen.append((made.feed.index().tolist(), losses.tolist()))
        return losses, correct

    made._losses_of = noted
    return seen


@pytest.mark.parametrize("stride", [None, 1, 5])
def test_later_passes_take_the_images_whose_loss_was_highest_when_last_seen(stride):
    """Against a dictionary of losses; whatever stretches the run is made in."""
    made = program(RANKED, PLENTY, FP64)
    seen = watched(made)
    for start, stop in made.segments(0, stride):
        made.run(start, stop)
    assert (made.steps, made.steps_per_epoch) == (27, 6)
    passes = [range(6), range(6, 12), range(12, 16), range(16, 20), range(20, 24), range(24, 27)]
    last = dict.fromkeys(range(40), math.inf)
    chosen = []
    for number, steps in enumerate(passes):
        order = torch.randperm(40, generator=generator(0, "order", number)).tolist()
        if number >= 2:
            hardest = sorted(order, key=lambda n: -last[n])[:25]
            assert max(last[n] for n in order if n not in hardest) <= min(last[n] for n in hardest)
            order = [n for n in order if n in hardest]
            chosen.append(frozenset(hardest))
        for at, step in enumerate(steps):
            images, losses = seen[step]
            assert images == order[6 * at : 6 * at + 6], (number, at)
            # what is kept of a loss is float32
            last |= dict(zip(images, np.float32(losses).tolist(), strict=True))
    assert len(set(chosen)) > 1, "it is not always the same images"


def test_an_image_drawn_again_in_a_later_pass_is_augmented_anew():
    plan = replace(RANKED, augment=(Translate(3), ColorJitter(0.3, 0.3)))
    feed = build_feed(plan, PLENTY, uploaded(FP64), FP64)
    feed.begin(0)
    looks = []
    for step in (12, 16):
        feed.enter(step)
        feed.image_losses[7] = feed.ranked[7] = 99.0
        feed.drawn = None
        feed.enter(step)
        at = feed.order.tolist().index(7)
        feed.cursor.fill_(at // 6)
        looks.append(feed.batch()[0][at % 6])
    assert not torch.equal(*looks)


def test_ranking_resumes_in_the_middle_of_a_pass():
    whole = program(RANKED, PLENTY, FP64)
    assert all(t.isfinite().all() for t in whole.state().values()), "else it counts as diverged"
    for start, stop in whole.segments(0, None):
        whole.run(start, min(stop, 14))
        if stop >= 14:
            break
    fresh = program(RANKED, PLENTY, FP64)
    fresh.begin(5)
    fresh.load_state({k: v.clone() for k, v in whole.state().items()}, 0)
    both = watched(whole), watched(fresh)
    for made in (whole, fresh):
        for start, stop in made.segments(14, None):
            made.run(start, stop)
    assert both[0] == both[1]
    assert len(both[0]) == 13


def test_another_run_of_the_same_program_knows_nothing_of_the_one_before():
    """As a benchmark runs seed after seed; four of the 40 images are in no batch of the first pass."""
    plan = replace(RANKED, sampler=HighestLoss(full=1, share=0.63))
    again, fresh = program(plan, PLENTY, FP64, seed=0), program(plan, PLENTY, FP64, seed=1)
    again.run(0, 5)
    again.begin(1)
    both = watched(again), watched(fresh)
    for made in (again, fresh):
        for start, stop in made.segments(0, None):
            made.run(start, stop)
    assert both[0] == both[1]


@pytest.mark.gpu
@pytest.mark.parametrize("random", ["bulk", "example"])
def test_pinned_copies_bring_the_same_batches_to_a_gpu(random):
    plan = Plan(augment=(Translate(2), Flip()), epochs=2.0, loader=HostLoader("once", random))
    cuda = replace(FP32, device=torch.device("cuda"))
    made = []
    for backend in (FP32, cuda):
        feed = feed_of(plan, backend)
        feed.begin(seed=0)
        feed.order.copy_(torch.arange(26))  # a GPU's generator draws another order
        for choice in feed.choices:
            choice.zero_()
        feed.drawn, feed.batches = (0, 0), feed._load(0, 0)
        made.append([x.cpu() for x, _, _ in batches(feed, 0, PER_EPOCH)])
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))
