"""Schedules: pure functions from progress to value, tabulated once and never called while training.

Progress runs from 0 (before the first step) to 1 (after the last), so that a recipe keeps its shape
when its number of epochs is changed. `tabulate` turns a schedule into one value a step; the loop reads
that table on the device. Every schedule can be called with a float, so plotting one is
`plt.plot(t, [schedule(x) for x in t])`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from hotlap.errors import UserError


@dataclass(frozen=True)
class Constant:
    """The same value all the way.

    Args:
        value: that value.
    """

    value: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class Piecewise:
    """Straight lines between knots; flat before the first and after the last.

    Args:
        progress: increasing positions in [0, 1].
        values: the value at each position.
        at: whether step i of n reads the line at its start (i / n) or its end ((i + 1) / n). Page's
            series counts from the end of a step, the airbench lineage from its start.

    Raises:
        UserError: if the positions do not increase or the lengths differ.
    """

    progress: tuple[float, ...]
    values: tuple[float, ...]
    at: Literal["start", "end"] = "start"

    def __post_init__(self) -> None:
        p = self.progress
        if len(p) != len(self.values) or not p:
            raise UserError(
                f"piecewise schedule: {len(p)} positions and {len(self.values)} values; give as many of each"
            )
        if not all(a < b for a, b in pairwise(p)):
            raise UserError(f"piecewise schedule: positions {list(p)} do not increase; sort them")

    def __call__(self, progress: float) -> float:
        p, v = self.progress, self.values
        if progress <= p[0]:
            return v[0]
        if progress >= p[-1]:
            return v[-1]
        i = bisect_right(p, progress)
        share = (progress - p[i - 1]) / (p[i] - p[i - 1])
        return v[i - 1] + share * (v[i] - v[i - 1])


@dataclass(frozen=True)
class Power:
    """`peak * progress ** exponent`: slow at first, steep at the end.

    Args:
        peak: the value at the end.
        exponent: 1 is a straight line.
        at: as in `Piecewise`.
    """

    peak: float = 1.0
    exponent: float = 3.0
    at: Literal["start", "end"] = "end"

    def __call__(self, progress: float) -> float:
        return float(self.peak * progress**self.exponent)


Schedule = Constant | Piecewise | Power


def tabulate(schedule: Schedule, steps: int) -> list[float]:
    """The schedule's value at each of `steps` steps, in step order."""
    shift = 1 if getattr(schedule, "at", "start") == "end" else 0
    return [schedule((step + shift) / steps) for step in range(steps)]
