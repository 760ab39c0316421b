"""The plan's numerics slot; `hotlap.machine` resolves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kernels = Literal["auto", "all", "none", "convolution", "pool_norm_act"]


@dataclass(frozen=True)
class Numerics:
    """In what arithmetic the step runs. `auto` takes what this machine measured as fastest.

    Args:
        precision: dtype of activations; weights stay in float32 (float64 under fp64). `half` is fp16 on
            CUDA; on a CPU, which has no fast fp16, it is bf16 or fp32, whichever measures faster.
        memory_format: layout of activations.
        compile: whether the step goes through torch.compile.
        kernels: which of hotlap's own kernels stand in for PyTorch's: all, none, convolutions (on a CPU;
            those by 3x3 filters in fewer multiplications, with results that are off by about 1.2% of their
            size where bfloat16 alone makes it 0.3%, and in fp32 by 0.0001%), or pool, norm and activation in
            one.
    """

    precision: Literal["auto", "half", "fp32", "bf16", "fp16", "fp64"] = "auto"
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    kernels: Kernels = "auto"
