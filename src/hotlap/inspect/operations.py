"""Where a training step's time goes, by kind of operation and part of the net, as PyTorch's profiler has it.

Every operation's own time is counted once, under the innermost kind that it or a caller of it belongs to: a
copy inside a norm is the norm's, a copy inside a batch's preparation is the data's. An operation of the
backward pass belongs to the part of the net whose forward pass it undoes.
"""

from __future__ import annotations

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

from hotlap.engine.clock import wait_for
from hotlap.engine.program import Program

KINDS = (
    "convolution forward",
    "convolution backward",
    "norm",
    "activation",
    "pool",
    "pool, norm, activation",
    "optimizer",
    "data",
    "other",
)

# innermost first: the first pattern that matches an operation, or failing that its caller, and so on, decides
PATTERNS = (
    ("convolution backward", r"Convolution(Pool)?Backward|convolution_backward"),
    ("convolution forward", r"aten::(\w*conv\w*)$|^Convolution(Pool)?$"),
    ("pool, norm, activation", r"PoolNormAct"),
    ("norm", r"batch_norm|BatchNorm|GhostNorm|\bnorm$"),
    ("pool", r"max_pool|MaxPool|avg_pool|AvgPool|adaptive_\w*pool"),
    ("activation", r"(?i)(::|evaluate_function: )(relu|threshold|celu|elu|gelu|silu|clamp_min)\w*"),
    ("optimizer", r"hotlap::optimizer"),
    ("data", r"hotlap::data"),
)
SEARCH = [(kind, re.compile(pattern)) for kind, pattern in PATTERNS]
PART = re.compile(r"hotlap::part (.*)")
FUNCTION = 0  # the profiler's word for what is no autograd node
REST = "loss and rest"  # the part of what belongs to none


def kind_of(name: str) -> str | None:
    """The kind an operation's name says it is; None if its caller has to say."""
    return next((kind for kind, pattern in SEARCH if pattern.search(name)), None)


@dataclass(frozen=True)
class StepProfile:
    """Milliseconds of a training step.

    Args:
        parts: time inside operations by part of the net and, in it, by kind; on CUDA, of their kernels. The
            parts are those of the net's body, the head, `data`, `optimizer` and `loss and rest`.
        step_ms: wall time of a step while the profiler looked on; on a CPU, what is over and above the sum of
            `kinds` is Python and the profiler itself.
        unwatched_ms: wall time of a step without the profiler, the better of two rounds.
        images: images a step.
        launches: operations a step that call no other; on CUDA, kernels and copies.
        wait_ms: of a step, spent waiting for batches from the host.
    """

    parts: dict[str, dict[str, float]]
    step_ms: float
    unwatched_ms: float
    images: int
    launches: float
    wait_ms: float

    @property
    def kinds(self) -> dict[str, float]:
        """Time inside operations, by kind, in the order of `KINDS`."""
        return {kind: sum(part.get(kind, 0.0) for part in self.parts.values()) for kind in KINDS}

    @property
    def idle_ms(self) -> float:
        """Of an unwatched step, outside operations: Python, waiting, and on CUDA gaps between kernels."""
        return max(0.0, self.unwatched_ms - sum(self.kinds.values()))

    @property
    def shares(self) -> dict[str, float]:
        """Each kind's share of the time inside operations."""
        total = sum(self.kinds.values())
        return {kind: ms / total for kind, ms in self.kinds.items()}


def profile_steps(program: Program, start: int, stop: int) -> StepProfile:
    """Profile steps `start` to `stop`, all of one epoch, between two rounds of the same steps unwatched.

    The steps run one operation at a time, not from a captured graph, so that each is seen: `program` holds
    its images and has not been compiled. The same steps are run four times, the first for warming up; so the
    program is left somewhere in a run, and `begin` starts it anew.
    """
    device, steps = program.backend.device, stop - start

    def run() -> float:
        wait_for(device)
        since = time.perf_counter()
        program.run(start, stop)
        wait_for(device)
        return 1e3 * (time.perf_counter() - since) / steps

    run()
    waited = program.feed.wait_s
    before = run()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells its own comings and goings on stderr
    on_device = "cuda" if device.type == "cuda" else None
    with named_parts(program), profile(use_device=on_device) as watch:
        watched = run()
    after = run()
    wait_ms = 1e3 * (program.feed.wait_s - waited) / (3 * steps)
    events = list(watch.function_events or ())
    part_of, spent = Parts(events), defaultdict[str, dict[str, float]](lambda: defaultdict(float))
    for event in events:
        ms = _own_ms(event, device)
        if ms:
            spent[part_of(event)][_kind(event)] += ms / steps
    order = [*(name for name, _ in net_parts(program)), REST, "optimizer", "data"]
    parts = {part: dict(spent[part]) for part in order if part in spent}
    launches = sum(_is_launch(event, device) for event in events) / steps
    return StepProfile(
        parts, watched, min(before, after), program.plan.batch_size, launches=launches, wait_ms=wait_ms
    )


def net_parts(program: Program) -> list[tuple[str, torch.nn.Module]]:
    """The parts of the net that time is told apart by: those of its body, and the head."""
    model = program.model
    return [*model.body.named_children(), ("head", model.head)]


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
    owners += [(module, "forward", f"part {name}") for name, module in net_parts(program)]
    try:
        for owner, part, name in owners:
            setattr(owner, part, named(f"hotlap::{name}", getattr(owner, part)))
        yield
    finally:
        for owner, part, _ in owners:
            delattr(owner, part)


class Parts:
    """Finds the part that an operation belongs to: where it, or what it undoes, was called."""

    def __init__(self, events: list[FunctionEvent]):
        # autograd numbers its nodes; a forward operation knows the number that the next node will get, so
        # the last to know a number is the one whose node has it
        self.of_node: dict[int, str] = {}
        forward = [e for e in events if e.sequence_nr >= 0 and e.scope == FUNCTION and not _node(e)]
        for event in sorted(forward, key=lambda e: e.time_range.start):
            self.of_node[event.sequence_nr] = called_in(event) or REST

    def __call__(self, event: FunctionEvent) -> str:
        named = called_in(event)
        if named:
            return named
        at: FunctionEvent | None = event
        while at is not None:
            if _node(at):
                return self.of_node.get(at.sequence_nr, REST)
            at = at.cpu_parent
        return REST


def called_in(event: FunctionEvent) -> str | None:
    """The part named by an operation's nearest caller that names one."""
    at: FunctionEvent | None = event
    while at is not None:
        found = PART.match(at.name)
        if found:
            return found[1]
        if at.name in ("hotlap::optimizer", "hotlap::data"):
            return at.name.removeprefix("hotlap::")
        at = at.cpu_parent
    return None


def _node(event: FunctionEvent) -> bool:
    """Whether the event is autograd carrying out one node of the backward pass."""
    return event.name.startswith("autograd::engine::evaluate_function")


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


def _is_launch(event: FunctionEvent, device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(event.device_type != DeviceType.CPU)
    return event.name.startswith("aten::") and not event.cpu_children
