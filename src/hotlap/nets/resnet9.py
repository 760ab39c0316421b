"""ResNet9's module; its description says what it is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from hotlap.nets import layers, network, norms
from hotlap.nets.describe import ResNet9
from hotlap.nets.stem import build_stem
from hotlap.spec import DataSpec


class Residual(nn.Module):
    """x + branch(x), both (B, C, H, W)."""

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


LAYERS = ("layer1", "layer2", "layer3")

# where the 2x2 pool stands among conv, norm and activation
ORDER = {
    "after_act": ("conv", "norm", "act", "pool"),
    "before_act": ("conv", "norm", "pool", "act"),
    "before_norm": ("conv", "pool", "norm", "act"),
}


def build(net: ResNet9, spec: DataSpec) -> network.Network:
    """The module for `net` on images like `spec`'s."""
    act = layers.activation(net.activation, net.celu_alpha)

    def block(
        c_in: int, c_out: int, order: tuple[str, ...], kernel: int = 3, stride: int = 1
    ) -> layers.Chain:
        makers: dict[str, Callable[[], nn.Module]] = {
            "conv": lambda: layers.Conv2d(c_in, c_out, kernel=kernel, stride=stride),
            "norm": lambda: norms.BatchNorm(c_out, net.norm),
            "act": act,
            "pool": lambda: nn.MaxPool2d(2),
        }
        out = layers.Chain()
        for part in order:
            out.add_module(part, makers[part]())
        return out

    def repeated(layer: nn.Sequential, channels: int, times: int) -> None:
        for i in range(2, times + 1):
            layer.add_module(f"again{i}", block(channels, channels, ("norm", "act")))

    body = nn.Sequential()
    stem, _ = build_stem(net.stem, spec, net.widths[0], net.norm, act)
    repeated(stem, net.widths[0], net.norm_repeats[0])
    body.add_module("stem", stem)
    plain = ("conv", "norm", "act")
    widths = zip(LAYERS, pairwise(net.widths), net.norm_repeats[1:], strict=True)
    for name, (c_in, c_out), repeats in widths:
        if net.down == "pool":
            layer = block(c_in, c_out, ORDER[net.pool])
        else:
            layer = block(c_in, c_out, plain, kernel=3 if net.down == "stride_3x3" else 1, stride=2)
        repeated(layer, c_out, repeats)
        if name in net.extra:
            layer.add_module("extra", block(c_out, c_out, plain))
        if name in net.residual:
            branch = nn.Sequential(block(c_out, c_out, plain), block(c_out, c_out, plain))
            layer.add_module("residual", Residual(branch))
        body.add_module(name, layer)
    body.add_module("pool", layers.GlobalPool(net.head))
    features = net.widths[-1] * (2 if net.head == "max_and_mean" else 1)
    head = layers.Linear(features, spec.classes, bias=net.head_bias, unit=False, scale=net.logit_scale)
    return network.Network(body, head)
