"""A net that no longer learns, made fast: norms folded into the convolutions before them, in one dtype."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hotlap.machine.backend import Backend
from hotlap.machine.device import doubled
from hotlap.machine.kernels import frozen
from hotlap.nets.layers import Conv2d, sides
from hotlap.nets.network import Network
from hotlap.nets.norms import BatchNorm

MOST = {nn.ReLU: math.inf, nn.ReLU6: 6.0}  # activations that a convolution does at once
IMAGES_A_THREAD = 4  # whose activations stay in a CPU's caches from layer to layer


class FoldedConv(nn.Module):
    """act(norm(conv(x))) of known statistics. Input (B, C_in, H, W) of its dtype, output as conv's.

    Args:
        most: the activation clamps from 0 to this; None is no activation.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: Conv2d, norm: BatchNorm, most: float | None, dtype: torch.dtype):
        super().__init__()
        scale = doubled(norm.weight) / (doubled(norm.running_var) + norm.norm.eps).sqrt()
        weight = doubled(conv.weight) * scale[:, None, None, None]
        bias = doubled(norm.bias) - doubled(norm.running_mean) * scale
        on = conv.weight.device
        self.register_buffer("weight", weight.to(on, dtype).to(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.to(on, dtype))
        self.kernel, self.stride, self.same = conv.kernel, conv.stride, conv.same
        self.held = frozen.Frozen(self.weight, self.bias, conv.stride, conv.groups, most)
        own = on.type == "cpu" and frozen.possible(self.weight, conv.stride, conv.groups, most)
        if own and frozen.pays(dtype, torch.get_num_threads()):
            taps = frozen.pack(weight, bias, dtype)  # not rounded: our own kernel multiplies in float32
            self.held = frozen.Frozen(self.weight, self.bias, conv.stride, conv.groups, most, taps)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (sides(n, self.kernel, self.stride, self.same) for n in x.shape[2:])
        return frozen.convolution(x, self.held, rows, columns)


class FrozenNetwork(Network):
    """A net for use only: what `folded` makes."""

    def __init__(self, network: Network, backend: Backend):
        super().__init__(network.body, network.head)
        self.backend = backend

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """As `Network.features`, of normalised images (B, C, H, W) of any dtype and layout."""
        x = x.to(self.backend.device, self.backend.dtype, memory_format=self.backend.format)
        return in_parts(super().features, x)


class FrozenFront(nn.Module):
    """The first stages of a net, for use only: what `folded_front` makes."""

    def __init__(self, parts: list[nn.Module]):
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return in_parts(self.parts, x)


def in_parts(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """network(x); on a CPU a few images at a time."""
    few = IMAGES_A_THREAD * torch.get_num_threads()
    if x.device.type != "cpu" or len(x) <= few:
        return network(x)
    return torch.cat([network(part) for part in x.split(few)])


def folded(network: Network, backend: Backend) -> FrozenNetwork:
    """A copy of a net in evaluation, in the backend's arithmetic, for images that need no gradient.

    A norm that follows a convolution becomes part of it, as does a ReLU or ReLU6 after that; others stay.
    Results differ from the net's own by rounding alone. The copy does not follow the net if that learns on.
    """
    made = copy.deepcopy(network).requires_grad_(False).to(backend.device).eval()
    fold_all(made, backend.dtype)
    return FrozenNetwork(made, backend).eval()


def folded_front(network: Network, stages: int, dtype: torch.dtype) -> FrozenFront:
    """A copy of a net's first stages as they are now, in `dtype`, made fast as `folded` does."""
    made = FrozenFront(copy.deepcopy(network.first(stages))).requires_grad_(False).eval()
    fold_all(made, dtype)
    return made


def fold_all(module: nn.Module, dtype: torch.dtype) -> None:
    """Fold every sequence in the module, in place."""
    for part in list(module.modules()):
        if isinstance(part, nn.Sequential):
            fold(part, dtype)


def fold(chain: nn.Sequential, dtype: torch.dtype) -> None:
    """Put a `FoldedConv` in the place of each convolution of the chain that a norm follows, in place."""
    named = list(chain.named_children())
    for i, (name, conv) in enumerate(named):
        norm, act = [module for _, module in (*named[i + 1 : i + 3], ("", None), ("", None))][:2]
        if not (isinstance(conv, Conv2d) and isinstance(norm, BatchNorm)):
            continue
        most = MOST.get(type(act)) if act is not None else None
        setattr(chain, name, FoldedConv(conv, norm, most, dtype))
        for other, _ in named[i + 1 : i + 2 + (most is not None)]:
            delattr(chain, other)
