"""Layers against slow formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hotlap.nets import AirNet, Norm, ResNet9, ResNet18, WhitenStem
from hotlap.nets.build import build_net
from hotlap.nets.layers import Whiten, whitening_filters
from hotlap.nets.norms import BatchNorm, GhostNorm
from hotlap.seeds import generator
from hotlap.spec import DataSpec

SPEC = DataSpec((3, 32, 32), tuple("abcdefghij"), 100, 100, (0.0,) * 3, (1.0,) * 3)


def slow_ghost(x, weight, bias, splits, grouping, eps):
    out = torch.empty_like(x)
    for s in range(splits):
        at = (
            slice(s, None, splits)
            if grouping == "strided"
            else slice(s * len(x) // splits, (s + 1) * len(x) // splits)
        )
        part = x[at]
        mean, var = part.mean((0, 2, 3), keepdim=True), part.var((0, 2, 3), unbiased=False, keepdim=True)
        out[at] = (part - mean) / (var + eps).sqrt() * weight[None, :, None, None] + bias[None, :, None, None]
    return out


@pytest.mark.parametrize("grouping", ["strided", "contiguous"])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_ghost_norm_and_its_gradients_equal_the_slow_formula(grouping, layout):
    gen = torch.Generator().manual_seed(1)
    x = torch.randn(12, 5, 4, 6, dtype=torch.float64, generator=gen).contiguous(memory_format=layout)
    x.requires_grad_()
    weight = torch.rand(5, dtype=torch.float64, generator=gen).requires_grad_()
    bias = torch.randn(5, dtype=torch.float64, generator=gen).requires_grad_()
    running = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    upstream = torch.randn(12, 5, 4, 6, dtype=torch.float64, generator=gen)
    got = GhostNorm.apply(x, weight, bias, *running, 4, grouping, 0.3, 1e-5)
    want = slow_ghost(x, weight, bias, 4, grouping, 1e-5)
    assert torch.allclose(got, want, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(got, (x, weight, bias), upstream),
        torch.autograd.grad(want, (x, weight, bias), upstream),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)
    parts = [x[s::4] if grouping == "strided" else x.chunk(4)[s] for s in range(4)]
    assert torch.allclose(running[0], 0.3 * torch.stack([p.mean((0, 2, 3)) for p in parts]).mean(0))
    assert torch.allclose(running[1], 0.7 + 0.3 * torch.stack([p.var((0, 2, 3)) for p in parts]).mean(0))


def test_ghost_norm_of_one_part_is_batch_norm():
    x = torch.randn(8, 3, 5, 5)
    plain, ghost = (BatchNorm(3, Norm(splits=s)) for s in (1, 2))
    for norm in (plain, ghost):
        norm.reset(torch.Generator())
    assert torch.equal(plain(x), F.batch_norm(x, None, None, plain.weight, plain.bias, True))
    assert not torch.allclose(plain(x), ghost(x))
    doubled = torch.cat((x, x))  # contiguous halves that are equal have the statistics of the whole
    ghost.norm = Norm(splits=2, grouping="contiguous")
    assert torch.allclose(plain(doubled), ghost(doubled), atol=1e-6)


@pytest.mark.parametrize("signs", [1, 2])
@pytest.mark.parametrize("kernel", [2, 3])
def test_whitened_patches_have_unit_covariance(kernel, signs):
    gen = torch.Generator().manual_seed(0)
    images = torch.randn(300, 3, 12, 12, generator=gen, dtype=torch.float64)
    images = F.avg_pool2d(images, 3, stride=1)  # neighbours correlate, as in photographs
    stem = WhitenStem(kernel=kernel, signs=signs, eps=0.0, bias=False)
    width = 3 * kernel**2
    filters = whitening_filters(images, stem)
    assert filters.shape == (signs * width, 3, kernel, kernel)
    out = F.conv2d(images, filters[:width]).transpose(0, 1).flatten(1)
    assert torch.allclose(out @ out.T / out.shape[1], torch.eye(width, dtype=torch.float64), atol=1e-8)
    if signs == 2:
        assert torch.equal(filters[width:], -filters[:width])


def test_whitening_is_frozen_and_its_bias_is_not():
    stem = Whiten(3, WhitenStem())
    assert not stem.weight.requires_grad
    assert stem.bias.requires_grad


@pytest.mark.parametrize("net", [ResNet9(), AirNet(stem=WhitenStem()), ResNet18(stem_norm=False)])
def test_every_parameter_has_one_role_and_reset_is_deterministic(net):
    model = build_net(net, SPEC)
    assert model.roles().keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    model.reset(generator(3, "init"))
    first = {k: v.clone() for k, v in model.state_dict().items() if "whiten.weight" not in k}
    model.reset(generator(4, "init"))
    assert any(not torch.equal(first[k], model.state_dict()[k]) for k in first)
    model.reset(generator(3, "init"))
    assert all(torch.equal(first[k], model.state_dict()[k]) for k in first)


def count(net) -> int:
    return sum(p.numel() for p in build_net(net, SPEC).parameters() if p.requires_grad)


def test_parameter_counts():
    convs9 = 27 * 64 + 9 * (64 * 128 + 2 * 128**2 + 128 * 256 + 256 * 512 + 2 * 512**2)
    norms9 = 2 * (64 + 3 * 128 + 256 + 3 * 512)
    assert count(ResNet9()) == convs9 + norms9 + 5120
    convs = 9 * (24 * 64 + 64**2 + 64 * 256 + 256**2 + 256**2 + 256**2)
    assert count(AirNet()) == convs + 2 * (64 + 256 + 256) + 24 + 2560


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 4), st.integers(13, 40), st.integers(13, 40), st.integers(2, 40))
def test_nets_take_any_image_and_class_count(channels, height, width, classes):
    spec = DataSpec(
        (channels, height, width), tuple(map(str, range(classes))), 9, 9, (0.0,) * channels, (1.0,) * channels
    )
    for net in (ResNet9(widths=(4, 4, 4, 4)), AirNet(widths=(4, 4, 4)), ResNet18(widths=(4, 4, 4, 4))):
        model = build_net(net, spec)
        model.reset(generator(0, "init"))
        x = torch.randn(2, *spec.shape)
        model.calibrate(x)
        assert model(x).shape == (2, classes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_precision_follows_the_input_and_logits_stay_wide(dtype):
    model = build_net(AirNet(widths=(8, 8, 8)), SPEC)
    model.reset(generator(0, "init"))
    x = torch.randn(4, 3, 32, 32)
    model.calibrate(x)
    seen = []
    model.body.group2.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    assert model(x.to(dtype)).dtype == torch.float32
    assert seen == [dtype]
