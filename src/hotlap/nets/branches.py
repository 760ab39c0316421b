"""A net's layers as they follow each other, and its branches as they run beside each other.

That takes nets whose branches part and meet again, one within another if need be (series-parallel graphs), as
all of hotlap's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hotlap.nets.outline import Layer, Outline


@dataclass(frozen=True)
class Branches:
    """What runs beside each other between two layers, the longest first; a shortcut is one without layers."""

    series: tuple[tuple[Item, ...], ...]


Item = Layer | Branches


def first(item: Item) -> Layer:
    return item if isinstance(item, Layer) else first(item.series[0][0])


def series(outline: Outline) -> list[Item]:
    """A net's layers as they follow each other, with branches where several read the same.

    Raises:
        ValueError: its branches do not part and meet again.
    """
    readers: dict[str, list[Layer]] = {layer.name: [] for layer in outline.layers}
    for layer in outline.layers:
        for name in layer.inputs:
            readers[name].append(layer)
    order = {layer.name: i for i, layer in enumerate(outline.layers)}
    after: dict[str, frozenset[str]] = {}  # of a layer: itself, and all that depends on it
    for layer in reversed(outline.layers):
        after[layer.name] = frozenset((layer.name,)).union(*(after[r.name] for r in readers[layer.name]))
    by_name = {layer.name: layer for layer in outline.layers}

    def run(at: Layer, until: Layer | None) -> list[Item]:
        made: list[Item] = []
        while at is not until:
            made.append(at)
            following = readers[at.name]
            if not following:
                if until is not None:
                    raise ValueError(f"{at.name}: its branch meets no other")
                break
            if len(following) > 1:
                common = frozenset.intersection(*(after[r.name] for r in following))
                if not common:
                    raise ValueError(f"{at.name}: branches part there that do not meet")
                meet = by_name[min(common, key=order.__getitem__)]
                made.append(Branches(tuple(sorted((tuple(run(r, meet)) for r in following), key=size))))
                at = meet
            else:
                at = following[0]
        return made

    return run(outline.layers[0], None)


def size(items: Sequence[Item]) -> int:
    """How many layers there are, less than 0: the most come first."""
    return sum(-1 if isinstance(item, Layer) else sum(map(size, item.series)) for item in items)
