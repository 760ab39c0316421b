"""A run whose loss is not a number any more, and what is usually the mend."""

from __future__ import annotations

import torch

from hotlap.engine.program import Program
from hotlap.errors import UserError


class Diverged(UserError):
    """The loss is not a number any more."""


def diverged(program: Program, step: int) -> Diverged:
    """The error for a run whose loss or weights are no numbers after `step`."""
    values = ", ".join(f"{k} = {v:.4g}" for k, v in program.knobs_at(step).items())
    where = f"step {step} of {program.steps}: the loss is {program.losses[step].item():.4g}"
    return Diverged(f"diverged at {where} with {values}; {lower_a_rate(program)}")


def lower_a_rate(program: Program) -> str:
    """The usual mend, as words to type."""
    rule = program.groups[0].rule
    return f"lower a rate, as in --set rules.{rule.name}.lr={rule.lr / 2:.4g}"


def check_finite(program: Program, start: int, stop: int) -> None:
    """Whether the losses of steps `start` to `stop` are numbers.

    Raises:
        Diverged: naming the first step whose loss is not finite and the values it was taken with.
    """
    finite = torch.isfinite(program.losses[start:stop])
    if not bool(finite.all()):
        raise diverged(program, start + int((~finite).nonzero()[0]))
