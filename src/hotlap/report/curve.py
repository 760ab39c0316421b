"""The learning curve of a run as a picture; needs matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from hotlap.files import write_atomic


def save_curve(summary: dict[str, Any], history: list[dict[str, Any]], path: Path) -> Path | None:
    """Draw accuracy against counted seconds into `path` (.png or .svg). None without matplotlib.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7.2, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    seconds = [r["train_s"] for r in history]
    ax.plot(
        seconds,
        [r["train_accuracy"] for r in history],
        color="0.6",
        marker="o",
        ms=3,
        label="train, augmented",
    )
    tested = [(r["train_s"], r["test_accuracy"]) for r in history if r["test_accuracy"] is not None]
    if tested:
        ax.plot(*zip(*tested, strict=True), color="#0a5", marker="o", ms=3, label="test, one view")
    end, accuracy, target = summary["seconds"]["train"], summary["accuracy"], summary["target"]
    views = "1 view" if summary["views"] == 1 else f"{summary['views']} views"
    ax.plot(
        [end],
        [accuracy],
        color="#c30",
        marker="*",
        ms=13,
        ls="none",
        label=f"final, {views}: {accuracy:.2f}%",
    )
    ax.axhline(target, color="#c30", lw=1, ls=":", label=f"target {target:g}%")
    ax.set(xlabel="counted training time (s)", ylabel="accuracy (%)", xlim=(0, None))
    ax.set_title(f"{summary['recipe']} on {summary['data']}, seed {summary['seed']}", loc="left")
    ax.grid(alpha=0.25)
    ax.legend(loc="lower right", frameon=False)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:])
    write_atomic(path, picture.getvalue())
    return path
