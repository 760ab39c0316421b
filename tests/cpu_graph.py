"""What a CUDA graph does, on a CPU: operations recorded once are done again on the very same tensors.

A step that reads something on the host, such as a counter or a Python list, does other than it should when
it is replayed, here as there; what a graph cannot hold at all is refused while it is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from hotlap.machine.capture import nothing

# a value that the host waits for; a shape that depends on values; a tensor made of the host's numbers
REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh")


class Refused(Exception):
    """A CUDA graph could not hold this operation."""


class Recorder(TorchDispatchMode):
    """Keeps each operation with the tensors that it reads and makes."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in REFUSED):
            raise Refused(str(func))
        out = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self.done:
            for held, made in zip(tensors(out), tensors(func(*args, **kwargs)), strict=True):
                if held.data_ptr() != made.data_ptr():
                    held.copy_(made)


def tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))


def captured(
    run: Callable[[], Any], device: torch.device, restore: Callable[[], None] = nothing
) -> Callable[[], Any]:
    """As `hotlap.machine.capture.captured`."""
    run()
    restore()
    with Recorder() as recorder:
        result = run()

    def replay() -> Any:
        recorder.replay()
        return result

    return replay
