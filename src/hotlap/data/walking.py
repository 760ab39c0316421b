"""The files below a folder, without what operating systems and tools leave behind."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hotlap.data.listing import IMAGE_SUFFIXES
from hotlap.files import read_error

_JUNK_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "#recycle", "system volume information"})
_JUNK_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
# How image files begin; asked only of files without a suffix.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF")
_DEEPEST = 60  # folders in folders


@dataclass(frozen=True, slots=True)
class File:
    """A file below the root: its name with `/` between folders, its size in bytes, its time in ns."""

    name: str
    size: int
    time_ns: int

    @property
    def stamp(self) -> str:
        return f"{self.size} {self.time_ns}"

    @property
    def suffix(self) -> str:
        name = self.name[self.name.rfind("/") + 1 :]
        dot = name.rfind(".")
        return name[dot:].lower() if 0 < dot < len(name) - 1 else ""

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))


@dataclass(frozen=True)
class Tree:
    """What lies below a folder.

    Args:
        root: the folder.
        files: every file in it and in its folders, in the order of their names.
        folders: every folder below it, by name.
        passed_over: what was not looked at, by kind.
    """

    root: Path
    files: tuple[File, ...]
    folders: tuple[str, ...]
    passed_over: Counter[str] = field(default_factory=Counter)

    def images(self) -> list[File]:
        """The files that are images by their name, or by their beginning if they have no suffix."""
        return [f for f in self.files if f.suffix in IMAGE_SUFFIXES or (not f.suffix and self._begins(f))]

    def _begins(self, file: File) -> bool:
        try:
            with (self.root / file.name).open("rb") as stream:
                return stream.read(4).startswith(_BEGINNINGS)
        except OSError:
            return False


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left behind by an operating system or a tool."""
    return name.startswith(".") or name.lower() in _JUNK_FILES | _JUNK_FOLDERS


def walk(root: Path) -> Tree:
    """All files below `root`. Links are followed, each folder once; what is no file or folder is passed over.

    Raises:
        UserError: a folder cannot be read.
    """
    files: list[File] = []
    folders: list[str] = []
    passed: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()

    def go(folder: Path, prefix: str, depth: int) -> None:
        try:
            about = folder.stat()
            if (about.st_dev, about.st_ino) in seen or depth > _DEEPEST:
                passed["folders seen before"] += 1
                return
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda e: e.name)
        except OSError as err:
            raise read_error(err, folder) from err
        for entry in found:
            if is_junk(entry.name):
                passed["hidden"] += 1
                continue
            try:
                about = entry.stat()
            except OSError:  # a link to nowhere
                passed["broken links"] += 1
                continue
            name = prefix + entry.name
            if stat.S_ISDIR(about.st_mode):
                folders.append(name)
                go(folder / entry.name, f"{name}/", depth + 1)
            elif stat.S_ISREG(about.st_mode):
                files.append(File(name, about.st_size, about.st_mtime_ns))
            else:
                passed["not files"] += 1

    go(root, "", 0)
    return Tree(root, tuple(files), tuple(folders), passed)
