"""A table that names images and their classes: CSV, TSV or Parquet, one row an image."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hotlap.data.columns import LABELS, PATHS, SPLITS, chosen, splits_of
from hotlap.data.listing import IMAGE_SUFFIXES, Item, Listing, Payload, counted, listed, shown, split_within
from hotlap.data.parquet import table_rows
from hotlap.data.walking import walk
from hotlap.errors import UserError
from hotlap.files import read_error, why

SUFFIXES = (".csv", ".tsv")
_MOST_BYTES = 1 << 31
_LONGEST_CELL = 1 << 20


@dataclass(frozen=True)
class Table:
    """A table that names images.

    Args:
        path: where it lies.
        rows: (path, class, split or "") of each row, as text.
        remarks: on which columns were taken.
    """

    path: Path
    rows: Sequence[tuple[str, str, str]]
    remarks: tuple[str, ...]


def read_table(path: Path, images: str | None, labels: str | None) -> Table:
    """The table at `path`.

    Args:
        images, labels: names of the columns, where they are not to be guessed. Without a line of names the
            columns are told apart by what is in them.

    Raises:
        UserError: it does not read, or has no such columns.
    """
    if path.suffix.lower() == ".parquet":
        names, values = table_rows(path)
        cells = [[_cell(row[n]) for n in names] for row in values]
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
    of_file = split_within(path.stem) or ""
    rows = [
        (row[where[0]].strip(), row[where[1]].strip(), splits[i] if splits else of_file)
        for i, row in enumerate(cells)
    ]
    return Table(path, rows, tuple(n for n in (note, more) if n))


def manifest_listing(tables: Sequence[Table], root: Path, *, within: bool) -> Listing:
    """The images that tables name, wherever below `root` they lie.

    A path is taken as it stands, below `root`; else, without its suffix or its folders, if that names one
    image only.

    Args:
        within: whether a path may not lead out of `root`, as one in an archive may not.

    Raises:
        UserError: no image is where a table says.
    """
    finder = _Finder(root, within)
    items: list[Item] = []
    found: list[Path | str] = []
    seen: dict[str, str] = {}
    passed: Counter[str] = Counter()
    for table in tables:
        for name, label, split in table.rows:
            if not name or not label:
                passed["rows without a path or a label"] += 1
                continue
            if name in seen:
                passed["rows that come twice"] += 1
                passed["of those with another label or split"] += seen[name] != f"{label}\0{split}"
                continue
            seen[name] = f"{label}\0{split}"
            path, stamp = finder.find(name)
            items.append(Item(shown(name), shown(label), split, stamp))
            found.append(path)
    if not items:
        raise UserError(f"{tables[0].path} names no images; a row is a path and a label")
    if not any(isinstance(p, Path) for p in found):
        raise UserError(
            f"none of the {counted(len(items), 'image')} that {tables[0].path} names is below {root}, the"
            f" first is {items[0].name!r}; give the folder they lie in with --data-dir"
        )
    if not any(i.split for i in items):
        items = _by_folder(items)
    remarks = [r for t in tables for r in t.remarks]
    if conflicts := passed.pop("of those with another label or split", 0):
        remarks.append(
            f"{counted(conflicts, 'image')} listed twice with another label or split: the first counts"
        )
    left = finder.unnamed(found)
    if left:
        passed["images that no row names"] += left
    names = listed([shown(t.path.name) for t in tables])
    return Listing(
        f"images named by {names}", items, _Payloads(found), remarks=tuple(remarks), passed_over=dict(passed)
    )


class _Payloads:
    def __init__(self, found: Sequence[Path | str]) -> None:
        self.found = found

    def __call__(self, indices: Sequence[int]) -> Iterator[Payload]:
        for i in indices:
            yield self.found[i]


class _Finder:
    """Where the images lie that a table names. The folder is walked only if a path does not stand as it
    is."""

    def __init__(self, root: Path, within: bool) -> None:
        self.root, self.within = root, within
        self.inside = str(root.resolve())
        self._by_name: dict[str, list[str]] | None = None
        self._images = 0

    def find(self, name: str) -> tuple[Path | str, str]:
        """The file and its stamp, or why there is none and ""."""
        text = name.replace("\\", "/") if "/" not in name else name
        direct = Path(os.path.expanduser(text)) if text.startswith("~/") and not self.within else Path(text)
        path = self.root / (text.lstrip("/") if self.within else direct)
        if "\0" in text or (self.within and not self._contained(path)):
            return "outside its folder", ""
        stamp = _stamp(path)
        if stamp is None:
            tail = PurePosixPath(text)
            near = self._near(str(tail).lower()) or self._near(tail.name.lower())
            if len(near) != 1:
                return "not there" if not near else f"{len(near)} files are called so", ""
            path = self.root / near[0]
            stamp = _stamp(path)
        return (path, stamp) if stamp is not None else ("not there", "")

    def unnamed(self, found: Sequence[Path | str]) -> int:
        """How many images below the root are not among those found; 0 if the folder was not walked."""
        return max(0, self._images - len({p for p in found if isinstance(p, Path)}))

    def _contained(self, path: Path) -> bool:
        try:
            real = str(path.resolve())
        except (OSError, RuntimeError, ValueError):
            return False
        return real.startswith(self.inside + os.sep)

    def _near(self, name: str) -> list[str]:
        if self._by_name is None:
            self._by_name = {}
            images = walk(self.root).images()
            self._images = len(images)
            for file in images:
                base = file.parts[-1].lower()
                whole = file.name.lower()
                for key in {base, base.removesuffix(file.suffix), whole, whole.removesuffix(file.suffix)}:
                    self._by_name.setdefault(key, []).append(file.name)
        return self._by_name.get(name, [])


def _stamp(path: Path) -> str | None:
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return f"{about.st_size} {about.st_mtime_ns}" if stat.S_ISREG(about.st_mode) else None


def _by_folder(items: list[Item]) -> list[Item]:
    """The items with the splits that their first folders name, if all of them do."""
    splits = [split_within(i.name.split("/")[0]) if "/" in i.name else None for i in items]
    if any(s is None for s in splits) or len(set(splits)) < 2:
        return items
    return [Item(i.name, i.label, s or "", i.stamp) for i, s in zip(items, splits, strict=True)]


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names in the first line, and the other lines, each as long as that."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES:,} bytes; that is no table of images")
        raw = path.read_bytes()
    except OSError as err:
        raise read_error(err, path) from err
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max("\t;,", key=first.count)
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        rows = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(r)]
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


def agrees(table: Table, folders: Mapping[str, str]) -> bool:
    """Whether a table and class folders say the same: each folder goes with one label, and each with another.

    Args:
        folders: the class folder of each image, by its file name in lower case.
    """
    pairs = {
        (folder, label)
        for name, label, _ in table.rows
        if (folder := folders.get(PurePosixPath(name.replace("\\", "/")).name.lower())) is not None
    }
    firsts, seconds = ({p[i] for p in pairs} for i in (0, 1))
    return bool(pairs) and len(pairs) == len(firsts) == len(seconds)
