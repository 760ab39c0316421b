"""The nets of recipes and tricks against flat functions that share nothing but their weights, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hotlap.nets import AirNet, Norm, ResNet9, ResNet18, WhitenStem
from hotlap.nets.build import build_net
from hotlap.nets.layers import Whiten
from hotlap.recipes import BUILTIN
from hotlap.seeds import generator
from hotlap.spec import DataSpec
from hotlap.tricks.backbone import Backbone
from hotlap.tricks.deep_groups import DeepGroups
from hotlap.tricks.down_sampling import DownSampling
from hotlap.tricks.extra_layers import ExtraLayers
from hotlap.tricks.global_max_pool import GlobalMaxPool
from hotlap.tricks.logit_scale import LogitScale
from hotlap.tricks.pool_before_act import PoolBeforeAct
from hotlap.tricks.pool_before_norm import PoolBeforeNorm
from hotlap.tricks.residuals import Residuals
from hotlap.tricks.single_norm import SingleNorm
from hotlap.tricks.unit_norm_scales import UnitNormScales
from hotlap.tricks.widths import Widths
from reference import nets_flat

CLASSES = 5
# float64 keeps 16 digits; some twenty layers, whose norms divide by small deviations, cost a few of them
TOLERANCE = 1e-10


def spec_of(height: int, width: int, channels: int = 3) -> DataSpec:
    names = tuple(map(str, range(CLASSES)))
    return DataSpec((channels, height, width), names, 9, 9, (0.0,) * channels, (1.0,) * channels)


def built(net, x: torch.Tensor):
    """The net's module in float64, with weights and statistics that nothing can be left out of."""
    model = build_net(net, spec_of(*x.shape[2:], channels=x.shape[1])).double()
    model.reset(generator(0, "init"))
    model.calibrate(x)
    gen = torch.Generator().manual_seed(1)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.ndim == 1:
            draw = torch.rand(tensor.shape, generator=gen, dtype=torch.float64)
            tensor.data.copy_(draw + 0.5 if "weight" in name or "var" in name else draw - 0.5)
    return model


def images(height: int, width: int, channels: int = 3, batch: int = 6) -> torch.Tensor:
    gen = torch.Generator().manual_seed(height * width)
    return torch.randn(batch, channels, height, width, generator=gen, dtype=torch.float64)


def compare(net, flat, sides=(13, 18), momentum=0.1, **said) -> None:
    """Logits and statistics in training, logits in evaluation, on images whose sides do not halve evenly."""
    x = images(*sides)
    model = built(net, x)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    stats: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    got, want = model.train()(x), flat(x, start, train=True, stats=stats, **said)
    assert close(got, want), "training"
    end = model.state_dict()
    assert len(stats) == sum(name.endswith("running_mean") for name in end)
    for path, pair in stats.items():
        for leaf, batch in zip(("running_mean", "running_var"), pair, strict=True):
            name = f"{path}.{leaf}"
            assert close(end[name], (1 - momentum) * start[name] + momentum * batch), name
    assert close(model.eval()(x), flat(x, end, train=False, **said)), "evaluation"
    used = [w for w in model.parameters() if w.requires_grad]
    grads = torch.autograd.grad(model.train()(x).square().sum(), used)  # every weight has a part in it
    assert all(g.abs().max() > 0 for g in grads)


def close(got: torch.Tensor, want: torch.Tensor) -> bool:
    return got.shape == want.shape and bool((got - want).norm() <= TOLERANCE * want.norm())


PAGE = {"scale": 0.125, "residual": (1, 3)}
BAG = PAGE | {"pool": "before_norm", "act": "celu"}
RESNET9 = {
    "page/a1-backbone": {"down": "stride", "repeats": (3, 2, 2, 1), "both_pools": True},
    "page/a2-no-repeated-norm": {"down": "stride", "both_pools": True},
    "page/a3-3x3-down-sampling": {"down": "stride", "both_pools": True},
    "page/a4-max-pool-down-sampling": {"both_pools": True},
    "page/a5-final-width-global-max-pool": {},
    "page/a6-unit-norm-scales": {"scale": 0.125},
    "page/a7-residuals": PAGE,
    "page/a8-double-width": {"scale": 0.125},
    "page/a9-extra-layers": {"scale": 0.125, "extra": (1, 2, 3)},
    "page/10-resnet9": PAGE,
    "page/12-pool-before-norm": PAGE | {"pool": "before_norm"},
    "page/14-celu": BAG | {"alpha": 0.075},
    "page/17-patch-whitening": BAG | {"alpha": 0.3, "scale": 1 / 16, "whiten_padding": 1},
}


