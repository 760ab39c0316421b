"""Averages of weights over tensor lists; see `hotlap.optim.EMA` and `hotlap.optim.Lookahead`."""

from __future__ import annotations

import torch
from torch import Tensor


def ema_update(slow: list[Tensor], fast: list[Tensor], decay: Tensor) -> None:
    """`slow = decay * slow + (1 - decay) * fast`, in place; `decay` is 0-d, in the tensors' dtype."""
    torch._foreach_mul_(slow, decay)
    torch._foreach_add_(slow, torch._foreach_mul(fast, 1 - decay))


def lookahead_update(slow: list[Tensor], fast: list[Tensor], decay: Tensor) -> None:
    """`ema_update`, after which the fast weights restart from the slow ones, in place."""
    ema_update(slow, fast, decay)
    torch._foreach_copy_(fast, slow)
