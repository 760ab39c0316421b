"""Grad-CAM finds what the class depends on, in every net, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hotlap.inspect.gradcam import looked_at, map_at, place_of_last_map
from hotlap.nets import layers, network
from hotlap.nets.build import build_net
from hotlap.nets.describe import AirNet, EfficientNetLite, Norm, ResNet9, ResNet18
from hotlap.spec import DataSpec

SPEC = DataSpec((3, 48, 48), ("a", "b", "c"), 10, 10, (0.0,) * 3, (1.0,) * 3)
NETS = {
    "airnet": AirNet(widths=(8, 8, 8)),
    "resnet9, max": ResNet9(widths=(4, 4, 8, 8)),
    "resnet9, max and mean": ResNet9(widths=(4, 4, 8, 8), head="max_and_mean"),
    "resnet18": ResNet18(widths=(4, 4, 8, 8)),
    "efficientnet": EfficientNetLite(),
}


def built(net, seed=0, spec=SPEC):
    model = build_net(net, spec)
    gen = torch.Generator().manual_seed(seed)
    model.reset(gen)
    model.calibrate(torch.randn(50, *spec.shape, generator=gen))
    return model.eval()


@pytest.mark.parametrize("pool", ["max", "max_plus_mean", "max_and_mean"])
def test_a_planted_patch_is_found(pool):
    """A net that says `b` for what is bright, and an image that is bright in one place."""
    body = nn.Sequential(layers.Chain(layers.Conv2d(1, 2, kernel=3), nn.MaxPool2d(4)))
    body.append(layers.GlobalPool(pool))
    head = layers.Linear(4 if pool == "max_and_mean" else 2, 2, bias=False, unit=False, scale=1.0)
    model = network.Network(body, head)
    with torch.no_grad():
        model.body[0][0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3))
        head.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(1, head.weight.shape[1] // 2))
    x = torch.zeros(2, 1, 32, 32)
    x[0, 0, 20:24, 4:8] = 1
    x[1, 0, 4:8, 24:28] = 1
    maps = looked_at(model, x, torch.tensor([1, 1]))
    assert maps.shape == (2, 32, 32)
    for found, (row, column) in zip(maps, ((20, 4), (4, 24)), strict=True):
        assert found.max() == 1
        assert found[row : row + 4, column : column + 4].mean() > 0.8
        far = found.clone()
        far[max(0, row - 8) : row + 12, max(0, column - 8) : column + 12] = 0
        assert far.sum() == 0


@pytest.mark.parametrize("name", NETS)
def test_it_is_the_definition_on_the_last_map_before_the_pool(name):
    model = built(NETS[name])
    x = torch.randn(4, *SPEC.shape, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([0, 1, 2, 1])
    features = model.body[:-1](x).detach().requires_grad_()
    assert features.ndim == 4
    slow = torch.zeros(4, 48, 48)
    for i in range(4):
        one = features[i : i + 1]
        (slope,) = torch.autograd.grad(model.head(model.body[-1](one))[0, classes[i]], one)
        weighted = sum(slope[0, c].mean() * one[0, c] for c in range(one.shape[1])).detach().relu()
        wide = F.interpolate(weighted[None, None], (48, 48), mode="bilinear")[0, 0]
        slow[i] = wide / wide.max() if wide.max() > 0 else 0
    found = looked_at(model, x, classes)
    assert found.dtype == torch.float32
    assert torch.allclose(found, slow, atol=1e-4)
    assert found.max() == 1


def test_nothing_is_left_behind():
    model = built(NETS["airnet"]).train()
    model.use_kernels("all")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(70, 3, 32, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = looked_at(model, x, torch.zeros(70, dtype=torch.int64))  # more than go together
    assert found.shape == (70, 32, 32)
    assert not found.requires_grad
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    assert any(getattr(m, "native", False) for m in model.modules())
    one = looked_at(model, x[69:], torch.zeros(1, dtype=torch.int64))
    assert torch.allclose(found[69:], one, atol=1e-5)
    assert looked_at(model, x[:0], torch.zeros(0, dtype=torch.int64)).shape == (0, 32, 32)


def test_a_map_of_one_place_is_passed_over():
    small = DataSpec((1, 16, 16), ("a", "b"), 10, 10, (0.0,), (1.0,))
    model = built(AirNet(widths=(8, 8, 8)), spec=small)
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert model.body[:-1](x).shape[2:] == (1, 1)
    features, logits = map_at(model, place_of_last_map(model, x), x)
    assert features.shape[2:] == (3, 3)
    assert torch.equal(logits, model(x))
    # the slope is what moving a place of the map does to the logit, by all ways that lead there
    (slope,) = torch.autograd.grad(logits[0, 1], features)
    assert slope.shape == features.shape
    assert slope[1].eq(0).all()  # another image's
    assert slope[0].ne(0).any()


def test_where_nothing_speaks_for_a_class_the_map_is_zero():
    model = built(ResNet9(widths=(4, 4, 8, 8), norm=Norm()))
    with torch.no_grad():
        model.head.weight.zero_()
    assert looked_at(model, torch.randn(2, 3, 32, 32), torch.tensor([0, 1])).eq(0).all()
