"""The C++ kernels as differentiable functions, and what they can be asked for."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from hotlap.machine.kernels.activations import ACTIVATIONS
from hotlap.machine.kernels.build import library, library_fp32

LANES = 16  # channels come in such numbers
MOST_CHANNELS = 1 << 14  # of what winograd.h takes


class Shape(ctypes.Structure):
    """`Shape` of cpu.cpp: of x, the side that the largest is taken of, the parts of the batch."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in ("images", "height", "width", "channels", "pool", "splits", "strided")
    ]


def library_of(dtype: torch.dtype) -> ctypes.CDLL | str:
    """The kernels for activations of a dtype, or in words why there are none."""
    if dtype == torch.bfloat16:
        return library()
    return library_fp32() if dtype == torch.float32 else f"there are none for {dtype}"


def fits(x: Tensor) -> bool:
    """Whether the kernels take this tensor (B, C, H, W): bfloat16 or float32, channels-last, on the CPU."""
    return (
        x.device.type == "cpu"
        and x.is_contiguous(memory_format=torch.channels_last)
        and not isinstance(library_of(x.dtype), str)
    )


def takes_convolution(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether `Convolution` takes a convolution of `x` by `weight`: in float32, one that `is_ours`."""
    return (
        stride == 1
        and weight.shape[0] % LANES == 0
        and max(weight.shape) <= MOST_CHANNELS
        and (x.dtype == torch.bfloat16 or is_ours(weight, padding))
        and fits(x)
    )


@functools.cache
def in_tiles() -> bool:
    """Whether convolutions run on the processor's tile unit (AMX), and not in fewer products (Winograd)."""
    return bool(_lib(torch.bfloat16).amx())


def tiled(dtype: torch.dtype) -> bool:
    """Whether convolutions of a dtype run `in_tiles`, which are bfloat16."""
    return dtype == torch.bfloat16 and in_tiles()


def is_ours(weight: Tensor, padding: int) -> bool:
    """Whether our kernels do all of a convolution, and not its weight gradient alone: 3x3, padded by one."""
    return weight.shape[2:] == (3, 3) and padding == 1


def flops_done(dtype: torch.dtype, images: int, height: int, width: int, c_in: int, c_out: int) -> int:
    """FLOPs of the matrix products that a convolution comes to where it `is_ours`."""
    if not tiled(dtype):  # 36 for each tile of 4x4 pixels
        return 2 * 36 * images * -(-height // 4) * -(-width // 4) * c_in * c_out
    rounded = [-(-n // 32) * 32 for n in (images, c_in, c_out)]  # padding is skipped
    return 2 * math.prod(rounded) * (3 * height - 2) * (3 * width - 2)


def convolution(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """A convolution with stride 1, (B, C_out, H', W') of x's dtype, channels-last.

    Where it `is_ours` and in bfloat16 and not `in_tiles`, each result is off by about 1.2% of their size:
    windows and filters are rounded to bfloat16 after they are transformed. In float32 it is 2e-6. Where it is
    not ours it is PyTorch's.

    Args:
        x: (B, C_in, H, W) bfloat16 or float32, channels-last.
        weight: (C_out, C_in, k, k), float32 or float64.
        padding: pixels.
    """
    if not is_ours(weight, padding):
        return F.conv2d(x, weight.to(x.dtype), padding=padding)
    b, _, height, width = x.shape
    return _convolution(x, None, weight, (b, weight.shape[0], height, width), None, False)


def convolution_pool(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each 2x2 pixels of a convolution (see `convolution`) by 3x3 filters with a padding of
    one pixel, without the convolution's own result ever being written.

    Returns:
        The pooled result (B, C_out, H // 2, W // 2) of x's dtype, channels-last; and which of the four pixels
        each is, row by row from 0, uint8 in the order of the result's memory.
    """
    b, _, height, width = x.shape
    shape = (b, weight.shape[0], height // 2, width // 2)
    which = torch.empty(math.prod(shape), dtype=torch.uint8)
    return _convolution(x, None, weight, shape, which, False), which


def input_gradient(
    x: Tensor, weight: Tensor, grad: Tensor, padding: int, which: Tensor | None = None
) -> Tensor:
    """The gradient of a convolution's input `x`, of its shape and dtype, channels-last.

    Args:
        x, weight: as for `convolution`, as is what is said there of rounding.
        grad: of the output, (B, C_out, H', W') of x's dtype, channels-last.
        padding: pixels; the stride is 1.
        which: where `grad` is of the result of `convolution_pool`, what that gave with it.
    """
    if is_ours(weight, padding):
        return _convolution(grad, which, weight, tuple(x.shape), None, True)
    ones = (1, 1)
    dx: Tensor = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight.to(x.dtype),
        None,
        ones,
        (padding, padding),
        ones,
        False,
        (0, 0),
        1,
        (True, False, False),
    )[0]
    return dx


def _convolution(
    x: Tensor,
    x_which: Tensor | None,
    weight: Tensor,
    shape: tuple[int, ...],
    which: Tensor | None,
    gradient: bool,
) -> Tensor:
    """What `amx.cpp`, `winograd.cpp` or `winograd_fp32.cpp` makes of `x`: a result of `shape`; one of the two
    may be pooled."""
    out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    w = weight.detach().float().contiguous(memory_format=torch.channels_last)
    b, _, height, width = out.shape if x_which is not None else x.shape
    sizes = b, height, width, w.shape[1], w.shape[0]
    lib = _lib(x.dtype)
    run = lib.amx_convolution if tiled(x.dtype) else lib.winograd_convolution
    run(*_at(x, x_which, w, out, which), *sizes, int(gradient))
    return out


def weight_gradient(
    x: Tensor, grad: Tensor, kernel: int, padding: int, which: Tensor | None = None
) -> Tensor:
    """The gradient of a convolution's filters, (C_out, C_in, k, k) float32, channels-last.

    Products are of x's dtype, sums of float32. Padding is skipped, not multiplied. Where it `is_ours` and in
    bfloat16 and not `in_tiles`, each result is off by about 1.2% of their size.

    Args:
        x, grad: the convolution's input (B, C_in, H, W) and the gradient of its output (B, C_out, H', W'),
            bfloat16 or, where it `is_ours`, float32, channels-last; C_out in sixteens.
        kernel, padding: pixels; the stride is 1.
        which: where `grad` is of the result of `convolution_pool`, what that gave with it.
    """
    lib, tiles = _lib(x.dtype), tiled(x.dtype)
    b, c_in, height, width = x.shape
    c_out = grad.shape[1]
    out = torch.empty(c_out, c_in, kernel, kernel).contiguous(memory_format=torch.channels_last)
    sizes = b, height, width, c_in, c_out
    if is_ours(out, padding):
        run = lib.amx_weight_gradient if tiles else lib.winograd_weight_gradient
        run(*_at(x, grad, which, out), *sizes)
    else:
        run = lib.amx_any_weight_gradient if tiles else lib.weight_gradient
        run(*_at(x, grad, out), *sizes, kernel, padding)
    return out


class Convolution(torch.autograd.Function):
    """A convolution without bias and with stride 1: see `convolution` and its gradients.

    Input (B, C_in, H, W), filters (C_out, C_in, k, k) float32, output (B, C_out, H', W'). The filters'
    gradient comes in float32, not rounded to bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return convolution(x, weight, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = input_gradient(x, weight, grad, ctx.padding)
        if ctx.needs_input_grad[1]:
            dw = weight_gradient(x, grad, weight.shape[-1], ctx.padding)
        return dx, dw, None


class ConvolutionPool(torch.autograd.Function):
    """`convolution_pool`, its result alone. Input (B, C_in, H, W), filters (C_out, C_in, 3, 3) float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        out, which = convolution_pool(x, weight)
        ctx.save_for_backward(x, weight, which)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight, which = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        dx = input_gradient(x, weight, grad, 1, which) if ctx.needs_input_grad[0] else None
        dw = weight_gradient(x, grad, 3, 1, which) if ctx.needs_input_grad[1] else None
        return dx, dw


class PoolNormAct(torch.autograd.Function):
    """act(batch_norm(max_pool(x))) in two passes over the data forward, and two backward.

    Args, after `x` (B, C, H, W) bfloat16 or float32, channels-last, with C in sixteens:
        weight, bias: of the norm, (C,) float32.
        running_mean, running_var: (C,) float32, updated in place while training, and used if not.
        pool: whether the largest of each 2 x 2 pixels is taken first.
        training: whether the statistics are the batch's.
        splits, strided: parts of the batch that are normalised apart, and how they are taken; see `Norm`.
        momentum, eps: of the norm.
        act, alpha: the activation's name, and CELU's alpha.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        pool: bool,
        training: bool,
        splits: int,
        strided: bool,
        momentum: float,
        eps: float,
        act: str,
        alpha: float,
    ) -> Tensor:
        b, channels, height, width = x.shape
        side = 2 if pool else 1
        parts = splits if training else 1
        shape = Shape(b, height, width, channels, side, parts, int(strided))
        out = torch.empty(
            (b, channels, height // side, width // side), dtype=x.dtype, memory_format=torch.channels_last
        )
        middle = torch.empty_like(out) if pool else x
        where = torch.empty(out.numel() if pool else 0, dtype=torch.uint8)
        mean, invstd, var = (torch.empty(parts, channels) for _ in range(3))
        if not training:
            mean.copy_(running_mean)
            invstd.copy_(torch.rsqrt(running_var + eps))
        kind = ACTIVATIONS[act]
        _lib(x.dtype).pool_norm_act(
            ctypes.byref(shape),
            kind,
            alpha,
            *_at(x, weight, bias),
            eps,
            int(not training),
            *_at(mean, invstd, var, middle, where, out),
        )
        if training:
            n = out.numel() // (parts * channels)
            running_mean.lerp_(mean.mean(0), momentum)
            running_var.lerp_(var.mean(0) * (n / max(n - 1, 1)), momentum)  # unbiased, as PyTorch keeps it
        ctx.save_for_backward(middle, where, weight, bias, mean, invstd)
        ctx.shape, ctx.kind, ctx.alpha, ctx.x_shape, ctx.training = shape, kind, alpha, x.shape, training
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.training:
            raise NotImplementedError("no gradient through a norm with known statistics")
        middle, where, weight, bias, mean, invstd = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        dx = torch.empty(ctx.x_shape, dtype=grad.dtype, memory_format=torch.channels_last)
        scratch = torch.empty_like(middle) if ctx.shape.pool == 2 else dx
        dweight, dbias = torch.empty_like(weight), torch.empty_like(bias)
        _lib(grad.dtype).pool_norm_act_backward(
            ctypes.byref(ctx.shape),
            ctx.kind,
            ctx.alpha,
            *_at(grad, middle, where, weight, bias, mean, invstd, scratch, dx, dweight, dbias),
        )
        return dx, dweight if ctx.needs_input_grad[1] else None, dbias, *[None] * 10


def _lib(dtype: torch.dtype) -> ctypes.CDLL:
    lib = library_of(dtype)
    assert isinstance(lib, ctypes.CDLL), lib
    return lib


def _at(*tensors: Tensor | None) -> list[int | None]:
    return [None if t is None else t.data_ptr() for t in tensors]
