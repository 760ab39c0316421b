"""The learning curve of a run as a picture; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hotlap.report.plots import GREEN, GREY, RED, has_plots, new_figure, save_figure


def save_curve(summary: dict[str, Any], history: list[dict[str, Any]], path: Path) -> Path | None:
    """Draw accuracy against counted seconds into `path` (.png or .svg). None without matplotlib.

    Raises:
        UserError: if it cannot be written.
    """
    if not has_plots():
        return None
    figure, ax = new_figure(7.2, 4.2)
    seconds = [r["train_s"] for r in history]
    train = [r["train_accuracy"] for r in history]
    ax.plot(seconds, train, color=GREY, marker="o", ms=3, label="train, augmented")
    tested = [(r["train_s"], r["test_accuracy"]) for r in history if r["test_accuracy"] is not None]
    if tested:
        ax.plot(*zip(*tested, strict=True), color=GREEN, marker="o", ms=3, label="test, one view")
    end, accuracy, target = summary["seconds"]["train"], summary["accuracy"], summary["target"]
    views = "1 view" if summary["views"] == 1 else f"{summary['views']} views"
    final = f"final, {views}: {accuracy:.2f}%"
    ax.plot([end], [accuracy], color=RED, marker="*", ms=13, ls="none", label=final)
    if target is not None:
        ax.axhline(target, color=RED, lw=1, ls=":", label=f"target {target:g}%")
    ax.set(xlabel="counted training time (s)", ylabel="accuracy (%)", xlim=(0, None))
    ax.set_title(f"{summary['recipe']} on {summary['data']}, seed {summary['seed']}", loc="left")
    ax.legend(loc="lower right", frameon=False)
    return save_figure(figure, path)
