"""The loop. It runs segments and yields between them; whatever reports, saves or stops acts there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hotlap.clock import Clock
from hotlap.errors import UserError
from hotlap.program import Program


class Diverged(UserError):
    """The loss is not a number any more."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands between two segments.

    Args:
        step: steps done.
        end_of_epoch: whether an epoch, or the run, has just ended.
    """

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
        losses = program.losses[first:stop]
        if not bool(torch.isfinite(losses).all()):
            step = first + int((~torch.isfinite(losses)).nonzero()[0])
            values = ", ".join(f"{k} = {v:.4g}" for k, v in program.knobs_at(step).items())
            raise Diverged(
                f"the loss is {losses[step - first].item()} at step {step} of {program.steps}: {values}"
            )
        if stop == program.steps:
            with clock.measure("train"):
                program.finish()
        yield Progress(stop, stop % program.steps_per_epoch == 0 or stop == program.steps)
