"""A table that names images and their classes: CSV, TSV, JSON lines or Parquet, one row an image."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hotlap.data.columns import LABELS, PATHS, SPLITS, chosen, splits_of
from hotlap.data.listing import IMAGE_SUFFIXES, shown, split_of_folder, split_within
from hotlap.data.parquet import table_rows
from hotlap.errors import UserError
from hotlap.files import read_error, why

SUFFIXES = (".csv", ".tsv", ".jsonl")
_MOST_BYTES = 1 << 31
_LONGEST_CELL = 1 << 20


@dataclass(frozen=True)
class Table:
    """A table that names images.

    Args:
        path: where it lies.
        folder: the folder of the source that it lies in, with a `/` at its end; "" for the source itself.
        rows: (path, class, split or "") of each row, as text.
        remarks: on which columns were taken.
    """

    path: Path
    folder: str
    rows: Sequence[tuple[str, str, str]]
    remarks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Where it lies in the source, as it can be printed."""
        return shown(self.folder + self.path.name)


def read_table(path: Path, images: str | None, labels: str | None, folder: str = "") -> Table:
    """The table at `path`.

    Without a column of splits, its name or that of its folder may say which split it is of.

    Args:
        images, labels: names of the columns, where they are not to be guessed. Without a line of names the
            columns are told apart by what is in them.
        folder: the folder of the source that it lies in; see `Table`.

    Raises:
        UserError: it does not read, or has no such columns.
    """
    if path.suffix.lower() == ".parquet":
        names, values = table_rows(path)
        cells = [[_cell(row[n]) for n in names] for row in values]
    elif path.suffix.lower() == ".jsonl":
        names, cells = _json_lines(path)
    else:
        names, cells = _csv(path)
        if images is None and labels is None and _headless(names):
            cells = [names, *cells]
            at = next(i for i, n in enumerate(names) if _is_path(n))
            names = [f"column {i + 1}" for i in range(len(names))]
            images = names[at]
            labels = next((n for n in names if n != images), None)
    image, note = chosen(names, PATHS, images, "paths", str(path))
    label, more = chosen([n for n in names if n != image], LABELS, labels, "labels", str(path))
    split, _ = chosen([n for n in names if n not in (image, label)], SPLITS, None, "", str(path), False)
    where = [names.index(n) for n in (image, label)]
    splits = splits_of([row[names.index(split)] for row in cells], str(path)) if split else None
    of_file = split_within(path.stem) or split_of_folder(folder)
    rows = [
        (row[where[0]].strip(), row[where[1]].strip(), splits[i] if splits else of_file)
        for i, row in enumerate(cells)
    ]
    return Table(path, folder, rows, tuple(n for n in (note, more) if n))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES:,} bytes; that is no table of images")
        raw = path.read_bytes()
    except OSError as err:
        raise read_error(err, path) from err
    try:
        return raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _json_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """The keys of the objects, an object a line, without those of lists and objects; and their values."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, line {number:,}, is no JSON object; each line is one, an image's path and label"
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{path} is empty; a table of JSON lines has an object a line, for each image")
    nested = {key for row in rows for key, value in row.items() if isinstance(value, dict | list)}
    names = [n for n in dict.fromkeys(key for row in rows for key in row) if n not in nested]
    return names, [[_cell(row.get(n)) for n in names] for row in rows]


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names in the first line, and the other lines, each as long as that."""
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max("\t;,", key=first.count)
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        rows = [
            r
            for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            if any(map(str.strip, r))
        ]
    except csv.Error as err:
        raise UserError(
            f"{path} is not a table that reads ({shown(why(err))}); save it as CSV again"
        ) from err
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise UserError(f"{path} is empty; a table has a line of names, then a line an image")
    names = [n.strip() for n in rows[0]]
    width = len(names)
    return names, [(r + [""] * width)[:width] for r in rows[1:]]


def _headless(names: Sequence[str]) -> bool:
    return len(names) > 1 and any(_is_path(n) for n in names)


def _is_path(text: str) -> bool:
    return PurePosixPath(text.strip()).suffix.lower() in IMAGE_SUFFIXES


def _cell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)
