"""A run's stretches of steps that are alike: what a step's kernels depend on, and where it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from hotlap.optim.groups import Averaged, Group, Phase, is_due
from hotlap.plan import Plan


class Structure(NamedTuple):
    """What makes one step's kernels differ from another's.

    Args:
        phases: of each group of parameters, how its optimizer steps; None where it is frozen.
        due: of each average, whether it is updated.
        scale: side of the images as a share of the set's.
    """

    phases: tuple[Phase | None, ...]
    due: tuple[bool, ...]
    scale: float


@dataclass(frozen=True)
class Span:
    """Steps `start` to `stop` (exclusive), all of one structure."""

    start: int
    stop: int
    structure: Structure


def spans_of(
    plan: Plan,
    groups: Sequence[Group],
    averages: Sequence[Averaged],
    steps: int,
    phase: Callable[[Group, int], Phase | None],
) -> list[Span]:
    """The spans of a run; `phase` says how a group's optimizer takes a step, None at rest."""

    def structure(step: int) -> Structure:
        phases = tuple(phase(group, step) for group in groups)
        due = tuple(is_due(averaged.average, step) for averaged in averages)
        return Structure(phases, due, plan.resolution.at(step / steps))

    spans = []
    for made, together in groupby(range(steps), key=structure):
        run = list(together)
        spans.append(Span(run[0], run[-1] + 1, made))
    return spans
