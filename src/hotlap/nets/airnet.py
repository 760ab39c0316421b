"""AirNet's module; its description says what it is."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from hotlap.nets import layers
from hotlap.nets.describe import AirNet, WhitenStem
from hotlap.nets.stem import build_stem
from hotlap.spec import DataSpec


def build(net: AirNet, spec: DataSpec) -> layers.Network:
    """The module for `net` on images like `spec`'s."""
    act = layers.activation(net.activation, net.celu_alpha)
    body = nn.Sequential()
    stem, width = build_stem(net.stem, spec, net.widths[0], net.norm, act)
    body.add_module("stem", stem)
    if isinstance(net.stem, WhitenStem) and not net.stem.pointwise:
        body.add_module("act", act())
    for i, (c_in, c_out) in enumerate(pairwise((width, *net.widths)), start=1):
        group = nn.Sequential()
        for j in range(1, net.depth + 1):
            group.add_module(
                f"conv{j}", layers.Conv2d(c_in if j == 1 else c_out, c_out, kernel=3, init=net.init)
            )
            if j == 1:
                group.add_module("pool", nn.MaxPool2d(2))
            group.add_module(f"norm{j}", layers.BatchNorm(c_out, net.norm))
            group.add_module(f"act{j}", act())
        body.add_module(f"group{i}", group)
    body.add_module("pool", layers.GlobalMaxPool())
    head = layers.Linear(net.widths[-1], spec.classes, bias=False, unit=net.unit_head, scale=net.logit_scale)
    return layers.Network(body, head)
