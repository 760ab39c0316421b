"""The waterfall of a ladder: how many seconds each rung takes away. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotlap.report.plots import BLUE, GREEN, GREY, RED, new_figure, plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Bar:
    """One rung of the picture.

    Args:
        label: its name.
        seconds: it takes.
        before: seconds of the rung it follows; None for the first of a story.
        published: seconds, on another machine.
        note: a few words behind the bar.
    """

    label: str
    seconds: float
    before: float | None = None
    published: float | None = None
    note: str = ""


def waterfall(title: str, story: Sequence[Bar], asides: Sequence[Bar] = (), published_on: str = "") -> Figure:
    """The story's rungs as a falling staircase, and beneath it the asides from their own beginning.

    Seconds are on a log scale, so that a bar is as long as the share it buys, wherever it stands.

    Args:
        published_on: the machine of the published seconds, drawn as diamonds on a scale of their own that
            agrees with ours at the story's last rung.
    """
    parts = [part for part in (story, asides) if part]
    heights = [len(part) + 1.2 for part in parts]
    figure, axes = new_figure(
        9.5,
        1.2 + 0.27 * sum(heights),
        len(parts),
        1,
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": heights},
    )
    bars = [bar for part in parts for bar in part]
    pairs = [(b.seconds, b.published) for b in (*reversed(story), *asides) if b.published]
    scale = pairs[0][0] / pairs[0][1] if pairs else None
    shown = [b.seconds for b in bars] + [b.published * scale for b in bars if b.published and scale]
    low, high = min(shown) / 1.25, max(shown)
    for ax, part in zip(axes[:, 0], parts, strict=True):
        _draw(ax, part, low, scale)
        ax.set(xscale="log", xlim=(low, high * 1.9))
        plain_log_ticks(ax.xaxis)
    axes[-1, 0].set_xlabel("counted training seconds (log scale)")
    if scale is not None:
        axes[0, 0].plot([], [], "D", color=GREY, ms=4, label=f"published, {published_on}, scaled")
    axes[0, 0].plot([], [], "s", color=GREEN, label="seconds bought")
    if any(b.before is not None and b.before < b.seconds for b in bars):
        axes[0, 0].plot([], [], "s", color=RED, label="seconds lost")
    axes[0, 0].legend(loc="lower right", frameon=False, fontsize=8)
    if len(parts) == 2:
        axes[1, 0].set_title("asides: experiments beside the story", loc="left", fontsize=9)
    axes[0, 0].set_title(title, loc="left")
    return figure


def _draw(ax: Any, part: Sequence[Bar], low: float, scale: float | None) -> None:
    for y, bar in enumerate(part):
        start = low if bar.before is None else bar.before
        left, right = sorted((start, bar.seconds))
        lost = bar.before is not None and bar.before < bar.seconds
        colour = BLUE if bar.before is None else RED if lost else GREEN
        ax.barh(y, right - left, left=left, height=0.62, color=colour, alpha=0.85)
        ax.plot([bar.seconds] * 2, [y - 0.4, y + 0.4], color="0.15", lw=2)
        if scale is not None and bar.published:
            ax.plot([bar.published * scale], [y], "D", color=GREY, ms=4, zorder=3)
        at = max(right, bar.published * scale if scale is not None and bar.published else 0)
        ax.annotate(
            f"{bar.seconds:,.0f} s  {bar.note}".rstrip(),
            (at, y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    ax.set_yticks(range(len(part)), [b.label for b in part], fontsize=8)
    ax.set_ylim(len(part) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
