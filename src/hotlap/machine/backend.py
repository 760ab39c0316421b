"""A device and the arithmetic on it, as a program runs on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hotlap.machine.numerics import Kernels

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Backend:
    """A resolved device and arithmetic.

    Args:
        device: where tensors live.
        precision, memory_format: keys of `DTYPES` and `FORMATS`.
        compile: whether the step goes through torch.compile.
        why: what was measured or asked for, in words for the user.
        kernels: which of hotlap's own kernels are used.
        lacks: why there are none, where the user can mend that; else nothing.
    """

    device: torch.device
    precision: str
    memory_format: str
    compile: bool
    why: str
    kernels: Kernels = "none"
    lacks: str = ""

    @property
    def arithmetic(self) -> str:
        """Such as `bf16, channels-last`."""
        return f"{self.precision}, {self.memory_format.replace('_', '-')}"

    @property
    def in_words(self) -> str:
        """The arithmetic, and how else the steps run."""
        compiled = ", compiled" if self.compile else ""
        kernels = "" if self.kernels == "none" else f", own kernels ({self.kernels.replace('_', ' ')})"
        return self.arithmetic + compiled + kernels

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        return DTYPES[self.precision]

    @property
    def weights_dtype(self) -> torch.dtype:
        """Of weights, statistics and the loss."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def format(self) -> torch.memory_format:
        return FORMATS[self.memory_format]
