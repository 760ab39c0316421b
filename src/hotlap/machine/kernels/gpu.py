"""Pool, norm and activation as Triton kernels, for a GPU; the counterpart of cpu.cpp's.

Importing this needs triton. With TRITON_INTERPRET=1 in the environment before that, the kernels run on CPU
tensors, slowly, for tests.

Images are channels-last, so they are a matrix of (images * height * width, channels). The images of a part
of the batch (ghost norm; one part otherwise) are worked in chunks of rows, whose sums are joined in a fixed
order: the same bits every time, and no atomics. Arithmetic is float32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from hotlap.machine.kernels.activations import ACTIVATIONS

RELU, CELU, SILU, GELU = (tl.constexpr(i) for i in ACTIVATIONS.values())
ROWS, MOST_COLUMNS = 32, 64  # of a tile: rows are pixels, columns channels
MOST_CHUNKS = 1024  # of a part; their sums are joined by one program
JOINED = 8  # channels whose chunks one program joins


@triton.jit
def activated(z, alpha, ACT: tl.constexpr):
    """The activation of `z`; what is no number stays none."""
    if ACT == RELU:
        return tl.where(z <= 0, 0.0, z)
    if ACT == CELU:
        return tl.where(z > 0, z, alpha * (tl.exp(z / alpha) - 1))
    if ACT == SILU:
        return z / (1 + tl.exp(-z))
    return 0.5 * z * (1 + tl.erf(z * 0.7071067811865476))


@triton.jit
def slope(z, alpha, ACT: tl.constexpr):
    """The activation's derivative at `z`."""
    if ACT == RELU:
        return tl.where(z > 0, 1.0, 0.0)
    if ACT == CELU:
        return tl.where(z > 0, 1.0, tl.exp(z / alpha))
    if ACT == SILU:
        s = 1 / (1 + tl.exp(-z))
        return s * (1 + z * (1 - s))
    return 0.5 * (1 + tl.erf(z * 0.7071067811865476)) + z * 0.3989422804014327 * tl.exp(-0.5 * z * z)


@triton.jit
def larger(best, which, value, number: tl.constexpr):
    """The larger of two, and which it is; of equal ones the first, and what is no number before any."""
    take = (value > best) | (value != value)
    return tl.where(take, value, best), tl.where(take, number, which)


@triton.jit
def row_of(at, part, pixels, images, parts, STRIDED: tl.constexpr):
    """Which row of all the part's row number `at` is: an image of the part, and a pixel in it."""
    image = at // pixels
    image = image * parts + part if STRIDED else part * images + image
    return (image * pixels + at % pixels).to(tl.int64)


@triton.jit
def corner_of(row, out_height, out_width, height, width):
    """The first of the four pixels, as a row of the larger map, that a row of the pooled one is of."""
    column, above = row % out_width, row // out_width
    line, image = above % out_height, above // out_height
    return (image * height + 2 * line) * width + 2 * column


@triton.jit
def pooled(x, corner, width, channels, cols, mask):
    """The largest of four pixels (rows, columns), and which it is."""
    at = x + corner[:, None] * channels + cols[None, :]
    best = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    which = tl.zeros(best.shape, tl.int32)
    value = tl.load(at + channels, mask=mask, other=0.0).to(tl.float32)
    best, which = larger(best, which, value, 1)
    value = tl.load(at + width * channels, mask=mask, other=0.0).to(tl.float32)
    best, which = larger(best, which, value, 2)
    value = tl.load(at + (width + 1) * channels, mask=mask, other=0.0).to(tl.float32)
    return larger(best, which, value, 3)


