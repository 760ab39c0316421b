"""CUDA graphs: what was launched once from Python, launched again as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
WARM_UPS = 3  # lazy initialisation must not fall into the capture


def nothing() -> None:
    """Nothing has to be put back."""


def captured(
    run: Callable[[], T], device: torch.device, restore: Callable[[], None] = nothing
) -> Callable[[], T]:
    """Capture what `run` does on a CUDA device; nothing of it may depend on values on the host.

    Args:
        run: launches the same kernels on the same addresses every time.
        restore: called after each warm-up, so that the next one finds things as the first did.

    Returns:
        A function that does it again in one launch. It returns what `run` returned when it was captured,
        tensors that now hold the new values.
    """
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            run()
            restore()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()

    def replay() -> T:
        graph.replay()
        return result

    return replay
