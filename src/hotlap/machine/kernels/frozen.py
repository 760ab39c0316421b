"""Convolution, bias and clamp in one, for nets that no longer learn: ours, oneDNN's, or PyTorch's two.

Each falls back to the next where it does not take what comes: `convolution` works for any device and dtype.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.errors import UserError
from hotlap.files import user_cache, write_atomic
from hotlap.machine.kernels.build import ANYWHERE, anywhere, key_of
from hotlap.machine.race import race
from hotlap.machine.telling import MEASURING, say

BLOCK = 32  # channels that depthwise.cpp works on together
OWN = {torch.float32: "depthwise_fp32", torch.bfloat16: "depthwise_bf16"}
MOMENT_S = 0.2  # to find out whether our own is faster
Sides = tuple[int, int]


class Shape(ctypes.Structure):
    """`Shape` of depthwise.cpp."""

    _fields_ = [
        *(
            (name, ctypes.c_int)
            for name in ("images", "height", "width", "out_height", "out_width", "channels")
        ),
        *((name, ctypes.c_int) for name in ("kernel", "stride", "above", "left")),
        ("most", ctypes.c_float),
    ]


@dataclass(frozen=True)
class Frozen:
    """A convolution's weights (C_out, C_in / groups, k, k) and bias (C_out,), of the activations' dtype.

    Args:
        most: results are clamped from 0 to this; None clamps nothing.
        taps: the same for our own kernel, as `pack` makes them; None where it is not to be used.
    """

    weight: Tensor
    bias: Tensor
    stride: int
    groups: int
    most: float | None
    taps: Tensor | None = None


def convolution(x: Tensor, conv: Frozen, rows: Sides, columns: Sides) -> Tensor:
    """clamp(conv(x) + bias).

    Args:
        x: (B, C_in, H, W) of the weights' dtype.
        rows, columns: pixels of zero padding above and below, left and right.
    """
    if conv.taps is not None and x.is_contiguous(memory_format=torch.channels_last):
        return depthwise(x, conv, rows, columns)
    if rows != columns or rows[0] != rows[1]:
        x, rows = F.pad(x, (*columns, *rows)), (0, 0)
    if conv.most is None:
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, rows[0], 1, conv.groups)
    if x.device.type == "cpu" and onednn(x.dtype):
        return clamped_at_once(x, conv, rows[0])
    out = F.conv2d(x, conv.weight, conv.bias, conv.stride, rows[0], 1, conv.groups)
    return out.clamp_(0, conv.most)


def clamped_at_once(x: Tensor, conv: Frozen, padding: int) -> Tensor:
    """oneDNN's convolution with the clamp inside, which PyTorch keeps for its compiler; if `onednn`."""
    kind, numbers = ("relu", []) if conv.most == math.inf else ("hardtanh", [0.0, conv.most])
    pair = [conv.stride] * 2, [padding] * 2
    out: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, conv.weight, conv.bias, pair[1], pair[0], [1, 1], conv.groups, kind, numbers, ""
    )
    return out


@functools.cache
def onednn(dtype: torch.dtype) -> bool:
    """Whether `clamped_at_once` works here: it is not of PyTorch's public interface, so it is tried out."""
    x = torch.linspace(-9, 9, 16 * 25).to(dtype).reshape(1, 16, 5, 5).to(memory_format=torch.channels_last)
    weight, bias = torch.linspace(-1, 1, 16 * 16).to(dtype).reshape(16, 16, 1, 1), torch.ones(16, dtype=dtype)
    try:
        found = [clamped_at_once(x, Frozen(weight, bias, 1, 1, most), 0) for most in (6.0, math.inf)]
    except (AttributeError, RuntimeError, TypeError):
        return False
    wanted = F.conv2d(x, weight, bias)
    wide = 0.02 if dtype == torch.bfloat16 else 1e-4
    return all(
        torch.allclose(f, wanted.clamp(0, most), rtol=wide, atol=wide)
        for f, most in zip(found, (6.0, math.inf), strict=True)
    )


# our own, where each channel is convolved by itself


def possible(weight: Tensor, stride: int, groups: int, most: float | None) -> bool:
    """Whether `depthwise` is for such a convolution on the CPU, channels-last."""
    return (
        weight.shape[1] == 1
        and groups == weight.shape[0] >= BLOCK
        and weight.shape[2:] in ((3, 3), (5, 5))
        and stride in (1, 2)
        and most is not None
        and weight.dtype in OWN
        and not isinstance(anywhere(), str)
    )


def pack(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """Filters (C, 1, k, k) and bias (C,) as depthwise.cpp reads them: (blocks, k * k + 1, 32) float32, the
    bias last; for bfloat16 the even channels of a block before the odd ones."""
    channels = len(weight)
    starts = [min(i, channels - BLOCK) for i in range(0, channels, BLOCK)]
    rows = torch.cat((weight.float().flatten(1).T, bias.float()[None]))
    blocks = torch.stack([rows[:, i : i + BLOCK] for i in starts])
    if dtype == torch.bfloat16:
        blocks = torch.cat((blocks[..., ::2], blocks[..., 1::2]), dim=-1)
    return blocks.contiguous()


def depthwise(x: Tensor, conv: Frozen, rows: Sides, columns: Sides) -> Tensor:
    """As `convolution`, if `possible`, of x channels-last; sums are of float32 and rounded once."""
    lib, taps, most = anywhere(), conv.taps, conv.most
    assert isinstance(lib, ctypes.CDLL)
    assert taps is not None
    assert most is not None
    b, channels, height, width = x.shape
    kernel, stride = conv.weight.shape[-1], conv.stride
    out_height, out_width = (
        (n + sum(pad) - kernel) // stride + 1 for n, pad in ((height, rows), (width, columns))
    )
    out = torch.empty((b, channels, out_height, out_width), dtype=x.dtype, memory_format=torch.channels_last)
    whole = b, height, width, out_height, out_width, channels, kernel, stride, rows[0], columns[0]
    pointers = (ctypes.c_void_p(t.data_ptr()) for t in (x, taps, out))
    getattr(lib, OWN[x.dtype])(ctypes.byref(Shape(*whole, most)), *pointers)
    return out


@functools.cache
def pays(dtype: torch.dtype, threads: int) -> bool:
    """Whether `depthwise` is faster here than what stands in for it, on two layers of an EfficientNet:
    measured once a machine, in a moment, and kept."""
    path = user_cache() / f"frozen-{key_of(dtype, threads, sources=ANYWHERE)}.json"
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
        if isinstance(kept, bool):
            return kept
    say(MEASURING)
    took = race({own: partial(two_layers, dtype, own) for own in (True, False)}, (1, 2 * threads), MOMENT_S)
    faster = took[True] < took[False]
    with suppress(UserError):  # a read-only cache costs the next start a moment and nothing else
        write_atomic(path, json.dumps(faster).encode())
    return faster


def two_layers(dtype: torch.dtype, own: bool, images: int) -> Callable[[], object]:
    """What does them, by our own kernel or without it."""
    layers: list[Callable[[], Tensor]] = []
    for channels, side, kernel, stride in ((240, 28, 5, 1), (96, 56, 3, 2)):
        x = torch.ones(images, channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
        weight, bias = torch.ones(channels, 1, kernel, kernel, dtype=dtype), torch.ones(channels, dtype=dtype)
        taps = pack(weight, bias, dtype) if own else None
        conv = Frozen(weight, bias, stride, channels, 6.0, taps)
        pad = ((kernel - stride) // 2, (kernel - stride + 1) // 2)
        layers.append(partial(convolution, x, conv, pad, pad))
    return lambda: [layer() for layer in layers]
