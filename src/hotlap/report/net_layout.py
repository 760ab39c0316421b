"""Where the layers of a net stand in its picture.

A net is read from the top down, its stages as boxes beside each other and, where these would be too many, in
several bands. In a stage, layers that follow each other stand on each other; what runs beside them, such as
the shortcut of a residual, stands to their right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hotlap.nets.branches import Branches, Item, first, series
from hotlap.nets.outline import Layer, Outline, Stage

ROW, GAP, STEP = 20, 2, 16  # a layer's height, between two of a chain, where branches part or meet
LANE, BETWEEN = 12, 10  # room of a shortcut without layers; between branches
CIRCLE = 16  # an addition, across
HEAD, PAD = 42, 8  # the words above a stage's layers; around them
APART, BELOW, BANDS = 24, 24, 40  # between stages beside and below each other; between bands
TURN = 11  # how far outside a stage the line to the next one turns
WIDEST = 940  # of a picture, pixels

Point = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """A layer, and the top left corner of its place."""

    layer: Layer
    x: float
    y: float


@dataclass(frozen=True)
class Wire:
    """A line through points; `meet` is the layer where the branches meet that it is part of."""

    points: tuple[Point, ...]
    meet: Layer | None = None


@dataclass(frozen=True)
class Box:
    """A stage's place."""

    stage: Stage
    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout:
    """A picture's parts, in pixels from its top left corner.

    Args:
        wide: width of a layer.
        rows, wires: layers, and the lines between those of a stage.
        boxes, arrows: stages, and the lines from each to the next.
        width, height: of all.
    """

    wide: float
    rows: list[Row] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Wire] = field(default_factory=list)
    width: float = 0
    height: float = 0


def layout(outline: Outline, wide: float) -> Layout:
    """The places of an outline's layers.

    Args:
        wide: width of a layer, pixels.

    Raises:
        ValueError: its branches do not part and meet again.
    """
    items = series(outline)
    sizes = []
    for stage in outline.stages:
        names = {layer.name for layer in stage.layers}
        own = [item for item in items if first(item).name in names]
        right, bottom = place(Layout(wide), own, PAD, HEAD)
        sizes.append((stage, own, right + PAD, bottom + PAD))
    made, y = Layout(wide), 0.0
    for band in bands(columns([(width, height) for *_, width, height in sizes])):
        x, y, deepest = 0.0, y + TURN, 0.0
        for column in band:
            top = y
            for number in column:
                stage, own, width, height = sizes[number]
                place(made, own, x + PAD, top + HEAD)
                made.boxes.append(Box(stage, x, top, width, height))
                top += height + BELOW
            x += max(sizes[number][2] for number in column) + APART
            deepest = max(deepest, top - BELOW)
        made.width = max(made.width, x - APART)
        made.height, y = deepest + TURN, deepest + BANDS - TURN
    made.arrows = [Wire(between(a, b, wide)) for a, b in pairwise(made.boxes)]
    return made


def columns(sizes: Sequence[Point]) -> list[tuple[list[int], float]]:
    """The numbers of what stands below each other, with its width: none is higher than the highest stage."""
    tallest = max(height for _, height in sizes)
    made: list[tuple[list[int], float]] = []
    used = 0.0
    for number, (width, height) in enumerate(sizes):
        if made and used + BELOW + height <= tallest:
            made[-1] = ([*made[-1][0], number], max(made[-1][1], width))
            used += BELOW + height
        else:
            made.append(([number], width))
            used = height
    return made


def bands(columns: Sequence[tuple[list[int], float]]) -> list[list[list[int]]]:
    """The columns that stand beside each other: as many as there is room for.

    A last stage that would begin a band alone goes below the column before it.
    """
    made: list[list[list[int]]] = []
    used = 0.0
    for place, (numbers, width) in enumerate(columns, start=1):
        if made and used + APART + width <= WIDEST:
            made[-1].append(numbers)
            used += APART + width
        elif made and place == len(columns) and len(numbers) == 1:
            made[-1][-1] += numbers
        else:
            made.append([numbers])
            used = width
    return made


def between(a: Box, b: Box, wide: float) -> tuple[Point, ...]:
    """The line from a stage to the next: below it, beside it, or at the beginning of the next band."""
    out, into = (a.x + PAD + wide / 2, a.y + a.height), (b.x + PAD + wide / 2, b.y)
    if a.x == b.x and b.y > a.y:
        return out, into
    if b.x > a.x:
        low, gutter, high = out[1] + TURN, b.x - APART / 2, into[1] - TURN
        return out, (out[0], low), (gutter, low), (gutter, high), (into[0], high), into
    middle = into[1] - BANDS / 2  # between the turns of the band above and those of this one
    return out, (out[0], middle), (into[0], middle), into


def place(made: Layout, items: Sequence[Item], x: float, y: float) -> Point:
    """Put what follows each other below (x, y); the right and the lower end of its room."""
    axis, right = x + made.wide / 2, x + made.wide
    before: Item | None = None
    for item, meet in zip(items, (*items[1:], None), strict=True):
        if isinstance(item, Layer):
            if isinstance(before, Layer) and "add" in (before.kind, item.kind):
                made.wires.append(Wire(((axis, y), (axis, y + STEP))))
                y += STEP
            elif isinstance(before, Layer):
                y += GAP
            made.rows.append(Row(item, x, y))
            y += CIRCLE if item.kind == "add" else ROW
        else:
            if not isinstance(meet, Layer):
                raise ValueError("branches that do not meet in a layer cannot be drawn")
            wide, y = beside(made, item, meet, x, y)
            right = max(right, wide)
        before = item
    return right, y


def beside(made: Layout, branches: Branches, meet: Layer, x: float, y: float) -> Point:
    """Put branches beside each other below (x, y), the first on the axis of what is above and below."""
    axis, fork, top = x + made.wide / 2, y + STEP / 2, y + STEP
    ends: list[Point] = []
    right = x - BETWEEN
    for items in branches.series:
        left = right + BETWEEN
        right, bottom = place(made, items, left, top) if items else (left + LANE, top)
        ends.append((left + (made.wide if items else LANE) / 2, bottom))
    low = max(bottom for _, bottom in ends) + STEP
    across = CIRCLE if meet.kind == "add" else ROW
    edge, middle = axis + (CIRCLE if meet.kind == "add" else made.wide) / 2, low + across / 2
    made.wires += [Wire(((axis, y), (axis, top)), meet), Wire(((axis, ends[0][1]), (axis, low)), meet)]
    for items, (at, bottom) in list(zip(branches.series, ends, strict=True))[1:]:
        begin, end = ((axis, fork), (at, fork)), ((at, middle), (edge, middle))
        if items:
            made.wires += [Wire((*begin, (at, top)), meet), Wire(((at, bottom), *end), meet)]
        else:
            made.wires.append(Wire((*begin, *end), meet))
    return right, low
