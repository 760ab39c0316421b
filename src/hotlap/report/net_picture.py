"""The picture of a net, as SVG: its layers, what each costs, and where it differs from another.

Inside a page it takes its colours from the page's style; a file brings them with it, and turns dark with the
reader's. Its words can be selected, and a layer tells more when the pointer rests on its name.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

from hotlap.nets.outline import Layer, Outline, folded
from hotlap.report.charts import CHARACTER
from hotlap.report.net_layout import CIRCLE, PAD, ROW, Box, Layout, Point, Row, layout
from hotlap.report.net_words import costs, difference, share
from hotlap.report.page import TEMPLATES

MARGIN, TITLE, LINE = 14, 44, 18  # around a file; the words above the net; a line of those below it
NARROWEST = 420  # of a picture, pixels
MOST = 4  # lines on what changed, and on what is gone
WIDE_CHARACTER = 7.0  # pixels, of a character where the system's font is a wide one
CLASSES = {"same": "layer", "new": "new", "changed": "changed", "moved": "changed"}


def net_picture(outline: Outline, title: str) -> str:
    """A net as an SVG element for a page of `hotlap.report.page`.

    Layers that the net it is compared with does not have are green; those that it has with other settings, or
    elsewhere, are orange. The shading in a layer is its share of all multiply-adds. Blocks that repeat the
    one before them are drawn as one layer.

    Args:
        title: what the net is called.

    Raises:
        ValueError: the net's branches do not part and meet again.
    """
    return element(outline, title, margin=1, inline="max-width:none")


def net_file(outline: Outline, title: str) -> str:
    """The same as an SVG file that needs no page."""
    styles = [(TEMPLATES / name).read_text(encoding="utf-8") for name in ("colours.css", "net.css")]
    style = " ".join(" ".join([*styles, "svg { background: var(--page) }"]).split())
    return element(outline, title, MARGIN, f"<style>{style}</style>") + "\n"


def element(outline: Outline, title: str, margin: int, style: str = "", inline: str = "") -> str:
    shown = folded(outline)
    longest = max(len(m.label) + len(share(m.products, outline)) for m in shown.layers)
    at = layout(shown, round(WIDE_CHARACTER * longest) + 24)
    width = max(at.width, NARROWEST)
    below = legend(outline, width)
    parts = (
        style,
        words(0, 12, title, "name") + words(0, 31, costs(outline), "dim"),
        f'<g transform="translate(0 {TITLE})">',
        "".join(stage(box, outline) for box in at.boxes),
        wires(at),
        "".join(layer(row, at.wide, outline) for row in at.rows),
        f'</g><g transform="translate(0 {TITLE + at.height + MARGIN:g})">',
        "".join(below),
        "</g></svg>",
    )
    full, tall = width + 2 * margin, TITLE + at.height + MARGIN + LINE * len(below) + 2 * margin
    styled = f' style="{inline}"' if inline else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" class="net"'
        f' viewBox="{-margin} {-margin} {full:g} {tall:g}" width="{full:g}" height="{tall:g}"{styled}>'
        + "\n".join(filter(None, parts))
    )


def words(x: float, y: float, text: str, kind: str = "", more: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    told = f"<title>{escape(more)}</title>" if more else ""
    return f'<text x="{x:g}" y="{y:g}"{named}>{escape(text)}{told}</text>'


def stage(box: Box, outline: Outline) -> str:
    """A stage: its name, its share, what it makes."""
    return (
        f'<rect class="stage" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}"/>'
        + words(box.x + PAD, box.y + 16, box.stage.name, "name")
        + words(box.x + box.width - PAD, box.y + 16, share(box.stage.products, outline), "end dim")
        + words(box.x + PAD, box.y + 33, box.stage.layers[-1].size, "dim")
    )


def wires(at: Layout) -> str:
    """All lines: those of branches that are new by themselves."""
    new = [w for w in at.wires if w.meet is not None and w.meet.against == "new"]
    plain = "".join(line(w.points) for w in at.wires if w not in new)
    plain += "".join(line(w.points) + arrow(w.points[-1]) for w in at.arrows)
    marked = "".join(line(w.points) for w in new)
    drawn = (("wire", plain), ("branch", marked))
    return "".join(f'<path class="{name}" d="{d}"/>' for name, d in drawn if d)


def line(points: Sequence[Point]) -> str:
    (x, y), *others = points
    return f"M{x:g} {y:g}" + "".join(f"L{u:g} {v:g}" for u, v in others)


def arrow(at: Point) -> str:
    """The head of an arrow that points down to `at`."""
    x, y = at
    return f"M{x - 4:g} {y - 6:g}L{x:g} {y - 1:g}L{x + 4:g} {y - 6:g}"


def layer(row: Row, wide: float, outline: Outline) -> str:
    """A layer: its name, its share in words and as a shade, and all there is to tell when pointed at."""
    m, x, y = row.layer, row.x, row.y
    kind = CLASSES[m.against]
    if m.kind == "add":
        middle = x + wide / 2
        circle = f'<circle class="{kind}" cx="{middle:g}" cy="{y + CIRCLE / 2:g}" r="{CIRCLE / 2:g}"/>'
        return circle + words(middle, y + 12.5, m.label, "middle", m.name)
    drawn = f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{wide:g}" height="{ROW}"/>'
    filled = wide * m.products / max(outline.products, 1)
    if filled >= 0.5:
        drawn += f'<rect class="share" x="{x:g}" y="{y:g}" width="{filled:.1f}" height="{ROW}"/>'
    drawn += words(x + 6, y + 14.5, m.label, "", told(m) if m.products or m.was else "")
    if m.products:
        drawn += words(x + wide - 6, y + 14.5, share(m.products, outline), "end dim")
    return drawn


def told(m: Layer) -> str:
    """All there is to tell of a layer, in a line."""
    learn = f"{m.parameters:,} parameters" if m.parameters else ""
    cost = f"{m.products:,} multiply-adds" if m.products else ""
    return "; ".join(filter(None, (m.name, m.told, m.size, learn, cost, m.was)))


def legend(outline: Outline, width: float) -> list[str]:
    """Lines below the net: what the colours mean, and which layers are gone."""
    entries = [("share", "share of the multiply-adds")]
    if outline.base:
        used = {CLASSES[m.against] for m in outline.layers}
        moved = any(m.against == "moved" for m in outline.layers)
        meanings = {"new": "new", "changed": "changed or moved" if moved else "changed"}
        entries += [(name, f"{word} since {outline.base}") for name, word in meanings.items() if name in used]
    drawn, x = "", 0.0
    for name, word in entries:
        drawn += f'<rect class="{name}" x="{x:g}" y="2" width="12" height="12"/>{words(x + 18, 12.5, word)}'
        x += 18 + WIDE_CHARACTER * len(word) + 14
    told = [f"{head}: {text}" for head, text in difference(outline)]
    room = int(width / CHARACTER)
    said = [part for text in told for part in textwrap.wrap(text, room, max_lines=MOST, placeholder=" ...")]
    return [drawn, *(words(0, 12.5 + LINE * i, text) for i, text in enumerate(said, start=1))]
