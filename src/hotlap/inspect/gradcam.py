"""Where a net looked: Grad-CAM (Selvaraju et al., 2017) on its last map of features.

The channels of the map, each weighted with the mean over places of the logit's gradient with respect to it,
are added up; what speaks against the class is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.nets.network import Network

BATCH = 64  # images that go through the net together


def looked_at(model: Network, x: Tensor, classes: Tensor) -> Tensor:
    """How much each place of an image spoke for a class, (B, H, W) float32 on the CPU, 0 to 1.

    Computed in float32 on the CPU from a copy of the net, by PyTorch's own operations: ours have a backward
    pass for training only. The model, its gradients and its mode stay as they are. Coarse: as fine as the
    last map of features that has more than one place. An image in which nothing speaks for its class is 0
    throughout.

    Args:
        model: in any mode; taken as in evaluation.
        x: (B, C, H, W), normalised as in training; any float dtype, any device.
        classes: (B,) int, numbers of the classes that are asked for.
    """
    copy = deepcopy(model).to("cpu", torch.float32).eval().requires_grad_(False)
    copy.use_kernels("none")
    copy = copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.detach().to("cpu", torch.float32).contiguous(memory_format=torch.channels_last)
    classes = classes.to("cpu", torch.int64)
    if not len(x):
        return x.new_zeros(0, *x.shape[2:])
    place = place_of_last_map(copy, x[:1])
    parts = zip(x.split(BATCH), classes.split(BATCH), strict=True)
    return torch.cat([_looked_at(copy, place, *part) for part in parts])


def _looked_at(model: Network, place: int, x: Tensor, classes: Tensor) -> Tensor:
    features, logits = map_at(model, place, x)
    chosen = logits.gather(1, classes[:, None]).sum()  # no image's logits depend on another's here
    (slope,) = torch.autograd.grad(chosen, features)
    with torch.no_grad():
        spoke = (slope.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
        spoke = F.interpolate(spoke, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        largest = spoke.amax((1, 2), keepdim=True)
        return torch.where(largest > 0, spoke / largest.clamp_min(torch.finfo(spoke.dtype).tiny), 0.0)


@torch.no_grad()
def place_of_last_map(model: Network, x: Tensor) -> int:
    """Which of the results of the body's modules, in the order in which they are made, is the last that is a
    map (B, C', H', W').

    One of a single place says nothing of where: it is taken only if there is no other.
    """
    shapes: list[tuple[int, ...]] = []

    def note(out: Tensor, number: int) -> None:
        shapes.append(tuple(out.shape))

    with watched(model, note):
        model(x)
    maps = [i for i, shape in enumerate(shapes) if len(shape) == 4]
    wide = [i for i in maps if shapes[i][2] * shapes[i][3] > 1]
    return (wide or maps)[-1]


def map_at(model: Network, place: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """The map at a place, (B, C', H', W'), and the logits (B, classes). There is a way back from them to it
    only: what comes before it is computed without one."""
    seen: list[Tensor] = []

    def begin(out: Tensor, number: int) -> Tensor | None:
        if number != place:
            return None
        seen.append(out.detach().requires_grad_())
        return seen[0]

    with torch.enable_grad(), watched(model, begin):
        logits: Tensor = model(x)
    return seen[0], logits


@contextmanager
def watched(model: Network, see: Callable[[Tensor, int], Tensor | None]) -> Iterator[None]:
    """Let `see` look at each tensor that a module of the net's body makes, with its number from 0, and give
    another in its place, or None."""
    numbers = count()

    def hook(module: nn.Module, args: object, out: object) -> Tensor | None:
        return see(out, next(numbers)) if isinstance(out, Tensor) else None

    handles = [module.register_forward_hook(hook) for module in model.body.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