@pytest.mark.parametrize("recipe", RESNET9)
def test_the_nets_of_post_4_and_8(recipe):
    net = BUILTIN[recipe].plan().net
    kernels = {"a1": 1, "a2": 1}.get(recipe[5:7], 3)
    # splits are tested elsewhere; the flat net normalises the batch as a whole
    net = replace(net, widths=(4, 6, 5, 7), norm=replace(net.norm, splits=1))
    assert built(net, images(9, 9)).state_dict()["body.layer2.conv.weight"].shape[2:] == (kernels, kernels)
    compare(net, nets_flat.resnet9, **RESNET9[recipe])


@pytest.mark.parametrize(
    ("recipe", "stem_norm"),
    [("page/01-baseline", True), ("page/02-tidy-stem-and-schedule", False), ("page/09-batch-768", False)],
)
def test_the_pre_activation_resnet_18(recipe, stem_norm):
    net = replace(BUILTIN[recipe].plan().net, widths=(4, 6, 5, 5))
    net = replace(net, norm=replace(net.norm, precision="fp32"))
    compare(net, nets_flat.resnet18, stem_norm=stem_norm)


AIR = {"act": "gelu", "whiten_padding": 0, "scale": 1 / 9, "eps": 1e-12, "momentum": 0.4}
AIRNETS = {
    "airbench94": AIR,
    "muon94": AIR | {"scale": 1 / 256},
    "hiverge94": AIR | {"act": "silu", "stem_act": "gelu", "scale": 1 / 256, "momentum": 1 - 0.5566},
    "airbench96": AIR | {"depth": 3, "residual": "before_act", "momentum": 0.1},
    "aidda100": AIR
    | {"act": "silu", "depth": 3, "residual": "after_act", "plus_mean": True}
    | {"scale": 1.25 / 9, "eps": 1e-5, "momentum": 0.1},
}


@pytest.mark.parametrize("recipe", AIRNETS)
def test_the_nets_after_the_series(recipe):
    net = BUILTIN[recipe].plan().net
    net = replace(net, widths=(4, 6, 5), middle=(3, 7, 4) if net.middle else ())
    compare(net, nets_flat.airnet, **AIRNETS[recipe])


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 4),
    st.sampled_from(["none", "before_act", "after_act"]),
    st.sampled_from(["relu", "gelu", "silu", "celu"]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_deep_groups_of_any_shape(depth, residual, act, plus_mean, has_middle, data):
    middle = data.draw(st.tuples(st.integers(2, 5), st.integers(2, 5))) if has_middle else ()
    sizes = st.lists(st.integers(1, 4), min_size=2 * depth, max_size=2 * depth)
    kernels = tuple(data.draw(sizes)) if data.draw(st.booleans()) else ()
    # eps well above 0: on a last group of one pixel a channel can be all but constant, and the norm's own
    # 1e-12 would then blow up the rounding of either side
    plain = AirNet(widths=(4, 5), activation=act, celu_alpha=0.7, norm=Norm(scale=False, eps=1e-3))
    deep = DeepGroups(depth, residual, middle, kernels, "max_plus_mean" if plus_mean else "max")
    net = deep(replace(BUILTIN["airbench94"].plan(), net=plain)).net
    said = {"depth": depth, "residual": residual, "plus_mean": plus_mean, "scale": 1 / 9, "groups": 2}
    x = images(9, 7)
    model = built(net, x)
    channels, previous = (middle or net.widths), 24
    for g, width in enumerate(net.widths):
        expected = [previous, width, *[channels[g]] * (depth - 2), width]
        convs = [v for k, v in model.state_dict().items() if f"group{g + 1}." in k and "conv" in k]
        size = kernels[g * depth : (g + 1) * depth] or [3] * depth
        shapes = [(o, i, k, k) for i, o, k in zip(expected, expected[1:], size, strict=False)]
        assert [tuple(c.shape) for c in convs] == shapes
        previous = width
    said |= {"act": act, "alpha": 0.7, "whiten_padding": 0, "eps": 1e-3}
    assert close(model.train()(x), nets_flat.airnet(x, model.state_dict(), **said))


def test_single_convolution_groups_and_a_convolved_or_pointwise_stem():
    base = {"groups": 3, "scale": 1 / 9, "momentum": 0.4, "eps": 1e-12}
    shallow = replace(BUILTIN["airnet"].plan().net, widths=(4, 6, 5), depth=1)
    compare(shallow, nets_flat.airnet, act="gelu", depth=1, **base)
    stem = WhitenStem(kernel=3, signs=1, bias=False, padding=1, pointwise=True)
    compare(
        replace(shallow, stem=stem),
        nets_flat.airnet,
        act="gelu",
        depth=1,
        **base,
        whiten_padding=1,
        pointwise=True,
    )


def test_each_trick_makes_the_step_that_page_describes():
    """From the backbone to the residual net, one trick at a time, on a plan of our own."""
    plan = replace(BUILTIN["resnet9"].plan(), net=ResNet9(norm=Norm(momentum=0.25)))
    said = {"down": "stride", "repeats": (3, 2, 2, 1), "both_pools": True, "momentum": 0.25}
    steps = [
        (Backbone(), {}),
        (Widths((4, 6, 5, 7)), {}),
        (SingleNorm(), {"repeats": (1, 1, 1, 1)}),
        (DownSampling("stride_3x3"), {}),
        (DownSampling("pool"), {"down": "pool"}),
        (GlobalMaxPool(), {"both_pools": False}),
        (UnitNormScales(0.2), {"scale": 0.2}),
        (Residuals(("layer2", "layer3")), {"residual": (2, 3)}),
        (ExtraLayers(("layer1", "layer3")), {"extra": (1, 3)}),
        (PoolBeforeAct(), {"pool": "before_act"}),
        (PoolBeforeNorm(), {"pool": "before_norm"}),
        (LogitScale(0.3), {"scale": 0.3}),
    ]
    for trick, changed in steps:
        plan = trick(plan)
        said |= changed
        if plan.net.widths == (4, 6, 5, 7):
            compare(plan.net, nets_flat.resnet9, **said)


def test_scales_start_at_one_or_drawn_from_zero_to_one():
    for init, low, high in (("one", 1.0, 1.0), ("uniform", 0.0, 1.0)):
        model = build_net(ResNet18(widths=(64, 64, 64, 64), norm=Norm(scale_init=init)), spec_of(32, 32))
        model.reset(generator(0, "init"))
        scales = torch.cat([v for k, v in model.named_parameters() if "norm" in k and k.endswith("weight")])
        scales = scales.detach()
        # of 1088 uniform draws the smallest is near 0 and the largest near 1; one standard error is 0.29 / 33
        assert low <= scales.min() <= low + 0.01
        assert high - 0.01 <= scales.max() <= high
        assert float(scales.mean()) == pytest.approx((low + high) / 2, abs=0.053)


def pooled(net, x, dtype):
    model = build_net(net, spec_of(*x.shape[2:]))
    model.reset(generator(0, "init"))
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data.uniform_(-2.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    model.train()
    logits = model(x.to(dtype))
    return logits, torch.autograd.grad(logits.square().sum(), list(model.parameters()))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999), st.integers(8, 13), st.sampled_from([torch.float32, torch.bfloat16]))
