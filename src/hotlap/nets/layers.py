"""The layers all nets are made of.

Weights are kept in float32 (or float64) and follow the dtype of the activations when they are used, so
the precision of a run is the dtype of its input batch and nothing else. Norms compute their statistics
in float32 whatever the activations are; the head computes in the dtype of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.machine.device import doubled
from hotlap.machine.kernels.cpu import Convolution, ConvolutionPool, is_ours, takes_convolution
from hotlap.machine.kernels.functions import pool_norm_act, takes_norm
from hotlap.nets.describe import Activation, WhitenStem
from hotlap.nets.norms import BatchNorm


class Conv2d(nn.Module):
    """A convolution without bias. Input (B, C_in, H, W), output (B, C_out, H / stride, W / stride).

    Sizes that do not divide are rounded up.

    Args:
        kernel: size, pixels; an even one is padded by one pixel more at the bottom and right.
        groups: parts that the channels are divided into; C_in of them convolve each channel by itself.
        padding: `half` the kernel on every side; or `same`, as TensorFlow has it: with a stride, no more than
            the output needs, an odd pixel of it at the bottom and right.
        init: `default` is PyTorch's (uniform, bound 1 / sqrt(fan_in)); `dirac` then makes the first C_in
            filters the identity.
    """

    native = False  # whether our own kernels do it, where they take it

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: Literal["half", "same"] = "half",
        init: str = "default",
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in // groups, kernel, kernel))
        self.kernel, self.stride, self.groups, self.init = kernel, stride, groups, init
        self.padding, self.uneven = (kernel - 1) // 2, kernel % 2 == 0
        self.same = padding == "same" and stride > 1  # without a stride the two are one

    def reset(self, generator: torch.Generator) -> None:
        fill_uniform(self.weight, fan_in=self.weight[0].numel(), generator=generator)
        if self.init == "dirac":
            nn.init.dirac_(self.weight.data[: self.weight.shape[1]])

    def forward(self, x: Tensor) -> Tensor:
        stride = self.stride
        if self.same:
            rows, columns = (sides(n, self.kernel, stride, same=True) for n in x.shape[2:])
            x = F.pad(x, (*columns, *rows))
            return F.conv2d(x, self.weight.to(x.dtype), stride=stride, groups=self.groups)
        if self.uneven:
            x = F.pad(x, (0, 1, 0, 1))
        if self.kernel == 1 and stride > 1:
            # the same function; torch 2.13's own kernel crashes in its backward pass with 4 or 8 channels of
            # channels-last float32 on images of 48 pixels
            x, stride = x[:, :, ::stride, ::stride], 1
        if self.native and takes_convolution(x, self.weight, stride, self.padding):
            out: Tensor = Convolution.apply(x, self.weight, self.padding)  # type: ignore[no-untyped-call]
            return out
        return F.conv2d(x, self.weight.to(x.dtype), stride=stride, padding=self.padding, groups=self.groups)


def sides(length: int, kernel: int, stride: int, same: bool) -> tuple[int, int]:
    """Pixels of padding before and after one dimension of a convolution's input, `length` pixels long."""
    rounded_up = -(-length // stride)
    total = max((rounded_up - 1) * stride + kernel - length, 0) if same else kernel - 1
    return total // 2, total - total // 2


class Linear(nn.Module):
    """The classifier. Input (B, features), output (B, classes) in the weights' dtype, times `scale`.

    Args:
        unit: whether the initial weights are rescaled to standard deviation 1.
    """

    def __init__(self, features: int, classes: int, *, bias: bool, unit: bool, scale: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.bias = nn.Parameter(torch.empty(classes)) if bias else None
        self.unit, self.scale = unit, scale

    def reset(self, generator: torch.Generator) -> None:
        fill_uniform(self.weight, fan_in=self.weight.shape[1], generator=generator)
        if self.bias is not None:
            fill_uniform(self.bias, fan_in=self.weight.shape[1], generator=generator)
        if self.unit:
            self.weight.data.div_(self.weight.data.std())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias) * self.scale


class Chain(nn.Sequential):
    """Modules in sequence; convolution and pool, and pool, norm and activation, run as one kernel of ours
    where that takes them."""

    native = False

    def forward(self, x: Tensor) -> Tensor:
        rest = list(self)
        while rest:
            if pools_at_once(rest, x):
                x = ConvolutionPool.apply(x, rest[0].weight)  # type: ignore[no-untyped-call]
                count = 2
            elif count := together(rest) if self.native and takes_norm(x) else 0:
                x = one_kernel(rest[:count], x)
            else:
                x, count = rest[0](x), 1
            rest = rest[count:]
        return x


def halves(module: nn.Module) -> bool:
    """Whether a module is the pool that our kernels know: the largest of each 2x2 pixels."""
    return isinstance(module, nn.MaxPool2d) and (module.kernel_size, module.stride, module.padding) == (
        2,
        2,
        0,
    )


def watched(modules: Sequence[nn.Module]) -> bool:
    """Whether a hook wants to see what a module reads or makes."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in modules)


def pools_at_once(modules: list[nn.Module], x: Tensor) -> bool:
    """Whether the first two modules are a convolution and a pool that `ConvolutionPool` takes."""
    conv, *more = modules[:2]
    return (
        isinstance(conv, Conv2d)
        and bool(more)
        and halves(more[0])
        and conv.native
        and min(x.shape[2:]) > 1
        and takes_convolution(x, conv.weight, conv.stride, conv.padding)
        and is_ours(conv.weight, conv.padding)
        and not watched(modules[:2])
    )


def together(modules: list[nn.Module]) -> int:
    """How many modules from the first on `one_kernel` takes: a pool or none, a norm and an activation."""
    pool = halves(modules[0])
    unit = modules[: 2 + pool]
    if len(unit) < 2 + pool or watched(unit):
        return 0
    norm, act = unit[-2:]
    fits = isinstance(norm, BatchNorm) and norm.norm.precision == "fp32" and type(act) in ACTIVATIONS
    backward_known = norm.training or not torch.is_grad_enabled()
    return len(unit) if fits and backward_known else 0


def one_kernel(modules: list[nn.Module], x: Tensor) -> Tensor:
    """What the modules (see `together`) make of `x`."""
    module, act = modules[-2:]
    assert isinstance(module, BatchNorm)
    n = module.norm
    return pool_norm_act(
        x,
        module.weight,
        module.bias,
        module.running_mean,
        module.running_var,
        len(modules) == 3,
        module.training,
        n.splits,
        n.grouping == "strided",
        n.momentum,
        n.eps,
        ACTIVATIONS[type(act)],
        getattr(act, "alpha", 1.0),
    )


class Whiten(nn.Module):
    """A fixed convolution that whitens patches. Input (B, C, H, W), output (B, signs * C * k * k, H', W')."""

    def __init__(self, channels: int, stem: WhitenStem, zero_bias: bool = False):
        super().__init__()
        self.stem, self.zero_bias = stem, zero_bias
        width = stem.signs * channels * stem.kernel**2
        self.weight = nn.Parameter(
            torch.empty(width, channels, stem.kernel, stem.kernel), requires_grad=False
        )
        self.bias = nn.Parameter(torch.empty(width)) if stem.bias else None

    def reset(self, generator: torch.Generator) -> None:
        if self.bias is not None:  # as PyTorch starts a convolution's bias
            fill_uniform(self.bias, fan_in=self.weight[0].numel(), generator=generator)
            if self.zero_bias:
                self.bias.data.zero_()

    def calibrate(self, images: Tensor) -> None:
        """Set the filters from normalised images (N, C, H, W): eigenvectors of the patch covariance, each
        over the root of its eigenvalue (plus eps), largest first."""
        self.weight.data.copy_(whitening_filters(images, self.stem))

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        before, behind = self.stem.border
        if before != behind:
            x, before = F.pad(x, 2 * self.stem.border), 0
        return F.conv2d(x, self.weight.to(x.dtype), bias, padding=before)


def whitening_filters(images: Tensor, stem: WhitenStem) -> Tensor:
    """Filters (signs * C * k * k, C, k, k) that whiten the k x k patches of images (N, C, H, W)."""
    c, k = images.shape[1], stem.kernel
    cov = torch.zeros(c * k * k, c * k * k, dtype=images.dtype, device=images.device)
    count = 0
    for chunk in images.split(500):  # patches of a few images at a time: they take k * k times the memory
        patches = F.unfold(chunk, k).transpose(1, 2).reshape(-1, c * k * k)
        cov += patches.T @ patches
        count += len(patches)
    # float64: the smallest eigenvalues of an image's patches are thousands of times below the largest
    values, vectors = torch.linalg.eigh(doubled(cov / max(count, 1)))
    filters = (vectors / (values + stem.eps).clamp_min(1e-12).sqrt()).T.flip(0)
    # an eigenvector's sign is the solver's whim: make its largest entry positive, on every machine
    largest = filters.abs().argmax(1, keepdim=True)
    filters = filters * filters.gather(1, largest).sign()
    if stem.signs == 2:
        filters = torch.cat((filters, -filters))
    out: Tensor = filters.reshape(-1, c, k, k).to(images.device, images.dtype)
    return out


class GlobalPool(nn.Module):
    """(B, C, H, W) to (B, C) or (B, 2 C): the largest value of each channel, its mean, or both.

    Args:
        kind: `max`; `mean`, in float32 of half precision; `max_plus_mean` adds the two; `max_and_mean` puts
            them side by side.
    """

    def __init__(self, kind: str = "max"):
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "mean":
            return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
        largest = F.max_pool2d(x, x.shape[-2:]).flatten(1)
        if self.kind == "max":
            return largest
        mean = F.avg_pool2d(x, x.shape[-2:]).flatten(1)
        return largest + mean if self.kind == "max_plus_mean" else torch.cat((largest, mean), dim=1)


ACTIVATIONS = {nn.ReLU: "relu", nn.GELU: "gelu", nn.SiLU: "silu", nn.CELU: "celu"}


def activation(name: Activation, alpha: float) -> Callable[[], nn.Module]:
    """A maker of the named activation."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "celu": lambda: nn.CELU(alpha),
    }
    return makers[name]


def fill_uniform(weight: Tensor, *, fan_in: int, generator: torch.Generator) -> None:
    """Uniform on +-1/sqrt(fan_in), in place: PyTorch's default for convolutions and linear layers."""
    bound = 1 / math.sqrt(fan_in)
    draw = torch.empty(weight.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
    weight.data.copy_(draw)