@triton.jit
def moments(
    x, middle, where, means, squares,
    rows, per_chunk, channels, images, parts, height, width, out_height, out_width,
    POOL: tl.constexpr, STRIDED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Pool, and the mean and the squared deviations of a chunk's rows."""
    chunk, part = tl.program_id(0), tl.program_id(1)
    cols = tl.program_id(2) * COLS + tl.arange(0, COLS)
    first = chunk * per_chunk
    last = tl.minimum(first + per_chunk, rows)
    mean, square = tl.zeros((COLS,), tl.float32), tl.zeros((COLS,), tl.float32)
    count = tl.zeros((COLS,), tl.float32)
    for start in range(first, last, ROWS):
        at = start + tl.arange(0, ROWS)
        inside = at < last
        row = row_of(at, part, out_height * out_width, images, parts, STRIDED)
        mask = inside[:, None] & (cols < channels)[None, :]
        if POOL:
            corner = corner_of(row, out_height, out_width, height, width)
            value, which = pooled(x, corner, width, channels, cols, mask)
            to = row[:, None] * channels + cols[None, :]
            tl.store(middle + to, value, mask=mask)
            tl.store(where + to, which.to(tl.uint8), mask=mask)
        else:
            value = tl.load(x + row[:, None] * channels + cols[None, :], mask=mask, other=0.0).to(tl.float32)
        n = (tl.minimum(start + ROWS, last) - start).to(tl.float32)
        tile_mean = tl.sum(value, 0) / n
        apart = tl.where(mask, value - tile_mean[None, :], 0.0)
        total = count + n
        gap = tile_mean - mean
        square += tl.sum(apart * apart, 0) + gap * gap * (count * n / total)
        mean += gap * (n / total)
        count = total
    to = (part * tl.num_programs(0) + chunk) * channels + cols
    tl.store(means + to, mean, mask=cols < channels)
    tl.store(squares + to, square, mask=cols < channels)


@triton.jit
def join_moments(
    means, squares, mean, invstd, running_mean, running_var,
    rows, per_chunk, channels, chunks, parts, unbias, momentum, eps,
    CHUNKS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Mean and deviation of each part from its chunks', and the running statistics, whose variance is made
    `unbias` times as large, as PyTorch keeps it."""
    cols = tl.program_id(0) * COLS + tl.arange(0, COLS)
    chunk = tl.arange(0, CHUNKS)
    count = tl.maximum(tl.minimum(rows - chunk * per_chunk, per_chunk), 0).to(tl.float32)
    mask = (chunk < chunks)[:, None] & (cols < channels)[None, :]
    kept = cols < channels
    mean_sum, var_sum = tl.zeros((COLS,), tl.float32), tl.zeros((COLS,), tl.float32)
    for part in range(parts):
        at = (part * chunks + chunk)[:, None] * channels + cols[None, :]
        m = tl.load(means + at, mask=mask, other=0.0)
        all_mean = tl.sum(m * count[:, None], 0) / rows
        gap = tl.where(mask, m - all_mean[None, :], 0.0)
        square = tl.load(squares + at, mask=mask, other=0.0) + gap * gap * count[:, None]
        var = tl.sum(square, 0) / rows
        tl.store(mean + part * channels + cols, all_mean, mask=kept)
        tl.store(invstd + part * channels + cols, 1 / tl.sqrt(var + eps), mask=kept)
        mean_sum += all_mean
        var_sum += var
    old = tl.load(running_mean + cols, mask=kept)
    tl.store(running_mean + cols, old + momentum * (mean_sum / parts - old), mask=kept)
    old = tl.load(running_var + cols, mask=kept)
    tl.store(running_var + cols, old + momentum * (var_sum / parts * unbias - old), mask=kept)


@triton.jit
def normalise(
    x, weight, bias, mean, invstd, out,
    rows, channels, images, parts, height, width, out_height, out_width, alpha,
    ACT: tl.constexpr, POOL: tl.constexpr, STRIDED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Norm and activation of a tile, and the pool before them if it has not been done yet."""
    part = tl.program_id(1)
    cols = tl.program_id(2) * COLS + tl.arange(0, COLS)
    at = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row = row_of(at, part, out_height * out_width, images, parts, STRIDED)
    kept = cols < channels
    mask = (at < rows)[:, None] & kept[None, :]
    to = row[:, None] * channels + cols[None, :]
    if POOL:
        corner = corner_of(row, out_height, out_width, height, width)
        value, _ = pooled(x, corner, width, channels, cols, mask)
    else:
        value = tl.load(x + to, mask=mask, other=0.0).to(tl.float32)
    m = tl.load(mean + part * channels + cols, mask=kept)
    s = tl.load(invstd + part * channels + cols, mask=kept)
    w = tl.load(weight + cols, mask=kept)
    b = tl.load(bias + cols, mask=kept)
    z = (value - m[None, :]) * s[None, :] * w[None, :] + b[None, :]
    tl.store(out + to, activated(z, alpha, ACT), mask=mask)


@triton.jit
def gradient_sums(
    grad, middle, weight, bias, mean, invstd, d_bias, d_weight,
    rows, per_chunk, channels, images, parts, pixels, alpha,
    ACT: tl.constexpr, STRIDED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """A chunk's sums: of the gradient before the activation, and of it times what was normalised."""
    chunk, part = tl.program_id(0), tl.program_id(1)
    cols = tl.program_id(2) * COLS + tl.arange(0, COLS)
    kept = cols < channels
    m = tl.load(mean + part * channels + cols, mask=kept)
    s = tl.load(invstd + part * channels + cols, mask=kept)
    w = tl.load(weight + cols, mask=kept)
    b = tl.load(bias + cols, mask=kept)
    first = chunk * per_chunk
    last = tl.minimum(first + per_chunk, rows)
    db, dw = tl.zeros((COLS,), tl.float32), tl.zeros((COLS,), tl.float32)
    for start in range(first, last, ROWS):
        at = start + tl.arange(0, ROWS)
        row = row_of(at, part, pixels, images, parts, STRIDED)
        mask = (at < last)[:, None] & kept[None, :]
        to = row[:, None] * channels + cols[None, :]
        hat = (tl.load(middle + to, mask=mask, other=0.0).to(tl.float32) - m[None, :]) * s[None, :]
        g = tl.load(grad + to, mask=mask, other=0.0).to(tl.float32)
        g = g * slope(hat * w[None, :] + b[None, :], alpha, ACT)
        g = tl.where(mask, g, 0.0)
        db += tl.sum(g, 0)
        dw += tl.sum(g * hat, 0)
    to = (part * tl.num_programs(0) + chunk) * channels + cols
    tl.store(d_bias + to, db, mask=kept)
    tl.store(d_weight + to, dw, mask=kept)


@triton.jit
def join_sums(
    chunk_bias, chunk_weight, part_bias, part_weight, d_bias, d_weight,
    channels, chunks, parts,
    CHUNKS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The sums of each part, and of all."""
    cols = tl.program_id(0) * COLS + tl.arange(0, COLS)
    chunk = tl.arange(0, CHUNKS)
    kept = cols < channels
    mask = (chunk < chunks)[:, None] & kept[None, :]
    db, dw = tl.zeros((COLS,), tl.float32), tl.zeros((COLS,), tl.float32)
    for part in range(parts):
        at = (part * chunks + chunk)[:, None] * channels + cols[None, :]
        one_b = tl.sum(tl.load(chunk_bias + at, mask=mask, other=0.0), 0)
        one_w = tl.sum(tl.load(chunk_weight + at, mask=mask, other=0.0), 0)
        tl.store(part_bias + part * channels + cols, one_b, mask=kept)
        tl.store(part_weight + part * channels + cols, one_w, mask=kept)
        db += one_b
        dw += one_w
    tl.store(d_bias + cols, db, mask=kept)
    tl.store(d_weight + cols, dw, mask=kept)


@triton.jit
def input_gradient(
    grad, middle, where, weight, bias, mean, invstd, part_bias, part_weight, dx,
    rows, channels, images, parts, height, width, out_height, out_width, alpha,
    POOL: tl.constexpr, ODD_WIDTH: tl.constexpr, ODD_HEIGHT: tl.constexpr,
    ACT: tl.constexpr, STRIDED: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """The gradient of the input, zeros where the pool did not look or did not find the largest."""
    part = tl.program_id(1)
    cols = tl.program_id(2) * COLS + tl.arange(0, COLS)
    at = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row = row_of(at, part, out_height * out_width, images, parts, STRIDED)
    kept = cols < channels
    mask = (at < rows)[:, None] & kept[None, :]
    to = row[:, None] * channels + cols[None, :]
    m = tl.load(mean + part * channels + cols, mask=kept)
    s = tl.load(invstd + part * channels + cols, mask=kept)
    w = tl.load(weight + cols, mask=kept)
    b = tl.load(bias + cols, mask=kept)
    db = tl.load(part_bias + part * channels + cols, mask=kept) / rows
    dw = tl.load(part_weight + part * channels + cols, mask=kept) / rows
    hat = (tl.load(middle + to, mask=mask, other=0.0).to(tl.float32) - m[None, :]) * s[None, :]
    g = tl.load(grad + to, mask=mask, other=0.0).to(tl.float32)
    g = g * slope(hat * w[None, :] + b[None, :], alpha, ACT)
    d = (g - db[None, :] - hat * dw[None, :]) * (w * s)[None, :]
    if POOL:
        which = tl.load(where + to, mask=mask, other=0).to(tl.int32)
        corner = corner_of(row, out_height, out_width, height, width)
        into = dx + corner[:, None] * channels + cols[None, :]
        tl.store(into, tl.where(which == 0, d, 0.0), mask=mask)
        tl.store(into + channels, tl.where(which == 1, d, 0.0), mask=mask)
        tl.store(into + width * channels, tl.where(which == 2, d, 0.0), mask=mask)
        tl.store(into + (width + 1) * channels, tl.where(which == 3, d, 0.0), mask=mask)
        # an odd side's last column and row, by the programs of their neighbours
        zero = tl.zeros((ROWS, COLS), tl.float32)
        right = mask & (row % out_width == out_width - 1)[:, None]
        below = mask & (row // out_width % out_height == out_height - 1)[:, None]
        if ODD_WIDTH:
            tl.store(into + 2 * channels, zero, mask=right)
            tl.store(into + (width + 2) * channels, zero, mask=right)
        if ODD_HEIGHT:
            tl.store(into + 2 * width * channels, zero, mask=below)
            tl.store(into + (2 * width + 1) * channels, zero, mask=below)
        if ODD_WIDTH and ODD_HEIGHT:
            tl.store(into + (2 * width + 2) * channels, zero, mask=right & below)
    else:
        tl.store(dx + to, d, mask=mask)


class PoolNormAct(torch.autograd.Function):
    """act(batch_norm(max_pool(x))); arguments as `hotlap.machine.kernels.cpu.PoolNormAct`'s.

    `x` is float16, bfloat16 or float32, channels-last, on a CUDA device, with any number of channels.
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
        parts = splits if training else 1
        out_height, out_width = (height // 2, width // 2) if pool else (height, width)
        shape = (b, channels, out_height, out_width)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        images, rows = b // parts, b // parts * out_height * out_width
        sides = height, width, out_height, out_width
        columns = min(MOST_COLUMNS, triton.next_power_of_2(channels))
        across = triton.cdiv(channels, columns)
        tile = {"ROWS": ROWS, "COLS": columns}
        of_parts = functools.partial(torch.empty, dtype=torch.float32, device=x.device)
        middle, where = x, x
        if training:
            if pool:
                middle, where = torch.empty_like(out), torch.empty_like(out, dtype=torch.uint8)
            per_chunk, chunks = chunking(rows)
            means, squares = (of_parts(parts, chunks, channels) for _ in range(2))
            mean, invstd = (of_parts(parts, channels) for _ in range(2))
            moments[chunks, parts, across](
                x, middle, where, means, squares, rows, per_chunk, channels, images, parts, *sides,
                POOL=pool, STRIDED=strided, **tile,
            )  # fmt: skip
            join_moments[(triton.cdiv(channels, JOINED),)](
                means, squares, mean, invstd, running_mean, running_var, rows, per_chunk, channels, chunks,
                parts, rows / max(rows - 1, 1), momentum, eps, CHUNKS=triton.next_power_of_2(chunks),
                COLS=JOINED,
            )  # fmt: skip
        else:
            mean, invstd = running_mean, torch.rsqrt(running_var + eps)
        normalise[triton.cdiv(rows, ROWS), parts, across](
            middle, weight, bias, mean, invstd, out, rows, channels, images, parts, *sides, alpha,
            ACT=ACTIVATIONS[act], POOL=pool and not training, STRIDED=strided, **tile,
        )  # fmt: skip
        ctx.save_for_backward(middle, where, weight, bias, mean, invstd)
        ctx.x_shape, ctx.training, ctx.pool, ctx.parts = x.shape, training, pool, parts
        ctx.strided, ctx.act, ctx.alpha = strided, act, alpha
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.training:
            raise NotImplementedError("no gradient through a norm with known statistics")
        middle, where, weight, bias, mean, invstd = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        b, channels, height, width = ctx.x_shape
        _, _, out_height, out_width = grad.shape
        parts, pixels = ctx.parts, out_height * out_width
        images, rows = b // parts, b // parts * pixels
        columns = min(MOST_COLUMNS, triton.next_power_of_2(channels))
        across = triton.cdiv(channels, columns)
        tile = {"STRIDED": ctx.strided, "ROWS": ROWS, "COLS": columns, "ACT": ACTIVATIONS[ctx.act]}
        per_chunk, chunks = chunking(rows)
        of_parts = functools.partial(torch.empty, dtype=torch.float32, device=grad.device)
        chunk_bias, chunk_weight = (of_parts(parts, chunks, channels) for _ in range(2))
        part_bias, part_weight = (of_parts(parts, channels) for _ in range(2))
        d_bias, d_weight = (of_parts(channels) for _ in range(2))
        gradient_sums[chunks, parts, across](
            grad, middle, weight, bias, mean, invstd, chunk_bias, chunk_weight, rows, per_chunk, channels,
            images, parts, pixels, ctx.alpha, **tile,
        )  # fmt: skip
        join_sums[(triton.cdiv(channels, JOINED),)](
            chunk_bias, chunk_weight, part_bias, part_weight, d_bias, d_weight, channels, chunks, parts,
            CHUNKS=triton.next_power_of_2(chunks), COLS=JOINED,
        )  # fmt: skip
        dx = torch.empty(ctx.x_shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)
        input_gradient[triton.cdiv(rows, ROWS), parts, across](
            grad, middle, where, weight, bias, mean, invstd, part_bias, part_weight, dx, rows, channels,
            images, parts, height, width, out_height, out_width, ctx.alpha,
            POOL=ctx.pool, ODD_WIDTH=width % 2, ODD_HEIGHT=height % 2, **tile,
        )  # fmt: skip
        return dx, d_weight if ctx.needs_input_grad[1] else None, d_bias, *[None] * 10


def chunking(rows: int) -> tuple[int, int]:
    """Rows of a chunk, in whole tiles, and how many chunks they make: enough to keep a GPU busy."""
    per_chunk = triton.cdiv(triton.cdiv(rows, ROWS), MOST_CHUNKS) * ROWS
    return per_chunk, triton.cdiv(rows, per_chunk)


def try_out(device: torch.device) -> None:
    """Compile and launch every kernel once, on next to nothing; raises whatever goes wrong."""
    x = torch.ones(2, 16, 4, 4, dtype=torch.float16, device=device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    stats = [torch.ones(16, device=device) for _ in range(4)]
    y = PoolNormAct.apply(x, *stats, True, True, 1, True, 0.1, 1e-5, "gelu", 1.0)  # type: ignore[no-untyped-call]
    torch.autograd.grad(y.float().sum(), x)
