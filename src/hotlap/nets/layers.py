"""The layers all nets are made of.

Weights are kept in float32 (or float64) and follow the dtype of the activations when they are used, so
the precision of a run is the dtype of its input batch and nothing else. Norms compute their statistics
in float32 whatever the activations are; the head computes in the dtype of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.machine.device import doubled
from hotlap.machine.kernels.choice import used
from hotlap.machine.kernels.cpu import Convolution, ConvolutionPool, is_ours, takes_convolution
from hotlap.machine.kernels.functions import pool_norm_act, takes_norm
from hotlap.machine.numerics import Kernels
from hotlap.nets.describe import ROLES, Activation, Norm, Role, WhitenStem


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


class BatchNorm(nn.Module):
    """Batch norm, plain or ghost. Input and output (B, C, H, W); see `Norm` for the settings.

    In training B must divide into `splits`, which `hotlap.checks` sees to.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, norm: Norm):
        super().__init__()
        self.norm = norm
        self.weight = nn.Parameter(torch.empty(channels), requires_grad=norm.scale)
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))
        self.train()

    def train(self, mode: bool = True) -> BatchNorm:
        return super().train(mode and self.norm.statistics == "batch")

    def reset(self, generator: torch.Generator) -> None:
        self.weight.data.fill_(1)
        if self.norm.scale_init == "uniform":
            self.weight.data.copy_(torch.empty(self.weight.shape).uniform_(generator=generator))
        self.bias.data.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        held = (self.running_mean, self.running_var, self.weight, self.bias)
        if n.precision == "half":
            held = tuple(t.to(x.dtype) for t in held)  # type: ignore[assignment]
        mean, var, weight, bias = held
        if self.training and n.splits > 1:
            out: Tensor = GhostNorm.apply(  # type: ignore[no-untyped-call]
                x, weight, bias, mean, var, n.splits, n.grouping, n.momentum, n.eps
            )
        else:
            out = F.batch_norm(x, mean, var, weight, bias, self.training, n.momentum, n.eps)
        if self.training and mean is not self.running_mean:  # they were updated in half precision
            with torch.no_grad():
                self.running_mean.copy_(mean)
                self.running_var.copy_(var)
        return out


def split_batch(x: Tensor, splits: int, grouping: str) -> list[Tensor]:
    """Views of x (B, ...), one for each part: x[s::splits] if strided, neighbours if contiguous."""
    if grouping == "strided":
        return [x[s::splits] for s in range(splits)]
    return list(x.chunk(splits))


