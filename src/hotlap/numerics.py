"""The plan's numerics slot; `hotlap.machine` resolves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Numerics:
    """In what arithmetic the step runs. `auto` takes what this machine measured as fastest.

    Args:
        precision: dtype of activations; weights stay in float32 (float64 under fp64).
        memory_format: layout of activations.
        compile: whether the step goes through torch.compile.
    """

    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = "auto"
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
