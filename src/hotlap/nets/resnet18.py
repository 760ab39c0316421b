"""ResNet18's module; its description says what it is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.nets import layers, network, norms
from hotlap.nets.describe import Norm, ResNet18
from hotlap.spec import DataSpec


class Block(nn.Module):
    """A pre-activation block. Input (B, c_in, H, W), output (B, c_out, H / stride, W / stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int, norm: Norm):
        super().__init__()
        self.norm1 = norms.BatchNorm(c_in, norm)
        self.conv1 = layers.Conv2d(c_in, c_out, kernel=3, stride=stride)
        self.norm2 = norms.BatchNorm(c_out, norm)
        self.conv2 = layers.Conv2d(c_out, c_out, kernel=3)
        self.shortcut = (
            nn.Identity()
            if (c_in, stride) == (c_out, 1)
            else layers.Conv2d(c_in, c_out, kernel=1, stride=stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(x))
        branch = self.conv2(F.relu(self.norm2(self.conv1(x))))
        out: Tensor = self.shortcut(x) + branch
        return out


def build(net: ResNet18, spec: DataSpec) -> network.Network:
    """The module for `net` on images like `spec`'s."""
    body, stem = nn.Sequential(), layers.Chain()
    stem.add_module("conv", layers.Conv2d(spec.channels, net.widths[0], kernel=3))
    if net.stem_norm:
        stem.add_module("norm", norms.BatchNorm(net.widths[0], net.norm))
        stem.add_module("act", nn.ReLU())
    body.add_module("stem", stem)
    c_in = net.widths[0]
    for i, c_out in enumerate(net.widths, start=1):
        stage = nn.Sequential(
            Block(c_in, c_out, 1 if i == 1 else 2, net.norm), Block(c_out, c_out, 1, net.norm)
        )
        body.add_module(f"stage{i}", stage)
        c_in = c_out
    body.add_module("pool", layers.GlobalPool("max_and_mean"))
    head = layers.Linear(2 * c_in, spec.classes, bias=True, unit=False, scale=net.logit_scale)
    return network.Network(body, head)
