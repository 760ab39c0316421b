"""The loop. It runs segments and yields between them; whatever reports, saves or stops acts there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hotlap.engine.clock import Clock
from hotlap.engine.diverged import check_finite
from hotlap.engine.program import Program


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps done, and whether an epoch (or the run) has just ended."""

    step: int
    end_of_epoch: bool


def train(
    program: Program, clock: Clock, seed: int, start: int = 0, stride: int | None = None
) -> Iterator[Progress]:
    """Train from step `start`, counted on `clock`, yielding after every `stride` steps (None: every epoch).

    Raises:
        Diverged: naming the first step whose loss is not finite and the values it was taken with.
    """
    if start == 0:
        with clock.measure("train"):
            program.begin(seed)
    for first, stop in program.segments(start, stride):
        with clock.measure("train"):
            program.run(first, stop)
        check_finite(program, first, stop)
        if stop == program.steps:
            with clock.measure("train"):
                program.finish()
        yield Progress(stop, stop % program.steps_per_epoch == 0 or stop == program.steps)
