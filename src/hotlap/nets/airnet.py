"""AirNet's module; its description says what it is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hotlap.nets import layers, network, norms
from hotlap.nets.describe import AirNet, WhitenStem
from hotlap.nets.stem import build_stem
from hotlap.spec import DataSpec


class ResidualGroup(nn.Module):
    """x = first(input); act(x + rest(x)), or x + act(rest(x)). Input (B, c_in, H, W), output halved."""

    def __init__(self, first: nn.Module, rest: nn.Module, act: nn.Module, add_first: bool):
        super().__init__()
        self.first, self.rest, self.act, self.add_first = first, rest, act, add_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.act(x + self.rest(x)) if self.add_first else x + self.act(self.rest(x))
        return out


def build(net: AirNet, spec: DataSpec) -> network.Network:
    """The module for `net` on images like `spec`'s."""
    act = layers.activation(net.activation, net.celu_alpha)
    named = net.activation if net.stem_activation == "same" else net.stem_activation
    stem_act = layers.activation(named, net.celu_alpha)
    body = nn.Sequential()
    zero = net.stem_bias_init == "zero"
    stem, width = build_stem(net.stem, spec, net.widths[0], net.norm, stem_act, zero_bias=zero)
    body.add_module("stem", stem)
    if isinstance(net.stem, WhitenStem) and not net.stem.pointwise:
        body.add_module("act", stem_act())
    for i in range(len(net.widths)):
        body.add_module(f"group{i + 1}", build_group(net, i, width, act))
        width = net.widths[i]
    body.add_module("pool", layers.GlobalPool(net.pool))
    head = layers.Linear(width, spec.classes, bias=False, unit=net.unit_head, scale=net.logit_scale)
    return network.Network(body, head)


def build_group(net: AirNet, i: int, c_in: int, act: Callable[[], nn.Module]) -> nn.Module:
    """Group number `i` (from 0), reading `c_in` channels."""
    width, middle = net.widths[i], (net.middle or net.widths)[i]
    channels = [c_in, width, *[middle] * (net.depth - 2), *[width] * (net.depth > 1)]
    kernels = net.kernels[i * net.depth : (i + 1) * net.depth] or [3] * net.depth
    group = layers.Chain()
    for j in range(1, net.depth + 1):
        conv = layers.Conv2d(channels[j - 1], channels[j], kernel=kernels[j - 1], init=net.init)
        group.add_module(f"conv{j}", conv)
        if j == 1:
            group.add_module("pool", nn.MaxPool2d(2))
        group.add_module(f"norm{j}", norms.BatchNorm(channels[j], net.norm))
        group.add_module(f"act{j}", act())
    if net.residual == "none":
        return group
    # conv, pool, norm and activation come first; the last activation stands outside
    return ResidualGroup(group[:4], group[4:-1], group[-1], net.residual == "before_act")
