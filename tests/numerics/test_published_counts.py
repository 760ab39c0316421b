"""Parameters and FLOPs of the nets and recipes, against the published figures and against arithmetic by hand.

The published training FLOPs are estimates: three forward passes for every image. `Cost.nominal` is that; what
a step really does (`Cost.training`) is less, and the difference is accounted for below.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from helpers import noise_dataset, program
from hotlap.data.loading import Resolution
from hotlap.engine.feed import device
from hotlap.errors import UserError
from hotlap.inspect.cost import Cost, cost
from hotlap.nets import AirNet, WhitenStem
from hotlap.nets.network import Network
from hotlap.plan import HardExamples, Plan
from hotlap.recipes import BUILTIN
from hotlap.spec import DataSpec

TOLERANCE = 0.02  # published figures have two or three digits

# Training FLOPs as published, the views of 10,000 test images that they include, and where they stand. The
# headers of cifar10-airbench count its evaluation too: that is what brings hlb and Page within 0.3 percent.
PUBLISHED = {
    "airbench94": (358e12, 6),  # legacy/airbench94_compiled.py
    "airbench95": (1.39e15, 6),  # legacy/airbench95.py
    "airbench96": (4.91e15, 6),  # legacy/airbench96.py
    "airbench96-faster": (3.1e15, 6),  # airbench96_faster.py
    "hlb": (587e12, 2),  # legacy/airbench94_compiled.py, of hlb-CIFAR10 0.7
    "page/19-flip-tta": (1148e12, 2),  # legacy/airbench94_compiled.py, of Page's last script
}
# The same without evaluation, as issue 3 of this project compares them. Its 350 and 1360 T are of all 50,000
# images in each epoch; the scripts, and we, leave out those that do not fill a batch. The README of
# cifar10-airbench has 0.29 P for its Muon script: between 0.284 without and 0.298 with its evaluation.
TRAINING_ONLY = {
    "airbench94": 350e12,
    "airbench95": 1.36e15,
    "airbench96": 4.9e15,
    "muon94": 283e12,
    "hiverge94": 264e12,
}


def spec(shape=(3, 32, 32), classes=10, train=50_000) -> DataSpec:
    channels = shape[0]
    names = tuple(f"class{i}" for i in range(classes))
    return DataSpec(shape, names, train, 10_000, (128.0,) * channels, (64.0,) * channels)


def cost_of(name: str) -> Cost:
    return cost(BUILTIN[name].plan(), spec(classes=100 if BUILTIN[name].data == "cifar100" else 10))


@pytest.mark.parametrize("name", PUBLISHED)
def test_training_flops_are_the_published_ones(name):
    found, (published, views) = cost_of(name), PUBLISHED[name]
    assert found.nominal + views * 10_000 * found.forward == pytest.approx(published, rel=TOLERANCE)


@pytest.mark.parametrize("name", TRAINING_ONLY)
def test_training_flops_without_evaluation(name):
    assert cost_of(name).nominal == pytest.approx(TRAINING_ONLY[name], rel=TOLERANCE)


def test_other_published_figures():
    # cifar10-airbench, legacy/airbench94_compiled.py: 2M parameters. The 0.28 GFLOPs a forward pass stated
    # with it do not fit its 358 TFLOPs for 487,424 images, which come to 0.24, as ours do.
    assert cost_of("airbench94").parameters == pytest.approx(2e6, rel=TOLERANCE)
    # CIFAR-100 speedrun, NAVIER-STOKED/README.md: 175M multiply-adds an image
    assert cost_of("aidda100").forward == pytest.approx(2 * 175e6, rel=TOLERANCE)


# By hand: a net as a list of convolutions (c_in, c_out, kernel, side of the output), norms and a head.


def airnet(widths, depth=2, middle=None, kernels=None):
    side, c_in, convolutions = 31, 24, [(3, 24, 2, 31)]
    kernels = iter(kernels or [3] * depth * len(widths))
    for width, inner in zip(widths, middle or widths, strict=True):
        channels = [c_in, width, *[inner] * (depth - 2), *[width] * (depth > 1)]
        for j, (a, b) in enumerate(pairwise(channels)):
            convolutions.append((a, b, next(kernels), side))
            side = side // 2 if j == 0 else side  # the pool after a group's first
        c_in = width
    return convolutions


def resnet9(stem):
    first = [(3, 27, 3, 32), (27, 64, 1, 32)] if stem == "whiten" else [(3, 64, 3, 32)]
    layer1 = [(64, 128, 3, 32), (128, 128, 3, 16), (128, 128, 3, 16)]
    layer3 = [(256, 512, 3, 8), (512, 512, 3, 4), (512, 512, 3, 4)]
    return [*first, *layer1, (128, 256, 3, 16), *layer3]


def resnet18():
    found, c_in = [(3, 64, 3, 32)], 64
    for c_out, side in ((64, 32), (128, 16), (256, 8), (256, 4)):
        found += [(c_in, c_out, 3, side), *[(c_out, c_out, 3, side)] * 3]
        found += [(c_in, c_out, 1, side)] * (side < 32)
        c_in = c_out
    return found


def weights(convolutions) -> int:
    return sum(a * b * k * k for a, b, k, _ in convolutions)


def macs(convolutions) -> int:
    return sum(a * b * k * k * side * side for a, b, k, side in convolutions)


def channels(convolutions) -> int:
    return sum(b for _, b, _, _ in convolutions)


DEEP = airnet((128, 384, 512), depth=3)
BY_HAND = {
    "airbench94": airnet((64, 256, 256)),
    "muon94": airnet((64, 256, 256)),
    "hiverge94": airnet((64, 256, 256)),
    "airbench95": airnet((128, 384, 384)),
    "airbench96": DEEP,
    "airbench96-faster": DEEP,
    "hlb": airnet((64, 256, 512)),
    "aidda100": airnet((64, 256, 768), 3, (64, 192, 512), (3, 1, 1, 3, 3, 1, 2, 3, 3)),
    "page/10-resnet9": resnet9("conv"),
    "page/19-flip-tta": resnet9("whiten"),
    "page/02-tidy-stem-and-schedule": resnet18(),
}


def small_parts(name: str) -> tuple[int, int]:
    """Parameters of norms and of the whitening's bias, and of the head, by hand."""
    net = BY_HAND[name]
    if name == "page/02-tidy-stem-and-schedule":
        # two norms a block, of what comes in and what its first convolution puts out; max, mean and a bias
        firsts = (64 + 64) + (64 + 128) + (128 + 256) + (256 + 256)
        seconds = 2 * (64 + 128 + 256 + 256)
        return 2 * (firsts + seconds), 2 * 256 * 10 + 10
    if name == "page/10-resnet9":
        return 2 * channels(net), 512 * 10
    scales = channels(net[1:]) if name == "aidda100" else 0  # elsewhere they are fixed
    bias = 0 if name in ("hlb", "page/19-flip-tta") else 24
    return channels(net[1:]) + scales + bias, net[-1][1] * (100 if name == "aidda100" else 10)


