"""A result as a notebook shows it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from hotlap.report.charts import Line, line_chart


def result_html(facts: Sequence[tuple[str, str]], history: list[dict[str, Any]]) -> str:
    """A small table of names and values beside the learning curve of a history, self-contained."""
    cells = "".join(f"<tr><th align=left>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in facts)
    curve = f'<div style="width:360px">{curve_svg(history)}</div>'
    return f'<div style="display:flex;gap:2em"><table>{cells}</table>{curve}</div>'


def curve_svg(history: list[dict[str, Any]]) -> str:
    """Train and test accuracy by epoch as inline SVG; empty before the second epoch."""
    if len(history) < 2:
        return ""
    lines = [
        Line("train", [(r["epoch"], r["train_accuracy"]) for r in history], 7),
        Line("test", [(r["epoch"], r["test_accuracy"]) for r in history if r["test_accuracy"] is not None]),
    ]
    return line_chart(lines, x_label="epochs", y_label="accuracy, %", whole=True)
