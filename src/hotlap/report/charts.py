"""Line charts, a stacked bar and a reliability diagram as inline SVG, without matplotlib.

They take their colours from the page's style (`templates/page.css`), so that they turn with it in the dark;
where there is no page, as in a notebook, they have their own. Half as wide as a page, so that two stand
beside each other, and one fills a phone with its text still readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 34, 40  # pixels around the axes
SHADES = ("#2a63c9", "#d98500", "#0a8a4c", "#c8371d", "#8a52b8", "#1a9db0", "#8c6d3f", "#8d96a0")
CHARACTER = 6.6  # pixels, about, of a character in the legend
DOTTED_UP_TO = 60  # points of a line that are marked each


@dataclass(frozen=True)
class Line:
    """One of a chart's lines.

    Args:
        name: for the legend.
        points: (x, y), from left to right.
        shade: number of its colour, from 0.
        kind: a line, or a star at each point.
    """

    name: str
    points: Sequence[tuple[float, float]]
    shade: int = 0
    kind: Literal["line", "star"] = "line"


@dataclass(frozen=True)
class Part:
    """One part of a stacked bar: its name, its size, and how that is written."""

    name: str
    size: float
    text: str


@dataclass(frozen=True)
class Group:
    """One bar of a reliability diagram: things with a probability in (low, high].

    Args:
        count: how many.
        confidence, accuracy: their means, 0 to 1.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def shade(number: int) -> str:
    """A colour, as CSS: the page's, or where there is none its own."""
    i = number % len(SHADES)
    return f"var(--s{i + 1},{SHADES[i]})"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most `most` of them, evenly apart: 1, 2 or 5 times powers of 10.

    Of an empty interval, only the round number that it is.
    """
    span = high - low
    if not span > 0:
        return [low]
    step = 10.0 ** math.floor(math.log10(span / most))
    for times in (1, 2, 5, 10, 20, 50):
        first, last = math.ceil(low / (step * times) - 1e-9), math.floor(high / (step * times) + 1e-9)
        if last - first < most:
            return [round(i * step * times, 12) for i in range(first, last + 1)]
    raise AssertionError("a step of fifty times the smallest always fits")


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    target: float | None = None,
    x_from: float | None = 0.0,
    whole: bool = False,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> str:
    """Lines over each other, as an SVG element; empty without any point.

    Args:
        target: a dotted line at this height.
        x_from: where the horizontal axis starts; None starts at the first point.
        whole: whether only whole numbers are written below it.
    """
    points = [p for line in lines for p in line.points]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points] + ([] if target is None else [target])
    x0, x1 = (min(xs) if x_from is None else x_from), max(xs)
    y0, y1 = min(ys), max(ys)
    spare = 0.05 * (y1 - y0) or 0.5
    y0, y1 = (max(0.0, y0 - spare) if y0 >= 0 else y0 - spare), y1 + spare
    x1 = x1 if x1 > x0 else x0 + 1
    right, bottom = width - RIGHT, height - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * (x - x0) / (x1 - x0), bottom - (bottom - TOP) * (y - y0) / (y1 - y0)

    drawn = []
    for y in ticks(y0, y1):
        _, v = at(x0, y)
        drawn += [grid(LEFT, v, right, v), text(LEFT - 6, v + 4, number(y), "end")]
    for x in ticks(x0, x1, 7):
        if whole and x % 1:
            continue
        u, _ = at(x, y0)
        drawn += [grid(u, bottom, u, bottom + 4), text(u, bottom + 16, number(x), "middle")]
    drawn.append(grid(LEFT, bottom, right, bottom))
    drawn.append(text((LEFT + right) / 2, height - 6, x_label, "middle", "axis"))
    drawn.append(
        f'<text class="axis" font-size="12" fill="currentColor" text-anchor="middle"'
        f' transform="translate(11 {(TOP + bottom) / 2:.0f}) rotate(-90)">{escape(y_label)}</text>'
    )
    if target is not None:
        _, v = at(x0, target)
        drawn.append(
            f'<line x1="{LEFT}" y1="{v:.1f}" x2="{right}" y2="{v:.1f}" stroke-dasharray="2 3"'
            f' style="stroke:{shade(3)}"/>'
        )
    for line in lines:
        places = [at(x, y) for x, y in line.points]
        if line.kind == "line" and len(places) > 1:
            path = " ".join(f"{u:.1f},{v:.1f}" for u, v in places)
            drawn.append(
                f'<polyline points="{path}" fill="none" stroke-width="2" stroke-linejoin="round"'
                f' style="stroke:{shade(line.shade)}"/>'
            )
        if line.kind == "line" and len(places) <= DOTTED_UP_TO:
            drawn += [
                f'<circle cx="{u:.1f}" cy="{v:.1f}" r="2.6" style="fill:{shade(line.shade)}">'
                f"<title>{escape(f'{line.name}: {y:.4g} at {x:.4g}')}</title></circle>"
                for (u, v), (x, y) in zip(places, line.points, strict=True)
            ]
        if line.kind == "star":
            drawn += [star(u, v, line.shade) for u, v in places]
    entries = [(line.name, line.shade) for line in lines if line.points]
    if target is not None:
        entries.append((f"target {target:g}", 3))
    drawn += legend(entries)
    return svg(drawn, width, height, title or f"{y_label} against {x_label}")


def legend(entries: Sequence[tuple[str, int]]) -> list[str]:
    """Names with their colours in a row above the axes."""
    made, x = [], 12.0
    for name, colour in entries:
        made.append(f'<rect x="{x:.0f}" y="10" width="10" height="10" rx="2" style="fill:{shade(colour)}"/>')
        made.append(text(x + 14, 19, name))
        x += 14 + CHARACTER * len(name) + 14
    return made


def stacked_bar(parts: Sequence[Part], title: str, width: int = WIDTH) -> str:
    """Parts of a whole in one bar, with their names, sizes and shares below; empty without any size."""
    parts = [p for p in parts if p.size > 0]
    whole = sum(p.size for p in parts)
    if not parts:
        return ""
    drawn, x = [], 0.0
    for i, part in enumerate(parts):
        wide = width * part.size / whole
        drawn.append(
            f'<rect x="{x:.2f}" y="0" width="{max(wide - 1, 0.5):.2f}" height="30" style="fill:{shade(i)}">'
            f"<title>{escape(f'{part.name}: {part.text}')}</title></rect>"
        )
        x += wide
    for i, part in enumerate(parts):
        y = 52 + 20 * i
        drawn.append(f'<rect x="0" y="{y - 10}" width="11" height="11" rx="2" style="fill:{shade(i)}"/>')
        drawn.append(text(18, y, part.name))
        drawn.append(text(width - 60, y, part.text, "end"))
        drawn.append(text(width, y, f"{100 * part.size / whole:.1f}%", "end"))
    return svg(drawn, width, 52 + 20 * len(parts) - 10, title)


def reliability_diagram(groups: Sequence[Group], title: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Of each group of probabilities how often they were right, against the diagonal; wide bars are of many.

    The fuller a bar's colour, the more of all things are in it.
    """
    right, bottom, top = width - RIGHT, height - BOTTOM, 14
    largest = max((g.count for g in groups), default=0)

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * x, bottom - (bottom - top) * y

    drawn = []
    for i in range(6):
        u, v = at(i / 5, i / 5)
        drawn += [grid(LEFT, v, right, v), text(LEFT - 6, v + 4, f"{20 * i}%", "end")]
        drawn.append(text(u, bottom + 16, f"{20 * i}%", "middle"))
    for g in groups:
        if not g.count:
            continue
        (u0, v), (u1, _) = at(g.low, g.accuracy), at(g.high, 0)
        said = f"{g.count:,} images, {100 * g.confidence:.1f}% sure, {100 * g.accuracy:.1f}% right"
        drawn.append(
            f'<rect x="{u0 + 0.5:.1f}" y="{v:.1f}" width="{u1 - u0 - 1:.1f}" height="{bottom - v:.1f}"'
            f' fill-opacity="{0.25 + 0.75 * (g.count / largest) ** 0.5:.2f}" style="fill:{shade(0)}">'
            f"<title>{escape(said)}</title></rect>"
        )
        u, w = at(g.confidence, g.confidence)
        drawn.append(f'<circle cx="{u:.1f}" cy="{w:.1f}" r="2.6" style="fill:{shade(3)}"/>')
    (u0, v0), (u1, v1) = at(0, 0), at(1, 1)
    drawn.append(
        f'<line x1="{u0:.1f}" y1="{v0:.1f}" x2="{u1:.1f}" y2="{v1:.1f}" stroke="currentColor"'
        ' stroke-dasharray="4 4" stroke-opacity="0.6"/>'
    )
    drawn.append(text((LEFT + right) / 2, height - 6, "how sure it is", "middle", "axis"))
    drawn.append(
        f'<text class="axis" font-size="12" fill="currentColor" text-anchor="middle"'
        f' transform="translate(11 {(top + bottom) / 2:.0f}) rotate(-90)">how often it is right</text>'
    )
    return svg(drawn, width, height, title)


def svg(drawn: Sequence[str], width: int, height: int, title: str) -> str:
    inner = "".join(drawn)
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" style="width:100%;height:auto;max-width:{1.35 * width:.0f}px">{inner}</svg>'
    )


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return (
        f'<text{named} x="{x:.1f}" y="{y:.1f}" font-size="12" fill="currentColor"'
        f' text-anchor="{anchor}">{escape(words)}</text>'
    )


def grid(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        ' style="stroke:var(--line,#ccc)"/>'
    )


def star(x: float, y: float, colour: int) -> str:
    """Five points, 8 pixels from the middle to each."""
    turns = ((r, math.pi * (i / 5 - 0.5)) for i, r in enumerate((8, 3.4) * 5))
    path = " ".join(f"{x + r * math.cos(a):.1f},{y + r * math.sin(a):.1f}" for r, a in turns)
    return f'<polygon points="{path}" style="fill:{shade(colour)}"/>'


def number(x: float) -> str:
    """A tick's number: `0.05`, `12`, `2,000`."""
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:g}"
