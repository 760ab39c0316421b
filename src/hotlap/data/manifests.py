"""Images that tables name: each found where its table says, or near it."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from hotlap.data.listing import Item, Listing, Payload, counted, listed, shown, split_within
from hotlap.data.tables import Table
from hotlap.data.walking import walk
from hotlap.errors import UserError


def manifest_listing(tables: Sequence[Table], root: Path, *, within: bool) -> Listing:
    """The images that tables name, wherever below `root` they lie.

    A path is taken as it stands, below the table's own folder or `root`; else, without its suffix or its
    folders, if that names one image only, below that folder or `root`.

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
            place, path, stamp = finder.find(name, table.folder)
            if place in seen:
                passed["rows that come twice"] += 1
                passed["of those with another label or split"] += seen[place] != f"{label}\0{split}"
                continue
            seen[place] = f"{label}\0{split}"
            items.append(Item(shown(place), shown(label), split, stamp))
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
    names = listed([t.name for t in tables])
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

    def find(self, name: str, folder: str) -> tuple[str, Path | str, str]:
        """Where an image lies that a table in this folder names: its name below the root, the file and its
        stamp; or why there is none, and ""."""
        text = name.replace("\\", "/") if "/" not in name else name
        if self.within:
            text = text.lstrip("/")
        elif text.startswith("~/"):
            text = os.path.expanduser(text)
        beside = os.path.join(folder, text)
        for place in dict.fromkeys((beside, text)):
            path = self.root / place
            if "\0" in text or (self.within and not self._contained(path)):
                return beside, "outside its folder", ""
            if (stamp := _stamp(path)) is not None:
                return os.path.normpath(place), path, stamp
        tail = PurePosixPath(text)
        near = self._near(str(tail).lower(), folder) or self._near(tail.name.lower(), folder)
        if len(near) == 1 and (stamp := _stamp(self.root / near[0])) is not None:
            return near[0], self.root / near[0], stamp
        return beside, f"{len(near)} files are called so" if len(near) > 1 else "not there", ""

    def unnamed(self, found: Sequence[Path | str]) -> int:
        """How many images below the root are not among those found; 0 if the folder was not walked."""
        return max(0, self._images - len({p for p in found if isinstance(p, Path)}))

    def _contained(self, path: Path) -> bool:
        try:
            real = str(path.resolve())
        except (OSError, RuntimeError, ValueError):
            return False
        return real.startswith(self.inside + os.sep)

    def _near(self, name: str, folder: str) -> list[str]:
        """The images called so: those below the folder, if there are any, else all."""
        if self._by_name is None:
            self._by_name = {}
            images = walk(self.root).images()
            self._images = len(images)
            for file in images:
                base = file.parts[-1].lower()
                whole = file.name.lower()
                for key in {base, base.removesuffix(file.suffix), whole, whole.removesuffix(file.suffix)}:
                    self._by_name.setdefault(key, []).append(file.name)
        all_so = self._by_name.get(name, [])
        return [n for n in all_so if n.startswith(folder)] or all_so


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


def agrees(table: Table, folders: Mapping[str, str]) -> bool:
    """Whether a table and class folders say the same: each folder goes with one label, and each with another,
    for most of what the table names.

    Args:
        folders: the class folder of each image, by its file name in lower case.
    """
    both = [
        (folder, label)
        for name, label, _ in table.rows
        if (folder := folders.get(PurePosixPath(name.replace("\\", "/")).name.lower())) is not None
    ]
    pairs = set(both)
    firsts, seconds = ({p[i] for p in pairs} for i in (0, 1))
    return 2 * len(both) > len(table.rows) and len(pairs) == len(firsts) == len(seconds)
