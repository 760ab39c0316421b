"""ResNet9's module; its description says what it is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from hotlap.errors import UserError, did_you_mean
from hotlap.nets import layers
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


# where the 2x2 pool stands among conv, norm and activation
ORDER = {
    "after_act": ("conv", "norm", "act", "pool"),
    "before_act": ("conv", "norm", "pool", "act"),
    "before_norm": ("conv", "pool", "norm", "act"),
}


def build(net: ResNet9, spec: DataSpec) -> layers.Network:
    """The module for `net` on images like `spec`'s.

    Raises:
        UserError: if `residual` names a layer that is not there.
    """
    names = ("layer1", "layer2", "layer3")
    for wrong in set(net.residual) - set(names):
        raise UserError(f"net.residual: no layer {wrong!r}{did_you_mean(wrong, names)}")
    act = layers.activation(net.activation, net.celu_alpha)

    def block(c_in: int, c_out: int, order: tuple[str, ...]) -> nn.Sequential:
        makers: dict[str, Callable[[], nn.Module]] = {
            "conv": lambda: layers.Conv2d(c_in, c_out, kernel=3),
            "norm": lambda: layers.BatchNorm(c_out, net.norm),
            "act": act,
            "pool": lambda: nn.MaxPool2d(2),
        }
        out = nn.Sequential()
        for part in order:
            out.add_module(part, makers[part]())
        return out

    body = nn.Sequential()
    stem, _ = build_stem(net.stem, spec, net.widths[0], net.norm, act)
    body.add_module("stem", stem)
    plain = ("conv", "norm", "act")
    for name, (c_in, c_out) in zip(names, pairwise(net.widths), strict=True):
        layer = block(c_in, c_out, ORDER[net.pool])
        if name in net.residual:
            branch = nn.Sequential(block(c_out, c_out, plain), block(c_out, c_out, plain))
            layer.add_module("residual", Residual(branch))
        body.add_module(name, layer)
    body.add_module("pool", layers.GlobalMaxPool())
    head = layers.Linear(net.widths[-1], spec.classes, bias=False, unit=False, scale=net.logit_scale)
    return layers.Network(body, head)
