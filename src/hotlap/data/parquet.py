"""Parquet files with the images in them, as the Hugging Face hub keeps data sets; and tables of paths.

An image is a column of bytes, or of structs with `bytes` and `path`; a label a number, whose name may stand
in the schema (`ClassLabel`), or text. pyarrow reads the files; it is imported when it is needed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotlap.data.columns import LABELS, SPLITS, chosen, splits_of
from hotlap.data.listing import Item, Listing, Payload, listed, shown, split_of_folder, split_within
from hotlap.data.walking import File
from hotlap.errors import UserError
from hotlap.files import why

_TOGETHER = 64


@dataclass(frozen=True)
class _Shard:
    """One file: where its rows begin among the items."""

    path: Path
    first: int
    count: int


def parquet_module(path: Path) -> Any:
    """`pyarrow.parquet`.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError(
            f"{path} is Parquet, which pyarrow reads, and that is not installed: pip install"
            " 'hotlap[parquet]'"
        ) from None


def holds_images(path: Path, images: str | None) -> bool:
    """Whether a Parquet file has a column of images in it, not only of their paths.

    Raises:
        UserError: it does not read.
    """
    with _opened(path) as file:
        return _image_column(file.schema_arrow, images) is not None


def parquet_listing(
    root: Path, files: Sequence[File], origin: str, images: str | None, labels: str | None
) -> Listing:
    """The images in Parquet files, one set in shards.

    The split of a file is in its name (`train-00000-of-00001.parquet`) or its folder's, unless there is a
    column of splits.

    Args:
        images, labels: names of the columns, where they are not to be guessed.

    Raises:
        UserError: a file does not read, lacks the columns, or disagrees with the others on the classes.
    """
    items: list[Item] = []
    shards: list[_Shard] = []
    names: tuple[str, ...] | None = None
    remarks: list[str] = []
    image_column = ""
    for file in files:
        path = root / file.name
        with _opened(path) as table:
            schema = table.schema_arrow
            found = _image_column(schema, images)
            if found is None:
                raise UserError(f"{path} has no column of images among {listed(schema.names, 10)}")
            image_column = found
            others = [n for n in schema.names if n != found]
            label, note = chosen(others, LABELS, labels, "labels", str(path))
            split, _ = chosen(others, SPLITS, None, "splits", str(path), needed=False)
            if note and note not in remarks:
                remarks.append(note)
            own = _class_names(schema, label)
            if shards and own != names:
                raise UserError(
                    f"{origin}: {file.name} names other classes than the files before it; give one set"
                )
            names = own
            columns = [label, *([split] if split else [])]
            values = _read(path, lambda t=table, c=columns: t.read(columns=c).to_pydict())
        shards.append(_Shard(path, len(items), len(values[label])))
        of_file = split_within(file.parts[-1]) or split_of_folder("/".join(file.parts[:-1]))
        splits = splits_of(values[split], str(path)) if split else None
        for row, value in enumerate(values[label]):
            of_row = splits[row] if splits else of_file
            text = _class(value, names, path, row)
            items.append(Item(f"{shown(file.name)}[{row}]", text, of_row or "train", file.stamp))
    payloads = _Payloads(root, shards, image_column)
    shards_said = f"{len(files)} Parquet files" if len(files) > 1 else "a Parquet file"
    return Listing(
        f"{shards_said} with images in {image_column!r} and labels in {label!r}",
        items,
        payloads,
        tuple(shown(n) for n in names) if names else None,
        frozenset(shown(n) for n in names or ()),
        tuple(remarks),
    )


