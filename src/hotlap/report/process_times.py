"""Where a step's time goes: stacked bars by kind of operation, and a roofline. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotlap.report.plots import AMBER, BLUE, GREEN, GREY, RED, new_figure, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "convolution forward": BLUE,
    "convolution backward": "#8af",
    "norm": RED,
    "activation": AMBER,
    "pool": "#a6c",
    "pool, norm, activation": "#b55",
    "optimizer": GREEN,
    "data": "#5cc",
    "other": GREY,
}
NAMED = 6  # points of a roofline that are named: those that take most of the time
EXTRA = ("0.85", "#753", "#fb8", "#356")  # for what is no kind of operation


def stack(ax: Any, names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """Horizontal bars from the top, each stacked from a row's values in the order they come in."""
    extra = iter(EXTRA)
    left = [0.0] * len(rows)
    for kind in dict.fromkeys(kind for row in rows for kind in row):
        widths = [row.get(kind, 0.0) for row in rows]
        if any(widths):
            ax.barh(
                names,
                widths,
                left=left,
                color=COLOURS.get(kind) or next(extra),
                label=kind,
                height=0.66,
            )
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def process_times(title: str, unit: str, bars: Mapping[str, Mapping[str, float]]) -> Figure:
    """Stacked bars, each with its sum behind it: of each its name, and its parts in `unit`."""
    figure, ax = new_figure(9.5, 1.5 + 0.36 * len(bars))
    stack(ax, list(bars), list(bars.values()))
    sums = [sum(bar.values()) for bar in bars.values()]
    for y, total in enumerate(sums):
        ax.annotate(
            f"{total:,.3g}", (total, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
        )
    ax.set_xlim(0, 1.09 * max(sums))
    ax.set_xlabel(unit, fontsize=9)
    ax.tick_params(labelsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


@dataclass(frozen=True)
class Point:
    """One operation under the roof.

    Args:
        label: its name.
        group: operations of one group have one colour.
        intensity: FLOPs for each byte that has to be read or written.
        rate: FLOP/s.
        share: of the time of all points, which sets its size.
    """

    label: str
    group: str
    intensity: float
    rate: float
    share: float


def overlap(a: Point, b: Point) -> bool:
    """Whether the names of two points of a roofline would lie on each other."""
    return abs(math.log10(a.rate / b.rate)) < 0.05 and abs(math.log10(a.intensity / b.intensity)) < 0.5


def roofline(
    title: str, points: Sequence[Point], roof: float, memory: float, whole: float | None = None
) -> Figure:
    """Rates of operations against their arithmetic intensity, beneath the machine's two limits.

    Args:
        roof: FLOP/s, the arithmetic's limit.
        memory: bytes/s.
        whole: FLOP/s of the whole step.
    """
    figure, ax = new_figure(9.5, 5.6)
    low = min([p.intensity for p in points] + [roof / memory]) / 2
    high = max([p.intensity for p in points] + [roof / memory]) * 2
    bend = roof / memory
    ax.plot([low, bend, high], [low * memory / 1e9, roof / 1e9, roof / 1e9], color="0.15", lw=2)
    ax.annotate(
        f"arithmetic: {roof / 1e9:,.0f} GFLOP/s",
        (bend, roof / 1e9),  # no point lies to its left
        xytext=(-6, -3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    ax.annotate(
        f"memory: {memory / 1e9:,.0f} GB/s",
        ((low * bend) ** 0.5, (low * bend) ** 0.5 * memory / 1e9),
        xytext=(10, -6),
        textcoords="offset points",
        fontsize=8,
    )
    if whole is not None:
        ax.axhline(whole / 1e9, color=GREEN, ls="--", lw=1.2)
        ax.annotate(
            f"the whole step: {whole / 1e9:,.0f} GFLOP/s, {100 * whole / roof:.0f}% of the roof",
            (low, whole / 1e9),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
            color=GREEN,
        )
    shades = dict(zip(dict.fromkeys(p.group for p in points), (BLUE, AMBER, RED, "#a6c"), strict=False))
    for group, colour in shades.items():
        chosen = [p for p in points if p.group == group]
        ax.scatter(
            [p.intensity for p in chosen],
            [p.rate / 1e9 for p in chosen],
            s=[30 + 900 * p.share for p in chosen],
            color=colour,
            alpha=0.6,
            lw=0,
            label=group,
        )
    named: list[Point] = []
    for point in sorted(points, key=lambda p: -p.share)[:NAMED]:
        if any(overlap(p, point) for p in named):
            continue  # the larger one says where they are
        named.append(point)
        ax.annotate(
            f"{point.label}  {100 * point.share:.0f}%",
            (point.intensity, point.rate / 1e9),
            xytext=(8, -3),
            textcoords="offset points",
            fontsize=7,
            color="0.3",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    plain_log_ticks(ax.xaxis)
    plain_log_ticks(ax.yaxis)
    ax.set(xlabel="FLOPs for each byte read or written", ylabel="GFLOP/s")
    ax.set_title(title, loc="left")
    legend = ax.legend(frameon=False, loc="lower right", fontsize=8)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return figure
