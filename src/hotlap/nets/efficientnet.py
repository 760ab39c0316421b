"""EfficientNetLite's module; its description says what it is."""

from __future__ import annotations

import math

from torch import Tensor, nn

from hotlap.nets import layers, network, norms
from hotlap.nets.describe import LITES, EfficientNetLite, Norm
from hotlap.spec import DataSpec

# of each stage: blocks, kernel, stride, by what a block widens, channels; before it is made wider and deeper
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES = 32, 1280  # channels of the first layer and of the last: the same in every variant


class Block(nn.Module):
    """An inverted residual. Input (B, c_in, H, W), output (B, c_out, H / stride, W / stride), rounded up.

    Args:
        kernel: of the convolution that each channel has for itself, pixels.
        widen: how many times c_in its channels are.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, widen: int, norm: Norm):
        super().__init__()
        wide = widen * c_in
        self.expand = unit(c_in, wide, norm) if widen > 1 else layers.Chain()
        self.depthwise = unit(wide, wide, norm, kernel, stride, groups=wide)
        self.project = unit(wide, c_out, norm, act=False)
        self.residual = (c_in, stride) == (c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


def unit(
    c_in: int, c_out: int, norm: Norm, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
) -> layers.Chain:
    """A convolution, its norm and, if asked for, ReLU6."""
    made = layers.Chain()
    conv = layers.Conv2d(c_in, c_out, kernel, stride=stride, groups=groups, padding="same")
    made.add_module("conv", conv)
    made.add_module("norm", norms.BatchNorm(c_out, norm))
    if act:
        made.add_module("act", nn.ReLU6())
    return made


def build(net: EfficientNetLite, spec: DataSpec) -> network.Network:
    """The module for `net` on images like `spec`'s."""
    body = nn.Sequential()
    body.add_module("stem", unit(spec.channels, STEM, net.norm, kernel=3, stride=2))
    c_in = STEM
    for i, ((_, kernel, stride, widen, _), (blocks, c_out)) in enumerate(
        zip(STAGES, sizes(net), strict=True), start=1
    ):
        stage = nn.Sequential()
        for j in range(blocks):
            stage.append(Block(c_in, c_out, kernel, 1 if j else stride, widen, net.norm))
            c_in = c_out
        body.add_module(f"stage{i}", stage)
    body.add_module("last", unit(c_in, FEATURES, net.norm))
    body.add_module("pool", layers.GlobalPool("mean"))
    head = layers.Linear(FEATURES, spec.classes, bias=True, unit=False, scale=net.logit_scale)
    return network.Network(body, head, net.dropout)


def sizes(net: EfficientNetLite) -> list[tuple[int, int]]:
    """Blocks and channels of each stage; the first and the last are never deeper."""
    scale, last = LITES[net.variant], len(STAGES) - 1
    return [
        (blocks if i in (0, last) else math.ceil(blocks * scale.depth), eights(channels * scale.width))
        for i, (blocks, _, _, _, channels) in enumerate(STAGES)
    ]


def eights(channels: float) -> int:
    """The nearest multiple of 8, and the next where that is less by more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8