class _Payloads:
    """The bytes of images, read in stretches of rows."""

    def __init__(self, root: Path, shards: Sequence[_Shard], column: str) -> None:
        self.root, self.shards, self.column = root, shards, column

    def __call__(self, indices: Sequence[int]) -> Iterator[Payload]:
        place = 0
        for shard in self.shards:
            wanted = []
            while place < len(indices) and indices[place] < shard.first + shard.count:
                wanted.append(indices[place] - shard.first)
                place += 1
            if wanted:
                yield from self._of(shard, wanted)

    def _of(self, shard: _Shard, rows: Sequence[int]) -> Iterator[Payload]:
        with _opened(shard.path) as table:
            groups, first = [], 0
            for g in range(table.num_row_groups):
                count = _read(shard.path, lambda g=g: table.metadata.row_group(g).num_rows)
                groups.append((first, first + count))
                first += count
            place = 0
            for g, (start, stop) in enumerate(groups):
                if place < len(rows) and rows[place] < stop:
                    at = start
                    batches = table.iter_batches(_TOGETHER, row_groups=[g], columns=[self.column])
                    while (batch := _read(shard.path, lambda b=batches: next(b, None))) is not None:
                        values = batch.column(0)
                        while place < len(rows) and rows[place] < at + len(values):
                            yield self._payload(values[rows[place] - at].as_py())
                            place += 1
                        at += len(values)
            if place < len(rows):
                raise UserError(f"{shard.path} has fewer rows than it says; get it again")

    def _payload(self, value: Any) -> Payload:
        if isinstance(value, bytes):
            return value
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            return bytes(value["bytes"])
        path = value.get("path") if isinstance(value, dict) else None
        if isinstance(path, str) and path:
            inside = (self.root / path).resolve()
            if inside.is_relative_to(self.root.resolve()) and inside.is_file():
                return inside
            return f"only a path, {shown(path)}, which is not here"
        return "no image in this row"


def table_rows(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of a Parquet table of paths that hold text or numbers, and its rows.

    Raises:
        UserError: it does not read.
    """
    with _opened(path) as table:
        names = [f.name for f in table.schema_arrow if not _nested(f.type)]
        rows: list[dict[str, Any]] = _read(path, lambda: table.read(columns=names).to_pylist())
        classes = {n: c for n in names if (c := _class_names(table.schema_arrow, n))}
        for row in rows:
            for name, of in classes.items():
                if isinstance(row[name], int) and 0 <= row[name] < len(of):
                    row[name] = of[row[name]]
        return names, rows


def _opened(path: Path) -> Any:
    module = parquet_module(path)
    return _read(path, lambda: module.ParquetFile(path, memory_map=True, pre_buffer=False))


def _read(path: Path, call: Any) -> Any:
    try:
        return call()
    except Exception as err:  # of pyarrow, OSError and its own, by what is damaged
        raise UserError(f"cannot read {path}: {shown(why(err))[:200]}; get it again") from err


def _nested(kind: Any) -> bool:
    types = importlib.import_module("pyarrow.types")
    return bool(types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _image_column(schema: Any, told: str | None) -> str | None:
    """The column of images: the one told, else the only one, else the first called so."""
    types = importlib.import_module("pyarrow.types")

    def holds(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(f.name == "bytes" and holds(f.type) for f in kind)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    fits = [f.name for f in schema if holds(f.type)]
    if told is not None:
        return told if told in fits else None
    return next((n for n in fits if n.lower() in ("image", "img", "images")), fits[0] if fits else None)


def _class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """The names that the hub's `ClassLabel` gives a column's numbers."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        feature = features[column]
        names = feature.get("names") or feature["feature"]["names"]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    if isinstance(names, dict):
        names = [names[k] for k in sorted(names, key=lambda k: (len(k), k))]
    if isinstance(names, list) and names and all(isinstance(n, str) and n for n in names):
        return tuple(names)
    return None


def _class(value: Any, names: tuple[str, ...] | None, path: Path, row: int) -> str:
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        number = int(value)
        if names is None:
            return str(number)
        if 0 <= number < len(names):
            return shown(names[number])
    if isinstance(value, str) and value.strip():
        return shown(value.strip())
    raise UserError(f"{path}: row {row:,} has the label {value!r}; a label is a number or text")
