"""What a source holds, before anything is decoded: its images by name, class and split, and how to get at
them.

Every kind of source is recognised into a `Listing`; what comes after (classes, splits, decoding, packing)
knows no kinds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Payload = Path | bytes | Pixels | str
"""An image as it lies in its source: a file, a file's bytes, pixels (H, W, C) uint8; or in words why there is
none."""

# How the splits are called in folders, columns, files and arrays.
_SPLITS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst", "t10k"),
}
SPLIT_OF: Mapping[str, str] = {alias: split for split, aliases in _SPLITS.items() for alias in aliases}

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".avif",
        ".jp2",
        ".tga",
        ".heic",
        ".heif",
    }
)


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source.

    Args:
        name: where it lies in the source; the user is told this, and no two are the same.
        label: name of its class.
        split: `train`, `val` or `test`; "" where the source does not say.
        stamp: changes when the image may have: a file's size and time.
    """

    name: str
    label: str
    split: str
    stamp: str


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Args:
        layout: what it was recognised as, in words.
        items: its images.
        payloads: `payloads(indices)` gives the payload of each of these items, in that order; they ascend.
        order: class names in label order, where the source itself says; else they are sorted.
        declared: names of all classes that the source has a place for, those without an image too.
        remarks: what the user should know, one line each.
        passed_over: files that are no images of the set, counted by kind.
        encoded: whether getting at the pixels takes long; not so where they lie there as arrays.
    """

    layout: str
    items: Sequence[Item]
    payloads: Callable[[Sequence[int]], Iterator[Payload]]
    order: tuple[str, ...] | None = None
    declared: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    encoded: bool = True


def split_named(text: str) -> str | None:
    """The split that a word stands for; None if it is no such word."""
    return SPLIT_OF.get(text.strip().lower())


def split_within(name: str) -> str | None:
    """The split that a file's name starts or ends with, as in `train-00000-of-00001` or `labels_test`."""
    words = [w for w in re.split(r"[^a-z0-9]+", name.lower()) if w]
    found = {SPLIT_OF[w] for w in words if w in SPLIT_OF}
    return found.pop() if len(found) == 1 else None


def split_of_folder(folder: str) -> str:
    """The split that a folder's name stands for, or that of the nearest one above it; "" if none does."""
    parts = [split_named(part) or split_within(part) for part in reversed(folder.split("/"))]
    return next((split for split in parts if split), "")


def shown(name: str) -> str:
    """A name from a file system or a table as it can be printed in one line."""
    if name.isprintable():  # no lone surrogate is
        return name
    name = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", name)  # those that stand for no byte
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def listed(names: Sequence[str], most: int = 5) -> str:
    """A few of the names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def joined(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def natural(name: str) -> tuple[Any, ...]:
    """A key that sorts numbers within names by their value: `img2` before `img10`."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts))
