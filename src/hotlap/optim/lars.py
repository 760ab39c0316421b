"""LARS over tensor lists; see `hotlap.optim.LARS` for the maths."""

from __future__ import annotations

import torch
from torch import Tensor


def lars_step(
    weights: list[Tensor],
    grads: list[Tensor],
    velocity: list[Tensor],
    lr: Tensor,
    weight_decay: Tensor,
    momentum: Tensor,
    *,
    eps: float,
) -> None:
    """One step in place on `weights` and `velocity`; arguments as in `hotlap.optim.sgd.sgd_step`."""
    steps = torch._foreach_mul(weights, weight_decay)
    torch._foreach_add_(steps, grads)
    lengths = zip(torch._foreach_norm(weights), torch._foreach_norm(steps), strict=True)
    torch._foreach_mul_(steps, [w / (g + eps) for w, g in lengths])
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, steps)
    torch._foreach_add_(steps, torch._foreach_mul(velocity, momentum))
    torch._foreach_mul_(steps, lr)
    torch._foreach_sub_(weights, steps)
