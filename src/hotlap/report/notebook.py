"""A result as a notebook shows it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any


def result_html(facts: Sequence[tuple[str, str]], history: list[dict[str, Any]]) -> str:
    """A small table of names and values beside the learning curve of a history, self-contained."""
    cells = "".join(f"<tr><th align=left>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in facts)
    return f'<div style="display:flex;gap:2em"><table>{cells}</table>{curve_svg(history)}</div>'


def curve_svg(history: list[dict[str, Any]], width: int = 320, height: int = 160) -> str:
    """Train and test accuracy by epoch as inline SVG."""
    if len(history) < 2:
        return ""
    series = {
        "train": ("#999", [r["train_accuracy"] for r in history]),
        "test": ("#06c", [r["test_accuracy"] for r in history]),
    }
    lines = []
    for i, (name, (colour, values)) in enumerate(series.items()):
        points = [
            f"{30 + (width - 40) * j / (len(values) - 1):.1f},{(height - 20) * (1 - v / 100) + 5:.1f}"
            for j, v in enumerate(values)
            if v is not None
        ]
        lines.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(points)}"/>'
        )
        lines.append(
            f'<text x="{width - 50}" y="{height - 40 + 14 * i}" font-size="11" fill="{colour}">{name}</text>'
        )
    axis = "".join(
        f'<text x="0" y="{(height - 20) * (1 - v / 100) + 9:.0f}" font-size="10" fill="#666">{v}%</text>'
        for v in (0, 50, 100)
    )
    return f'<svg width="{width}" height="{height}">{axis}{"".join(lines)}</svg>'