def test_pooling_before_relu_is_the_same_function_to_the_last_bit(seed, side, dtype):
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, side, side + 1, generator=gen)
    after = ResNet9(widths=(4, 5, 6, 7), residual=())
    (a, grads_a), (b, grads_b), (c, _) = (
        pooled(replace(after, pool=pool), x, dtype) for pool in ("after_act", "before_act", "before_norm")
    )
    assert torch.equal(a, b)
    # the same pixels win and the same ones are cut off, so the gradients are the same numbers too
    assert all(torch.equal(p, q) for p, q in zip(grads_a, grads_b, strict=True))
    assert not torch.allclose(a, c, rtol=0.01)


@pytest.mark.parametrize(("act", "same"), [("celu", True), ("gelu", False), ("silu", False)])
def test_pooling_before_another_activation_is_the_same_only_if_it_increases(act, same):
    x = images(12, 12).float()
    a, b = (
        pooled(ResNet9(widths=(4, 5, 6, 7), activation=act, pool=pool), x, torch.float32)[0]
        for pool in ("after_act", "before_act")
    )
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5) is same


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_same_padding_leaves_maps_as_large_as_images(kernel):
    """The odd pixel behind, as PyTorch's `padding="same"` has it."""
    stem = WhitenStem(kernel=kernel, images=5, padding="same")
    whiten = Whiten(3, stem).double()
    whiten.reset(torch.Generator().manual_seed(0))
    x = torch.randn(5, 3, 9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whiten.calibrate(x)
    out = whiten(x)
    assert out.shape[2:] == x.shape[2:]
    before, behind = (kernel - 1) // 2, kernel // 2
    padded = torch.zeros(5, 3, 9 + kernel - 1, 6 + kernel - 1, dtype=torch.float64)
    padded[:, :, before : before + 9, before : before + 6] = x
    assert behind == kernel - 1 - before
    assert torch.allclose(out, torch.nn.functional.conv2d(padded, whiten.weight, whiten.bias), rtol=1e-12)
