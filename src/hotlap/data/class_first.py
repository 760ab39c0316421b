"""Class folders that each hold the splits: `cat/train/`, `cat/test/`, `dog/train/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hotlap.data.listing import Item, counted, joined, listed, shown, split_named
from hotlap.data.walking import File
from hotlap.errors import UserError

EXCEPTIONS = 1 / 10  # of the class folders, at most, are not divided as the others are


@dataclass(frozen=True)
class ClassFirst:
    """What lies in such folders: items with their files, the layout in words, and what is to be said."""

    items: list[Item]
    files: list[File]
    layout: str
    remarks: list[str]


def class_first(below: Sequence[tuple[File, list[str]]], root: Path) -> ClassFirst | None:
    """The images of class folders with splits in them; None if these are no such folders.

    In a class folder that is divided, every folder is a split; images beside these are passed over. A class
    folder without splits, where nearly all others have them, is trained on.

    Args:
        below: images, each with its folders and its name from the class folder on.

    Raises:
        UserError: some class folders are divided and others are not, or none of them has a `train`.
    """
    inside = [(file, parts) for file, parts in below if len(parts) > 1]
    classes = dict.fromkeys(parts[0] for _, parts in inside)
    folders = {(parts[0], parts[1]) for _, parts in inside if len(parts) > 2}
    whole = {name for name, folder in folders if not split_named(folder)}
    divided = {name for name, _ in folders} - whole
    others = [name for name in classes if name not in divided]
    inside_splits = [(f, parts) for f, parts in inside if parts[0] in divided]
    found = {split for _, parts in inside_splits if (split := _split(parts))}
    if not divided or (len(others) > EXCEPTIONS * len(classes) and len(found) < 2):
        return None
    names = _names(inside_splits)
    if len(others) > EXCEPTIONS * len(classes):
        lacking = listed([f"{shown(n)}/" for n in others])
        raise UserError(
            f"{root}: {len(divided):,} of {counted(len(classes), 'class folder')} have {names} in them, but"
            f" not {lacking}; put the splits into each class folder, or above them"
        )
    if "train" not in found:
        raise UserError(
            f"{root}: the class folders have {names} in them but no train/; add it to each, or give the"
            " folder that holds the images to train on"
        )
    items, files, passed = [], [], Counter[str]()
    for file, parts in inside:
        split = _split(parts) if parts[0] in divided else "train"
        if split:
            items.append(Item(shown(file.name), shown(parts[0]), split, file.stamp))
            files.append(file)
        else:
            passed[parts[0]] += 1
    trained = Counter(parts[0] for _, parts in inside if parts[0] not in divided)
    remarks = [
        f"{shown(name)}/ is not divided as the others are: its {counted(n, 'image')} are trained on"
        for name, n in trained.items()
    ]
    remarks += [
        f"{counted(n, 'image')} in {shown(name)}/ beside {names} passed over" for name, n in passed.items()
    ]
    return ClassFirst(items, files, f"class-per-folder, each with {names}", remarks)


def _split(parts: Sequence[str]) -> str | None:
    """The split of an image, by the folder in its class's folder that it lies in."""
    return split_named(parts[1]) if len(parts) > 2 else None


def _names(inside: Sequence[tuple[File, list[str]]]) -> str:
    """What the splits' folders are called, in the order of the splits."""
    names = {parts[1]: split for _, parts in inside if (split := _split(parts))}
    order = sorted(names, key=lambda n: (("train", "val", "test").index(names[n]), n))
    return joined([f"{shown(n)}/" for n in order])
