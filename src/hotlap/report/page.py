"""One HTML page that needs nothing else: text, tables and pictures, readable offline, in the dark, on a phone
and on paper.

A page is a title and blocks; each block is a value here and a template of its name in `templates/blocks/`.
Everything is escaped but the SVG of a `Picture` and the address of a `Thumb`, which this library draws.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
CONTENTS_FROM = 5  # headings from which on a page starts with a list of them
NAME_LENGTH = 24  # characters of a class's name beside a matrix


@dataclass(frozen=True)
class Heading:
    """The title of a section, or at level 3 of a part of one."""

    text: str
    level: Literal[2, 3] = 2


@dataclass(frozen=True)
class Code:
    """Lines to be typed or read as they are."""

    text: str


@dataclass(frozen=True)
class Diff:
    """Lines that start with `+ ` or `- `, coloured so."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Cells as text; the columns numbered in `words` are aligned left, the others right, but the first."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: tuple[int, ...] = ()


@dataclass(frozen=True)
class Picture:
    """An SVG picture and what it shows.

    Args:
        svg: trusted: it goes into the page as it is, without its XML head.
        themed: whether it takes its colours from the page, as those of `charts.py` do. Another is drawn
            dark on white, and turned about in the dark.
    """

    svg: str
    caption: str = ""
    themed: bool = False

    @property
    def drawing(self) -> str:
        return self.svg[self.svg.index("<svg") :]  # HTML does not take the XML head


@dataclass(frozen=True)
class Claim:
    """The headline: what the page comes to, in a sentence.

    Args:
        good: whether it is what was hoped for; None where nothing was.
        note: smaller, below it.
    """

    text: str
    good: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One of a `Matrix`: at (row, column), `count` things, a share of its row from 0 to 1."""

    row: int
    column: int
    count: int
    share: float


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix as a heat map.

    Args:
        rows, columns: names. A cell on the diagonal of the columns is what is right.
        counts: (row, column, count) of the cells that are not empty.
        totals: of each row, what a cell's shade is a share of.
        row_title, column_title: what rows and columns are.
        caption: what it shows.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    counts: Sequence[tuple[int, int, int]]
    totals: Sequence[int]
    row_title: str = "is"
    column_title: str = "said to be"
    caption: str = ""

    @property
    def cells(self) -> list[Cell]:
        return [Cell(r, c, n, n / max(self.totals[r], 1)) for r, c, n in self.counts]

    @property
    def side(self) -> int:
        """Pixels of a cell: large enough for its number, where there are few."""
        return 40 if len(self.columns) <= 12 else 28 if len(self.columns) <= 30 else 14

    @property
    def numbered(self) -> bool:
        return self.side > 14

    @property
    def margin(self) -> int:
        """Pixels beside and above the cells for the names."""
        longest = max((len(short(n)) for n in (*self.rows, *self.columns)), default=0)
        return 30 + 7 * longest


@dataclass(frozen=True)
class Thumb:
    """One picture of a `Gallery`.

    Args:
        image: a `data:` address; empty where there is none.
        title, caption: a line in bold, and one below.
        overlay: the `data:` address of a translucent picture, laid over a second copy of the image.
        good: whether what is shown is right; None says nothing.
        pixels: whether the image is so small that its pixels are shown as squares.
        name: of a file; its last part is a line of its own, cut off where there is no room.
    """

    image: str
    title: str
    caption: str = ""
    overlay: str = ""
    good: bool | None = None
    pixels: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        for address in (self.image, self.overlay):
            if address and not address.startswith("data:image/"):
                raise ValueError(f"{address[:40]}: a page holds its pictures itself, as data:image/...")


@dataclass(frozen=True)
class Gallery:
    """Small pictures beside each other."""

    thumbs: Sequence[Thumb]


@dataclass(frozen=True)
class Bar:
    """One of `Bars`: a name, its length (0 to 1), what is written behind it, and a mark at another length."""

    name: str
    share: float
    text: str
    mark: float | None = None


@dataclass(frozen=True)
class Bars:
    """Horizontal bars under each other."""

    bars: Sequence[Bar]
    caption: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Beside:
    """Blocks beside each other, or below on a narrow screen."""

    blocks: Sequence[Block]


@dataclass(frozen=True)
class Details:
    """A section that is folded until someone asks for it; open on paper."""

    summary: str
    blocks: Sequence[Block]


Block = (
    str | Heading | Code | Diff | Table | Picture | Claim | Matrix | Gallery | Bars | Facts | Beside | Details
)


def digits(x: float) -> str:
    """Three digits, or all before the point: `0.400`, `9.50`, `1,234`."""
    return f"{x:,.0f}" if abs(x) >= 99.95 else f"{x:#.3g}"


def short(name: str, length: int = NAME_LENGTH) -> str:
    """The name, or its beginning."""
    return name if len(name) <= length else name[: length - 1] + "…"


def render_page(title: str, *blocks: Block) -> str:
    """The page; a plain string is a paragraph."""
    headings = [b.text for b in blocks if isinstance(b, Heading) and b.level == 2]
    contents = headings if len(headings) >= CONTENTS_FROM else []
    return environment().get_template("page.html").render(title=title, blocks=blocks, contents=contents)


def kind(block: Block) -> str:
    """The name of a block's template."""
    return "paragraph" if isinstance(block, str) else type(block).__name__.lower()


@functools.cache
def environment() -> Environment:
    """Jinja2 with the templates of this room. Imported here, so that what draws nothing starts without it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"kind": kind, "short": short}
    return made