@pytest.mark.parametrize("name", sorted({*PUBLISHED, *TRAINING_ONLY, *BY_HAND}))
def test_parameters_and_forward_pass_by_hand(name):
    found, net = cost_of(name), BY_HAND[name]
    learnt = net if net[0][1] == 64 else net[1:]  # a whitening's filters are not
    norms, head = small_parts(name)
    assert found.parameters == weights(learnt) + norms + head
    products = head - 10 if name == "page/02-tidy-stem-and-schedule" else head  # a bias is no product
    assert found.forward == 2 * (macs(net) + products)


def test_what_a_step_leaves_out_of_the_estimate():
    """The whitening takes no gradients, and what follows it passes one on only while its bias learns."""
    found = cost_of("airbench94")
    whitening, first = (2 * macs([c]) for c in airnet((64, 256, 256))[:2])
    frozen = 1024 * (476 - 144)  # images after the bias' 3 epochs of 48 steps
    assert found.images == 1024 * 476
    assert found.nominal - found.training == 2 * whitening * found.images + first * frozen


def test_a_tiny_net_by_hand():
    net = AirNet(widths=(4,), depth=1, stem=WhitenStem(kernel=1, signs=1, bias=False))
    plan = replace(BUILTIN["airnet"].plan(), net=net, batch_size=5, epochs=2.0)
    found = cost(plan, spec((1, 4, 4), classes=3, train=12))
    whitening, conv, head = 2 * 16, 2 * 16 * 9 * 4, 2 * 4 * 3
    assert found == Cost(
        parameters=9 * 4 + 4 + 4 * 3,  # filters, shifts, head
        forward=whitening + conv + head,
        images=4 * 5,  # 12 // 5 steps in each of 2 epochs
        training=4 * 5 * (whitening + 2 * conv + 3 * head),  # backward: filters; the head, and through it
        proxy=0,
    )


