"""Which column of a table is which, by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hotlap.data.listing import listed, shown, split_named
from hotlap.errors import UserError, did_you_mean

PATHS = (
    "path",
    "filepath",
    "filepaths",
    "filename",
    "filenames",
    "file",
    "image",
    "imagepath",
    "imagefile",
    "imagename",
    "imageid",
    "img",
    "imgpath",
    "imgname",
    "images",
    "paths",
    "id",
)
LABELS = (
    "label",
    "labels",
    "classname",
    "class",
    "classes",
    "labelname",
    "category",
    "target",
    "targets",
    "species",
    "breed",
    "y",
    "diagnosis",
    "dx",
    "fine_label",
    "finelabel",
    "tag",
)
SPLITS = ("split", "splits", "set", "subset", "dataset", "partition")


class NoColumn(UserError):
    """A table lacks a column of `what`."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(text)
        self.what = what


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def chosen(
    columns: Sequence[str], words: Sequence[str], told: str | None, what: str, where: str, needed: bool = True
) -> tuple[str, str]:
    """The column that holds `what`, and a remark if more than one could.

    Args:
        words: names that such a column has, the likeliest first, without separators.
        told: the name that the user gave.
        where: the table, for errors.
        needed: raise if there is none; else "" comes back.

    Raises:
        UserError: there is no such column.
    """
    if told is not None:
        if told in columns:
            return told, ""
        near = did_you_mean(told, columns)
        raise UserError(
            f"{where} has no column {shown(told)!r} among {listed([shown(c) for c in columns], 10)}{near}"
        )
    fits = [c for word in words for c in columns if plain(c) == plain(word)]
    if fits:
        others = [c for c in dict.fromkeys(fits) if c != fits[0]]
        note = f"{what} are those of the column {fits[0]!r}, not of {listed(others)}" if others else ""
        return fits[0], note if needed else ""
    if needed:
        among = f" among {listed([shown(c) for c in columns], 10)}" if columns else ""
        option = {"labels": "--label-column", "paths": "--image-column"}.get(what, "")
        raise NoColumn(
            what,
            f"{where} has no column of {what}{among}; name it with {option}, or call it {words[0]!r}",
        )
    return "", ""


def splits_of(values: Sequence[Any], where: str) -> list[str] | None:
    """The split in each cell of a column of splits; None if it holds something else than splits.

    Raises:
        UserError: some cells name a split and others do not.
    """
    cells = [str(value) for value in values]
    words = {cell: split_named(cell) for cell in cells}
    if not any(words.values()):
        return None
    if others := [cell for cell, split in words.items() if split is None]:
        raise UserError(f"{where} has the split {shown(others[0])!r}; write train, val or test in each row")
    return [words[cell] or "" for cell in cells]
