"""Where a run's weights come from before its first step, and how its classifier is found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scratch:
    """Weights are drawn anew from the seed."""


@dataclass(frozen=True)
class ImageNet:
    """Weights learnt on ImageNet, for nets that there are such for."""


@dataclass(frozen=True)
class FromRun:
    """The weights of another run, or of a safetensors file: those whose names and shapes the net has.

    Args:
        path: a run's folder, or a file.
    """

    path: str = ""


Start = Scratch | ImageNet | FromRun


@dataclass(frozen=True)
class LearntHead:
    """The classifier learns with the rest of the net, step by step."""


@dataclass(frozen=True)
class FittedHead:
    """The classifier is fitted before the first step, on the features of the net as it starts.

    They are computed once and kept. With `epochs` at 0 there are no steps, and the net stays as it is.

    Args:
        mirror: whether each image's mirror is looked at too.
    """

    mirror: bool = True


Head = LearntHead | FittedHead
