"""Two nets beside each other: which layers of one are not in the other, and which differ.

Layers are paired as two texts are by `diff`: both sequences stay as they are, and of all ways to pair them
the one is taken in which most layers are built alike and called the same.

Source: Needleman & Wunsch (1970).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hotlap.nets.outline import Layer, Outline, part_of

# what a pair of layers is worth: for being built alike, or only of one kind; and for what their names share
SAME, LIKE = 8, 3
NAME, LEAF = 2, 1


def compared(outline: Outline, base: Outline, name: str) -> Outline:
    """The outline, each layer marked by how it stands to those of `base`, which is called `name`.

    A layer is `same` if the base has one built alike in its place, `changed` if the one there has other
    settings, `moved` if one of its name and settings stands elsewhere in the base, and else `new`. Sizes of
    images do not count: they follow from what comes before.
    """
    pairs = paired(outline.layers, base.layers)
    left = {layer.name: layer for layer in base.layers}
    for old in pairs.values():
        del left[old.name]
    marked = []
    for layer in outline.layers:
        if layer.name in pairs:
            words = differences(layer, pairs[layer.name])
            marked.append(replace(layer, against="changed", was=words) if words else layer)
        elif layer.name in left and same(layer, left[layer.name]):
            del left[layer.name]
            marked.append(replace(layer, against="moved", was="moved"))
        else:
            marked.append(replace(layer, against="new"))
    return replace(outline, layers=tuple(marked), base=name, gone=tuple(left.values()))


def same(a: Layer, b: Layer) -> bool:
    return (a.kind, a.settings) == (b.kind, b.settings)


def differences(new: Layer, old: Layer) -> str:
    """What of a layer is another than it was: `kernel 3x3 (was 1x1)`."""
    keys = [k for k in new.settings if new.settings[k] != old.settings.get(k)]
    return ", ".join(f"{k} {new.settings[k]} (was {old.settings.get(k, 'none')})" for k in keys)


def worth(a: Layer, b: Layer, parts: frozenset[str]) -> int:
    """Of a pair; 0 if the two are none.

    Args:
        parts: that both nets have; layers of two of these are no pair.
    """
    mine, its = part_of(a), part_of(b)
    if a.kind != b.kind or (mine != its and {mine, its} <= parts):
        return 0
    last = a.name.rpartition(".")[2] == b.name.rpartition(".")[2]
    return (SAME if same(a, b) else LIKE) + NAME * (a.name == b.name) + LEAF * last


def paired(new: Sequence[Layer], old: Sequence[Layer]) -> dict[str, Layer]:
    """The old layer that each new one is paired with, by the new one's name: what is worth most in all."""
    parts = frozenset(map(part_of, new)) & frozenset(map(part_of, old))
    worths = [[worth(a, b, parts) for b in old] for a in new]
    best = [[0] * (len(old) + 1) for _ in range(len(new) + 1)]  # of new[i:] and old[j:]
    for i in reversed(range(len(new))):
        for j in reversed(range(len(old))):
            pair = worths[i][j] and worths[i][j] + best[i + 1][j + 1]
            best[i][j] = max(pair, best[i + 1][j], best[i][j + 1])
    found: dict[str, Layer] = {}
    i = j = 0
    while i < len(new) and j < len(old):
        if worths[i][j] and best[i][j] == worths[i][j] + best[i + 1][j + 1]:
            found[new[i].name] = old[j]
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return found
