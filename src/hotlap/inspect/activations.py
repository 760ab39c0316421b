"""What reaches the norms of a net, and what the noise of their statistics is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.nets.describe import Norm
from hotlap.nets.layers import Conv2d
from hotlap.nets.norms import BatchNorm


@contextmanager
def watched_norms(model: nn.Module) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """A dict that fills, as `model` runs, with each norm's input and output (B, C, H, W), by name."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
            seen[name] = (args[0].detach(), out.detach())

        return keep

    handles = [
        module.register_forward_hook(keeper(name))
        for name, module in model.named_modules()
        if isinstance(module, BatchNorm)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class ChannelHistograms:
    """Values of some channels, over images and places.

    Args:
        edges: (bins + 1,), the same for all channels.
        counts: (channels, bins), shares of the values that fall in each bin.
        mean, low, high: of each channel.
    """

    edges: list[float]
    counts: list[list[float]]
    mean: list[float]
    low: list[float]
    high: list[float]


def channel_histograms(x: Tensor, channels: int, bins: int) -> ChannelHistograms:
    """Histograms of the first `channels` channels of x (B, C, H, W)."""
    values = x[:, :channels].float().transpose(0, 1).flatten(1).cpu()
    low, high = float(values.min()), float(values.max())
    counts = [torch.histc(v, bins, low, high) / v.numel() for v in values]
    edges = torch.linspace(low, high, bins + 1)
    return ChannelHistograms(
        edges.tolist(),
        [c.tolist() for c in counts],
        values.mean(1).tolist(),
        values.amin(1).tolist(),
        values.amax(1).tolist(),
    )


def mean_share(x: Tensor) -> float:
    """The share of x's mean square (B, C, H, W) that its channels' means make up: 0 centred, 1 constant."""
    x = x.double()
    return float(x.mean((0, 2, 3)).square().sum() / x.square().mean((0, 2, 3)).sum())


def likeness(x: Tensor) -> float:
    """Mean cosine between x (B, ...) of each image and of the next: 1 if the net tells none apart."""
    flat = F.normalize(x.double().flatten(1), dim=1)
    return float((flat * flat.roll(1, 0)).sum(1).mean())


def one_sided(x: Tensor, share: float = 0.99) -> float:
    """The share of channels of x (B, C, H, W) whose values have one sign in at least `share` of all places.

    A ReLU is dead or linear on such a channel.
    """
    positive = (x > 0).double().mean((0, 2, 3))
    return float((torch.maximum(positive, 1 - positive) >= share).double().mean())


@torch.no_grad()
def depth_statistics(
    images: Tensor, depth: int, width: int, norm: bool, generator: torch.Generator
) -> list[dict[str, float]]:
    """What each ReLU of a deep plain net reads at initialisation, from the first on.

    `depth` times a 3x3 convolution, a norm if asked for, and a ReLU, `width` channels each. Filters are
    drawn with variance 2 / fan_in (He et al., 2015), so that the mean square neither grows nor shrinks.

    Args:
        images: (B, C, H, W), normalised.
        generator: on the CPU.
    """
    x, found = images.float(), []
    for layer in range(depth):
        conv = Conv2d(x.shape[1], width, kernel=3).to(x.device)
        conv.reset(generator)
        conv.weight.mul_(math.sqrt(6))  # the reset's variance is 1 / (3 fan_in)
        z = conv(x)
        if norm:
            normed = BatchNorm(width, Norm()).to(x.device)
            normed.reset(generator)
            z = normed(z)
        found.append(
            {
                "layer": layer + 1,
                "mean_share": mean_share(z),
                "likeness": likeness(z),
                "one_sided": one_sided(z),
            }
        )
        x = F.relu(z)
    return found


@dataclass(frozen=True)
class Moments:
    """Of each image and channel of x (N, C, H, W): the mean over places and the mean square, (N, C)."""

    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        x = x.double()
        return cls(x.mean((2, 3)), x.square().mean((2, 3)))

    def over(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (groups, C) over each group of images in `index` (groups, n)."""
        parts = index.split(256)  # what is gathered is n times as much as what comes out
        mean = torch.cat([self.mean[part].mean(1) for part in parts])
        square = torch.cat([self.square[part].mean(1) for part in parts])
        return mean, square - mean.square()


@dataclass(frozen=True)
class Spread:
    """How much statistics over n images vary from group to group.

    Args:
        n: images a group.
        mean: sd of a group's mean over the channel's sd, root mean square over channels.
        var: sd of a group's variance over the channel's variance, likewise.
        output: sd of what one and the same value becomes when a group's statistics normalise it.
        predicted_mean: what `mean` must be if images are independent draws: the images' means spread by s,
            groups' means by s / sqrt(n).
    """

    n: int
    mean: float
    var: float
    output: float
    predicted_mean: float


def statistics_spread(moments: Moments, probes: Tensor, n: int, groups: int, seed: int) -> Spread:
    """The spread over `groups` random groups of `n` images, drawn with replacement, as from an endless set.

    Args:
        probes: (K, C), values of the channels that are normalised with each group's statistics.
    """
    count = len(moments.mean)
    index = torch.randint(count, (groups, n), generator=torch.Generator().manual_seed(seed))
    means, variances = moments.over(index.to(moments.mean.device))
    mean = moments.mean.mean(0)
    var = moments.square.mean(0) - mean.square()
    live = var > 1e-12 * var.max()  # a channel that never varies has no noise to compare with

    def rms(t: Tensor) -> float:
        return float(t[..., live].square().mean().sqrt())

    normed = (probes.double() - means[:, None]) / (variances[:, None] + Norm().eps).sqrt()
    between = moments.mean.std(0, correction=0) / var.sqrt() / math.sqrt(n)
    return Spread(
        n,
        rms(means.std(0) / var.sqrt()),
        rms(variances.std(0) / var),
        rms(normed.std(0)),
        rms(between),
    )
