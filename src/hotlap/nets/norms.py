"""Batch norm, plain or ghost."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hotlap.nets.describe import Norm


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


def memory_format_of(x: Tensor) -> torch.memory_format:
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
