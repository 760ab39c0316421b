"""What nets call: the kernel of the device that a tensor is on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hotlap.machine.kernels.cpu import LANES, PoolNormAct, fits

ON_GPU = (torch.float16, torch.bfloat16, torch.float32)


def takes_norm(x: Tensor) -> bool:
    """Whether the `PoolNormAct` of its device takes `x`."""
    if x.is_cuda:
        return x.dtype in ON_GPU and x.is_contiguous(memory_format=torch.channels_last)
    return x.shape[1] % LANES == 0 and fits(x)


def pool_norm_act(x: Tensor, *settings: Any) -> Tensor:
    """act(batch_norm(max_pool(x))); arguments as `PoolNormAct`'s, on the CPU or a CUDA device."""
    function: Any = PoolNormAct
    if x.is_cuda:
        from hotlap.machine.kernels.gpu import PoolNormAct as function  # needs triton
    out: Tensor = function.apply(x, *settings)
    return out
