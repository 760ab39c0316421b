"""A net in words: a table of its layers, what it costs, how it differs from the one it is compared with."""

from __future__ import annotations

from collections import Counter

from hotlap.nets.outline import Layer, Outline, folded

MARKS = {"same": "  ", "new": "+ ", "changed": "~ ", "moved": "> "}
HEADS = ("layer", "what it is", "makes", "parameters", "multiply-adds", "share")


def costs(outline: Outline) -> str:
    """What a net costs: `115,786 parameters, 7.02 million multiply-adds an image of 3 x 32 x 32`."""
    fixed = f" and {outline.fixed:,} fixed" if outline.fixed else ""
    return (
        f"{outline.parameters:,} parameters{fixed}, {outline.products / 1e6:,.3g} million multiply-adds"
        f" an image of {' x '.join(map(str, outline.shape))}"
    )


def share(products: int, outline: Outline) -> str:
    """Of all multiply-adds: `24%`; empty for none."""
    of_all = 100 * products / max(outline.products, 1)
    return "" if not products else f"{of_all:.0f}%" if of_all >= 0.5 else "<1%"


def rows(outline: Outline) -> list[tuple[str, ...]]:
    """A row for each stage, with its sums, and below it one for each of its layers; at last one for all.

    Their cells are those of `HEADS`. A layer that the net has and the one it is compared with has not is
    marked by `+`, one that differs by `~`, one that stands elsewhere by `>`. Blocks like the one before them
    are in one row.
    """

    def row(name: str, what: str, size: str, parameters: int, products: int) -> tuple[str, ...]:
        numbers = (f"{n:,}" if n else "" for n in (parameters, products))
        return (name, what, size, *numbers, share(products, outline))

    made = []
    for stage in folded(outline).stages:
        learn = sum(layer.parameters for layer in stage.layers)
        made.append(row(stage.name, "", stage.layers[-1].size, learn, stage.products))
        for m in stage.layers:
            name = m.name.removeprefix(f"{stage.name}.")
            made.append(row(f"{MARKS[m.against]}{name}", what(m), m.size, m.parameters, m.products))
    return [*made, row("all", "", "", outline.parameters, outline.products)]


def what(layer: Layer) -> str:
    """What a layer is: `conv 3x3, 64 to 128`."""
    if layer.kind in ("act", "again"):
        return layer.told
    return f"{layer.kind}{', ' if layer.kind == 'norm' and layer.told else ' '}{layer.told}".rstrip()


def marks(outline: Outline) -> list[str]:
    """A line on the marks in the rows; none where there are none."""
    used = {m.against for m in outline.layers if m.against != "same"}
    said = ", ".join(f"{mark.strip()} {against}" for against, mark in MARKS.items() if against in used)
    return [f"{said} since {outline.base}"] if said else []


def difference(outline: Outline) -> list[tuple[str, str]]:
    """What a picture does not show of how a net differs from the other: heads, and a text for each."""
    if not outline.base:
        return []
    changed = Counter(f"{m.kind}: {m.was}" for m in outline.layers if m.against == "changed")
    gone = Counter(what(m) for m in outline.gone)
    if not gone and all(m.against == "same" for m in outline.layers):
        return [("no difference", f"the same net as {outline.base}")]
    lists = {"changed": changed, f"only in {outline.base}": gone}
    return [(head, listed(counts)) for head, counts in lists.items() if counts]


def listed(counts: Counter[str]) -> str:
    return "; ".join(f"{n} x {text}" if n > 1 else text for text, n in counts.items())