def small(name: str, **changes) -> Plan:
    plan = BUILTIN[name].plan()
    net = replace(plan.net, widths=tuple(8 for _ in plan.net.widths))
    return replace(plan, **{"net": net, "batch_size": 16, "epochs": 3.0, **changes})


def test_a_stretch_of_small_images_costs_what_small_images_cost():
    plan = small("airnet", epochs=4.0)  # 16 steps, in which everything learns
    whole, half = (cost(plan, spec(shape, train=64)).training for shape in ((3, 32, 32), (3, 16, 16)))
    mixed = replace(plan, resolution=Resolution((0.25, 0.5), (0.5, 1.0)))
    assert cost(mixed, spec(train=64)).training == (4 * half + 12 * whole) / 16


@pytest.mark.parametrize(("pixels", "share"), [(16, 0.20), (20, 0.35), (24, 0.52), (28, 0.76)])
def test_the_share_of_small_images(pixels, share):
    """What airbench94's net costs on smaller images, as reported to two digits."""
    plan = BUILTIN["airbench94"].plan()
    full, part = (cost(plan, spec((3, n, n))).forward for n in (32, pixels))
    assert part / full == pytest.approx(share, abs=0.005)


def test_frozen_stages_cost_no_gradients():
    plan = small("airnet", epochs=4.0)
    found, frozen = (cost(p, spec(train=64)).training for p in (plan, replace(plan, freeze=(0.5, 0.75))))
    stem, first, second, third = (
        2 * macs([c]) for c in ((3, 8, 3, 32), (8, 8, 3, 32), (8, 8, 3, 16), (8, 8, 3, 16))
    )
    # The stem stops after 8 of 16 steps: its filters' gradient, and that of what it puts out. The first group
    # stops after 12: two gradients of filters, one between them, one of what it puts out.
    assert found - frozen == 16 * (8 * (stem + first) + 4 * (first + 2 * second + third))


CHANGES = {
    "airnet": {"freeze": (0.4, 0.7), "resolution": Resolution((0.3,), (0.625,))},
    "airbench94": {},
    "page/18-ema": {},
    "airbench96-faster": {"sampler": HardExamples(32, 4, AirNet(widths=(8, 8, 8)))},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_does_what_was_counted(name, monkeypatch):
    """The same counter around a real run, its proxy included."""
    plan, data = small(name, **CHANGES[name]), noise_dataset((3, 32, 32), train=70)
    # neither the covariance for the whitening nor the resizing of the images is counted
    monkeypatch.setattr(Network, "calibrate", lambda self, images: None)
    monkeypatch.setattr(device, "resized", lambda x, scale, _: F.interpolate(x, scale_factor=scale))
    with FlopCounterMode(display=False) as counter:
        made = program(plan, data)
        for start, stop in made.segments(0, None):
            made.run(start, stop)
    assert cost(plan, data.spec).training == counter.get_total_flops()


def test_a_plan_that_cannot_run_is_refused():
    with pytest.raises(UserError, match="batch_size = 1024 with 100 training images"):
        cost(BUILTIN["airbench94"].plan(), spec(train=100))
