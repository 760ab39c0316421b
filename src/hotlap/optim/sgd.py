"""SGD over tensor lists; see `hotlap.optim.SGD` for the maths."""

from __future__ import annotations

import torch
from torch import Tensor


def sgd_step(
    weights: list[Tensor],
    grads: list[Tensor],
    velocity: list[Tensor],
    lr: Tensor,
    weight_decay: Tensor,
    momentum: Tensor,
    *,
    lr_in_velocity: bool,
) -> None:
    """One Nesterov step in place on `weights` and `velocity`.

    Args:
        weights, grads, velocity: tensors of matching shapes and one floating dtype.
        lr, weight_decay, momentum: 0-d tensors on the weights' device, in their dtype.
        lr_in_velocity: Page's form if true, PyTorch's if false.
    """
    steps = torch._foreach_mul(weights, weight_decay)
    torch._foreach_add_(steps, grads)
    if lr_in_velocity:
        torch._foreach_mul_(steps, lr)
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, steps)
    torch._foreach_add_(steps, torch._foreach_mul(velocity, momentum))
    if not lr_in_velocity:
        torch._foreach_mul_(steps, lr)
    torch._foreach_sub_(weights, steps)
