"""Test accuracy against seconds of training, several runs in one picture: the README's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotlap.report.page import digits
from hotlap.report.plots import BLUE, GREEN, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = 5.6, 3.3  # inches: as wide as a phone shows it with its letters still large enough to read
COLOURS = (BLUE, "0.35", GREEN, RED)
SHOWN = {"port": "the Muon recipe"}  # what a contender's name does not say
WRITTEN = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 97, 98, 99)  # percent, beside the axis
SPARE = 0.7  # above the highest point, for two lines of text


@dataclass(frozen=True)
class Curve:
    """A run: what its epochs came to, and its end.

    Args:
        name: of recipe or program.
        points: (seconds of training, test accuracy in percent from one view), an epoch each.
        train_s: seconds of training up to the final weights.
        accuracy: of these, percent, with all views.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    train_s: float
    accuracy: float

    @classmethod
    def of(cls, name: str, history: Mapping[str, Sequence[Any]], train_s: float, accuracy: float) -> Curve:
        """Of a run that a record keeps (keeping/kinds/runs.py), by the epochs that were looked at."""
        rows = zip(history["train_s"], history["test_accuracy"], strict=True)
        return cls(name, tuple((s, a) for s, a in rows if a is not None), train_s, accuracy)


def height(accuracy: float) -> float:
    """How high an accuracy in percent is drawn: each halving of the error is as far as any other."""
    return -math.log2(max(100 - accuracy, 0.1))


def race(curves: Sequence[Curve], target: float | None, title: str = "") -> Figure:
    """The curves from their first epoch to their final weights, each with its name and end beside it.

    Dots are epochs, seen from one view; the star at the end is what all views make of the final weights.
    """
    figure, ax = new_figure(*SIZE)
    latest = max(curve.train_s for curve in curves)
    for curve, colour in zip(curves, COLOURS, strict=False):
        xs, ys = zip(*((s, height(a)) for s, a in curve.points), strict=True)
        end = height(curve.accuracy)
        ax.plot([*xs, curve.train_s], [*ys, end], color=colour, lw=1.8)
        ax.plot(xs, ys, "o", color=colour, ms=4)
        ax.plot([curve.train_s], [end], "*", color=colour, ms=12, clip_on=False, zorder=3)
        early = curve.train_s < latest / 2
        ax.annotate(
            f"{SHOWN.get(curve.name, curve.name)}\n{curve.accuracy:.2f}% after {digits(curve.train_s)} s",
            (curve.train_s, end),
            xytext=(0 if early else 6, 8),
            textcoords="offset points",
            ha="left" if early else "right",
            color=colour,
            fontweight="bold",
        )
    found = [a for curve in curves for _, a in curve.points] + [curve.accuracy for curve in curves]
    low, high = min(found), max(found)
    if target is not None:
        low, high = min(low, target), max(high, target)
        ax.axhline(height(target), color=RED, lw=1.2, ls=":")
        ax.annotate(f"{target:g}%", (0, height(target)), xytext=(4, 3), textcoords="offset points", color=RED)
    ax.set_yticks([height(a) for a in WRITTEN], [f"{a}%" for a in WRITTEN])
    ax.set_ylim(height(low) - 0.15, height(high) + SPARE)
    ax.set_xlim(0, latest * 1.02)
    ax.set(xlabel="seconds of training", ylabel="test accuracy")
    if title:
        ax.set_title(title, loc="left")
    return figure
