"""One HTML page that needs nothing else: text, tables and pictures, readable offline."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222 }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top }
th:first-child, td:first-child, th.text, td.text { text-align: left }
th { border-bottom: 2px solid #999; vertical-align: bottom }
figure { margin: 1rem 0 } figure svg { max-width: 100%; height: auto }
figcaption { color: #555; font-size: .9rem } pre { background: #f4f4f4; padding: .6rem; overflow-x: auto }
.scroll { overflow-x: auto }
"""


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be typed or read as they are."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells as text; the columns numbered in `words` are aligned left, the others right, but the first."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: tuple[int, ...] = ()


@dataclass(frozen=True)
class Picture:
    """An SVG picture and what it shows."""

    svg: str
    caption: str = ""


Block = str | Heading | Code | Table | Picture


def digits(x: float) -> str:
    """Three digits, or all before the point: `0.400`, `9.50`, `1,234`."""
    return f"{x:,.0f}" if abs(x) >= 99.95 else f"{x:#.3g}"


def render_page(title: str, *blocks: Block) -> str:
    """The page; a plain string is a paragraph. Everything but the SVG is escaped."""
    body = "\n".join(_block(b) for b in blocks)
    name = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>{STYLE}</style></head>\n<body><h1>{name}</h1>\n{body}\n</body></html>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{html.escape(block)}</p>"
    if isinstance(block, Heading):
        return f"<h2>{html.escape(block.text)}</h2>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(block.text)}</pre>"
    if isinstance(block, Picture):
        drawing = block.svg[block.svg.index("<svg") :]  # without the XML head, which HTML does not take
        caption = f"<figcaption>{html.escape(block.caption)}</figcaption>" if block.caption else ""
        return f"<figure>{drawing}{caption}</figure>"
    return _table(block)


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="text"' if i in table.words else "" for i in range(len(cells)))
        inner = (f"<{tag}{k}>{html.escape(c)}</{tag}>" for c, k in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    lines = [row(table.head, "th"), *(row(r, "td") for r in table.rows)]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'
