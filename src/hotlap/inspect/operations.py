"""Where a training step's time goes, by kind of operation, as PyTorch's profiler counts it.

Every operation's own time is counted once, under the innermost kind that it or a caller of it belongs to:
a copy inside a norm is the norm's, a copy inside a batch's preparation is the data's.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler import profile, record_function
from torch.autograd.profiler_util import FunctionEvent

from hotlap.machine import Engine
from hotlap.program import Program

KINDS = (
    "convolution forward",
    "convolution backward",
    "norm",
    "activation",
    "pool",
    "optimizer",
    "data",
    "other",
)

# innermost first: the first pattern that matches an operation, or failing that its caller, and so on, decides
PATTERNS = (
    ("convolution backward", r"ConvolutionBackward|convolution_backward"),
    ("convolution forward", r"aten::(\w*conv\w*)$"),
    ("norm", r"batch_norm|BatchNorm|GhostNorm|\bnorm$"),
    ("pool", r"max_pool|MaxPool|avg_pool|AvgPool|adaptive_\w*pool"),
    ("activation", r"(?i)(::|evaluate_function: )(relu|threshold|celu|elu|gelu|silu|clamp_min)\w*"),
    ("optimizer", r"hotlap::optimizer"),
    ("data", r"hotlap::data"),
)
SEARCH = [(kind, re.compile(pattern)) for kind, pattern in PATTERNS]


def kind_of(name: str) -> str | None:
    """The kind an operation's name says it is; None if its caller has to say."""
    return next((kind for kind, pattern in SEARCH if pattern.search(name)), None)


@dataclass(frozen=True)
class StepProfile:
    """Milliseconds of a training step.

    Args:
        kinds: time inside operations, by kind, in the order of `KINDS`; on CUDA, of their kernels.
        step_ms: wall time of a step while the profiler looked on; on a CPU, what is over and above the sum of
            `kinds` is Python and the profiler itself.
        unwatched_ms: wall time of a step without the profiler.
        images: images a step.
    """

    kinds: dict[str, float]
    step_ms: float
    unwatched_ms: float
    images: int

    @property
    def shares(self) -> dict[str, float]:
        """Each kind's share of the time inside operations."""
        total = sum(self.kinds.values())
        return {kind: ms / total for kind, ms in self.kinds.items()}


def profile_step(program: Program, steps: int = 3, warmup: int = 1, seed: int = 0) -> StepProfile:
    """Profile `steps` steps of a program that holds its images, after `warmup` others, as many unwatched.

    The steps run one operation at a time, not from a captured graph, so that each is seen: `program` holds
    its images and has not been compiled. It starts a run of its own and is left somewhere in its first epoch;
    all steps must fit that epoch.
    """
    device = program.engine.device
    program.begin(seed)

    def run(first: int, stop: int) -> float:
        _wait(device)
        start = time.perf_counter()
        program.run(first, stop)
        _wait(device)
        return 1e3 * (time.perf_counter() - start)

    run(0, warmup)
    unwatched = run(warmup, warmup + steps) / steps
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells its own comings and goings on stderr
    on_device = "cuda" if device.type == "cuda" else None
    with named_parts(program), profile(use_device=on_device) as watch:
        watched = run(warmup + steps, warmup + 2 * steps) / steps
    spent: dict[str, float] = defaultdict(float)
    for event in watch.function_events or ():
        spent[_kind(event)] += _own_ms(event, device) / steps
    return StepProfile({k: spent[k] for k in KINDS}, watched, unwatched, program.plan.batch_size)


@contextmanager
def named_parts(program: Program) -> Iterator[None]:
    """The parts of a step that operations' names do not tell, named for the profiler."""

    def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            with record_function(name):
                return function(*args, **keywords)

        return call

    owners: list[tuple[Any, str, str]] = [(program.feed, part, "data") for part in ("batch", "push", "enter")]
    owners += [(part, "step", "optimizer") for part in (*program.groups, *program.averages)]
    try:
        for owner, part, name in owners:
            setattr(owner, part, named(f"hotlap::{name}", getattr(owner, part)))
        yield
    finally:
        for owner, part, _ in owners:
            delattr(owner, part)


def _kind(event: FunctionEvent) -> str:
    at: FunctionEvent | None = event
    while at is not None:
        kind = kind_of(at.name)
        if kind:
            return kind
        at = at.cpu_parent
    return "other"


def _own_ms(event: FunctionEvent, device: torch.device) -> float:
    if event.device_type != DeviceType.CPU:
        return 0.0  # a kernel: counted with the operation that launched it
    if device.type == "cuda":
        return float(event.self_device_time_total) / 1e3
    return float(event.self_cpu_time_total) / 1e3


def product_rate(engine: Engine, side: int = 2048) -> float:
    """FLOP/s of a product of two square matrices in the engine's precision, best of five: what is within
    reach of a net whose arithmetic is all products."""
    gen = torch.Generator().manual_seed(0)
    a = torch.randn(side, side, generator=gen).to(engine.device, engine.dtype)
    best = math.inf
    for _ in range(5):
        _wait(engine.device)
        start = time.perf_counter()
        torch.mm(a, a)
        _wait(engine.device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
