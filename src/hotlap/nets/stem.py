"""First layers, shared by the nets."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from hotlap.nets import layers, norms
from hotlap.nets.describe import Norm, Stem, WhitenStem
from hotlap.spec import DataSpec


def build_stem(
    stem: Stem,
    spec: DataSpec,
    width: int,
    norm: Norm,
    act: Callable[[], nn.Module],
    *,
    zero_bias: bool = False,
) -> tuple[nn.Sequential, int]:
    """The stem's module and the number of channels it puts out.

    A whitening stem without a pointwise convolution puts out its own number of filters and ends before
    the activation; all others put out `width` channels and end after it.
    """
    out = layers.Chain()
    if isinstance(stem, WhitenStem):
        whiten = layers.Whiten(spec.channels, stem, zero_bias)
        out.add_module("whiten", whiten)
        filters = whiten.weight.shape[0]
        if not stem.pointwise:
            return out, filters
        out.add_module("conv", layers.Conv2d(filters, width, kernel=1))
    else:
        out.add_module("conv", layers.Conv2d(spec.channels, width, kernel=3))
    out.add_module("norm", norms.BatchNorm(width, norm))
    out.add_module("act", act())
    return out, width
