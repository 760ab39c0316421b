"""Norms go into the convolutions before them, and the net computes what it did."""

from __future__ import annotations

import pytest
import torch

from hotlap.deploy.fold import folded
from hotlap.nets.build import build_net
from hotlap.nets.describe import AirNet, EfficientNetLite, Norm, ResNet9, ResNet18, WhitenStem
from hotlap.nets.network import Network
from hotlap.nets.norms import BatchNorm
from hotlap.spec import DataSpec

SPEC = DataSpec((3, 32, 32), tuple("abcdefg"), 1, 1, (0.0,) * 3, (1.0,) * 3)


def filled(net, negative: bool = False) -> Network:
    """A net with every weight and statistic at random."""
    made, gen = build_net(net, SPEC), torch.Generator().manual_seed(0)
    for tensor in (*made.parameters(), *made.buffers()):
        tensor.data.normal_(0, 0.1, generator=gen)
    for module in made.modules():
        if isinstance(module, BatchNorm):
            module.running_var.uniform_(0.5, 2, generator=gen)
            module.weight.data.uniform_(-1 if negative else 0.5, 2, generator=gen)
    return made.eval()


def targets(graph) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes]


NETS = {
    "airnet": (AirNet((8, 12, 12)), 0),
    "residual": (AirNet((8, 12, 12), depth=3, residual="after_act", pool="max_plus_mean"), 0),
    "resnet9": (ResNet9((8, 8, 12, 12)), 0),
    "strided": (ResNet9((8, 8, 12, 12), down="stride_1x1", head="max_and_mean", head_bias=True), 0),
    "whitened": (ResNet9((8, 8, 12, 12), pool="before_norm", stem=WhitenStem(3, pointwise=True)), 0),
    "repeated": (ResNet9((8, 8, 12, 12), norm_repeats=(2, 1, 1, 1)), 1),
    "efficientnet": (EfficientNetLite(dropout=0.2), 0),
    "resnet18": (ResNet18((8, 12, 12, 12), norm=Norm(precision="half")), 8),
}


@pytest.mark.parametrize("name", NETS)
def test_a_folded_net_computes_what_the_net_does(name):
    description, norms_left = NETS[name]
    net = filled(description)
    graph = folded(net, torch.zeros(2, 3, 32, 32))
    assert sum("batch_norm" in t for t in targets(graph)) == norms_left
    for count in (1, 2, 5):
        x = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            want, got = net(x), graph(x)
        assert torch.allclose(got, want, rtol=1e-4, atol=1e-5 * float(want.abs().max()))
    kept = sum(t.numel() for t in (*graph.parameters(), *graph.buffers()))
    whole = sum(t.numel() for t in (*net.parameters(), *net.buffers()))
    assert kept <= whole, "weights that were folded are still there"


def test_a_norm_behind_a_pool_stays_where_a_scale_is_negative():
    net = filled(AirNet((8, 12, 12), norm=Norm()), negative=True)
    graph = folded(net, torch.zeros(2, 3, 32, 32))
    assert sum("batch_norm" in t for t in targets(graph)) == 3
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(graph(x), net(x), rtol=1e-4, atol=1e-5)
