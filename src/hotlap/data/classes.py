"""Which class is which number, and which image is trained on. One map, made from the training images, for
all.

Names decide, never the order or the number of folders: a class that the test images lack moves no label.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hotlap.data.listing import Item, counted, listed
from hotlap.errors import UserError

MISSED = -1  # the label of an image of a class that the training images lack
_SHARE, _SMALLER_SHARE, _MANY = 1 / 5, 1 / 10, 10_000


@dataclass(frozen=True)
class Division:
    """Which items go into which split.

    Args:
        splits: indices of the items by split, ascending: `train`, then the one that accuracy is measured on,
            then others.
        made: the share put aside as `val`, where the source had no split to measure on; else 0.
    """

    splits: Mapping[str, list[int]]
    made: float

    @property
    def measured(self) -> str:
        return list(self.splits)[1]


def class_of(item: Item) -> str:
    """The name of an item's class. Unicode forms of one name are one class: they look the same."""
    return unicodedata.normalize("NFC", item.label)


def divide(items: Sequence[Item], origin: str) -> Division:
    """The splits as the source has them; without one to measure on, part of the training images is put aside.

    Accuracy is measured on `val` if there is one, else on `test`. What is put aside is 1/5 of each class,
    1/10 from over 10,000 images, at least one of each class that has two. Which ones hangs on their names
    alone, so that adding a few images leaves nearly all others where they were.

    Raises:
        UserError: there are no images, or none to train on.
    """
    given: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        given[item.split or "train"].append(i)
    if not items:
        raise UserError(f"{origin} holds no images; give a folder, table or archive that does")
    if not given["train"]:
        raise UserError(
            f"{origin} has no training images, only {listed(sorted(s for s in given if given[s]))}"
        )
    others = [s for s in ("val", "test") if given.get(s)]
    if others:
        return Division({s: given[s] for s in ("train", *others)}, 0.0)
    share = _SMALLER_SHARE if len(items) > _MANY else _SHARE
    by_class: dict[str, list[int]] = defaultdict(list)
    for i in given["train"]:
        by_class[class_of(items[i])].append(i)
    aside: set[int] = set()
    for members in by_class.values():
        if len(members) > 1:
            count = min(max(1, round(share * len(members))), len(members) - 1)
            aside |= set(sorted(members, key=lambda i: _rank(items[i].name))[:count])
    if not aside:
        raise UserError(
            f"{origin} has {counted(len(items), 'image')}, one a class at most: nothing is left to measure"
            " on; add images, or a val/ folder"
        )
    return Division({"train": [i for i in given["train"] if i not in aside], "val": sorted(aside)}, share)


def all_to_measure(items: Sequence[Item], origin: str) -> Division:
    """What a model is measured on: the `test` images if there are any, else `val`, else all there are.

    Raises:
        UserError: there are no images.
    """
    if not items:
        raise UserError(f"{origin} holds no images; give a folder, table or archive that does")
    there = {item.split for item in items}
    split = next((s for s in ("test", "val") if s in there), None)
    chosen = [i for i, item in enumerate(items) if split is None or item.split == split]
    return Division({"train": [], split or "test": chosen}, 0.0)


def _rank(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=b"put aside").digest()


def class_map(names: Iterable[str], order: Sequence[str] | None, origin: str) -> tuple[str, ...]:
    """The classes in label order: as the source orders them, else by number if all are numbers, else by name.

    Args:
        names: of the classes of the training images, each at least once.

    Raises:
        UserError: there is one class only.
    """
    found = set(names)
    if len(found) < 2:
        only = f"one class only, {found.pop()!r}" if found else "no class with an image that reads"
        raise UserError(f"{origin} has {only}; there must be two or more to tell apart")
    if order is not None:
        placed = [n for n in dict.fromkeys(unicodedata.normalize("NFC", n) for n in order) if n in found]
        return (*placed, *sorted(found - set(placed)))
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", n, re.ASCII) for n in found):
        return tuple(sorted(found, key=lambda n: (int(n), n)))
    return tuple(sorted(found))


def labels_of(names: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """The label of each of a split's images by its class's name, (N,) int64; -1 for classes not in the map.

    A name that is in the map in other case only (`Cat`, `cat`) is that class, unless more than one fits or
    the split has that class as well.
    """
    number = {name: i for i, name in enumerate(classes)}
    folded: dict[str, list[int]] = defaultdict(list)
    for name, i in number.items():
        folded[name.casefold()].append(i)
    present = set(names)
    table: dict[str, int] = {}
    for name in present:
        near = folded.get(name.casefold(), [])
        alone = len(near) == 1 and classes[near[0]] not in present
        table[name] = number.get(name, near[0] if alone else MISSED)
    return np.fromiter((table[name] for name in names), np.int64, len(names))


def class_remarks(
    items: Sequence[Item],
    classes: Sequence[str],
    counts: Mapping[str, Sequence[int]],
    declared: Iterable[str],
    names: Mapping[str, Sequence[str]],
    labels: Mapping[str, npt.NDArray[np.int64]],
) -> tuple[list[str], dict[str, int]]:
    """What the user should know of the classes, one line each; and how many images are missed, by class.

    Args:
        items: of the source, all of them.
        counts: images of each class by split, in label order.
        declared: classes that the source has a place for.
        names, labels: of the images of each split.
    """
    remarks = []
    forms: dict[str, set[str]] = defaultdict(set)
    for label in {i.label for i in items}:
        forms[unicodedata.normalize("NFC", label)].add(label)
    if twice := sorted(n for n, f in forms.items() if len(f) > 1):
        remarks.append(f"{listed(twice)}: written in two Unicode forms, taken as one class")
    cases: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        cases[name.casefold()].append(name)
    remarks += [
        f"{' and '.join(same)} differ only by case: kept apart as {len(same)} classes"
        for same in cases.values()
        if len(same) > 1
    ]
    empty = sorted({unicodedata.normalize("NFC", n) for n in declared} - set(classes))
    if empty := [n for n in empty if n.casefold() not in cases]:
        has, are = ("class has", "is") if len(empty) == 1 else ("classes have", "are")
        remarks.append(f"{len(empty):,} {has} no training image and {are} left out: {listed(empty)}")
    if single := [n for n, count in zip(classes, counts["train"], strict=True) if count == 1]:
        verb = "class has" if len(single) == 1 else "classes have"
        remarks.append(f"{len(single):,} {verb} one training image: {listed(single)}")
    missed: Counter[str] = Counter()
    for split, of_split in names.items():
        gone = Counter(n for n, label in zip(of_split, labels[split], strict=True) if label == MISSED)
        if gone:
            missed += gone
            what = counted(len(gone), "class", "classes")
            images = counted(sum(gone.values()), "image")
            remarks.append(
                f"{what} only in {split}, not in train: {listed(sorted(gone))}; {images} count as missed"
            )
        near = sorted({n for n, k in zip(of_split, labels[split], strict=True) if k >= 0 and n != classes[k]})
        if near:
            remarks.append(
                f"{listed(near)} in {split}: written in other case than in train, taken as the same"
            )
    return remarks, dict(missed)