class GhostNorm(torch.autograd.Function):
    """Batch norm of each part of a batch by itself, with the running statistics averaged over the parts.

    One part is small enough to stay in a CPU's cache, and each goes through PyTorch's own fused kernel.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean_running: Tensor,
        var_running: Tensor,
        splits: int,
        grouping: str,
        momentum: float,
        eps: float,
    ) -> Tensor:
        out, means, invstds = torch.empty_like(x), [], []
        layout = memory_format_of(x)
        for x_s, out_s in zip(
            split_batch(x, splits, grouping), split_batch(out, splits, grouping), strict=True
        ):
            part = x_s.contiguous(memory_format=layout)
            y, mean, invstd = torch.native_batch_norm(part, weight, bias, None, None, True, 0.0, eps)
            out_s.copy_(y)
            means.append(mean)
            invstds.append(invstd)
        mean, invstd = torch.stack(means), torch.stack(invstds)
        n = x.numel() // (splits * x.shape[1])
        var = (invstd.pow(-2) - eps) * (n / max(n - 1, 1))  # unbiased, as PyTorch keeps it
        mean_running.lerp_(mean.mean(0).to(mean_running.dtype), momentum)
        var_running.lerp_(var.mean(0).to(var_running.dtype), momentum)
        ctx.save_for_backward(x, weight, mean, invstd)
        ctx.splits, ctx.grouping, ctx.eps = splits, grouping, eps
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd = ctx.saved_tensors
        layout = memory_format_of(x)
        dx, dw, db = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        parts = (split_batch(t, ctx.splits, ctx.grouping) for t in (x, grad, dx))
        wanted = [True, ctx.needs_input_grad[1], True]
        for s, (x_s, grad_s, dx_s) in enumerate(zip(*parts, strict=True)):
            x_s, grad_s = (t.contiguous(memory_format=layout) for t in (x_s, grad_s))
            dx_part, dw_part, db_part = torch.ops.aten.native_batch_norm_backward(
                grad_s, x_s, weight, None, None, mean[s], invstd[s], True, ctx.eps, wanted
            )
            dx_s.copy_(dx_part)
            db += db_part
            if wanted[1]:
                dw += dw_part
        return dx, dw if wanted[1] else None, db, *[None] * 6


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
        return F.conv2d(x, self.weight.to(x.dtype), bias, padding=self.stem.padding)


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


class Dropout(nn.Module):
    """In training a share of x is set to 0 and the rest made larger, so that its mean stays; else nothing.

    Once `step` is set, which ones depends on it and on nothing else: a step that is captured and replayed
    leaves out others each time, and a run that is resumed the same as one that was not interrupted.
    """

    step: Tensor | None = None  # (1,) int64, on the device

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        if self.step is None:
            return F.dropout(x, self.share)
        places = torch.arange(x.numel(), device=x.device) + self.step * x.numel()
        keep = (uniform(places) >= self.share).reshape(x.shape)
        return x * keep / (1 - self.share)


def uniform(counters: Tensor) -> Tensor:
    """Float32 numbers from 0 to below 1, each made of one int64: SplitMix64 (Steele, 2014)."""
    z = counters * signed(0x9E3779B97F4A7C15)
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * signed(0xBF58476D1CE4E5B9)  # torch's shift copies the sign: masked
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * signed(0x94D049BB133111EB)
    z = z ^ (z >> 31 & (1 << 33) - 1)
    return (z >> 40 & (1 << 24) - 1).float() / (1 << 24)


def signed(word: int) -> int:
    """The signed number that has the same 64 bits, the first of which is set."""
    return word - (1 << 64)


class Network(nn.Module):
    """A net as the program uses it.

    Args:
        body: images (B, C, H, W) to features (B, F).
        head: features to logits (B, classes).
        dropout: share of the features that the head does not see in training.
    """

    def __init__(self, body: nn.Module, head: Linear, dropout: float = 0.0):
        super().__init__()
        self.body, self.head = body, head
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.front: tuple[nn.Module, int] | None = None  # not as a module: the net has its weights once

    def features(self, x: Tensor) -> Tensor:
        """What the head reads of images (B, C, H, W): (B, F)."""
        if self.training and self.front:
            fast, stands_for = self.front
            with torch.no_grad():
                x = fast(x)
            for part in list(self.body.children())[stands_for:]:
                x = part(x)
            return x
        out: Tensor = self.body(x)
        return out

    def first(self, stages: int) -> list[nn.Module]:
        """The parts of the body up to the stage of this number, from 1."""
        parts = list(self.body.children())
        ends = [i + 1 for i, part in enumerate(parts) if any(True for _ in part.parameters())]
        return parts[: ends[stages - 1]]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.dropout(self.features(x)))
        return out

    def follow(self, step: Tensor) -> None:
        """Draw what is random in a training step from the step's number, (1,) int64 on the device."""
        if isinstance(self.dropout, Dropout):
            self.dropout.step = step

    def reset(self, generator: torch.Generator) -> None:
        """Draw all parameters again, in place, from a CPU generator: the same on every device."""
        for module in self.modules():
            if isinstance(module, Conv2d | Linear | BatchNorm | Whiten):
                module.reset(generator)

    def use_kernels(self, kernels: Kernels) -> None:
        """Let our own kernels stand in for PyTorch's operations, where they take what comes."""
        for module in self.modules():
            if isinstance(module, Conv2d):
                module.native = module.groups == 1 and used(kernels, "convolution")
            elif isinstance(module, Chain):
                module.native = used(kernels, "pool_norm_act")

    @property
    def calibration_images(self) -> int:
        """How many training images `calibrate` wants; 0 if none."""
        return max((m.stem.images for m in self.modules() if isinstance(m, Whiten)), default=0)

    def calibrate(self, images: Tensor) -> None:
        """Set what is computed from data: images (N, C, H, W), normalised, in the weights' dtype."""
        for module in self.modules():
            if isinstance(module, Whiten):
                module.calibrate(images)

    def stages(self) -> list[list[str]]:
        """Names of the trainable parameters of each stage, from the input on: the stem, then each group or
        layer. A stem that is all fixed is a stage without any."""
        roles = self.roles()
        parts = [
            part for part, module in self.body.named_children() if any(True for _ in module.parameters())
        ]
        return [[name for name in roles if name.startswith(f"body.{part}.")] for part in parts]

    def roles(self) -> dict[str, Role]:
        """The role of each trainable parameter, by name."""
        found: dict[str, Role] = {}
        owner: dict[str, nn.Module] = dict(self.named_modules())
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                path, _, leaf = name.rpartition(".")
                found[name] = role_of(owner[path], leaf)
        return found


def role_of(module: nn.Module, leaf: str) -> Role:
    kinds = {Conv2d: "filter", BatchNorm: f"norm_{leaf}", Whiten: "stem_bias", Linear: f"head_{leaf}"}
    role = kinds[type(module)]
    assert role in ROLES, role
    return role


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


def memory_format_of(x: Tensor) -> torch.memory_format:
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
