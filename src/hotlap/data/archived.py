"""Sources that are archives: unpacked into the cache for as long as they are read, with archives in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from hotlap.data.listing import Listing, listed, shown, split_within
from hotlap.data.options import Columns
from hotlap.data.recognise import Archives, recognise
from hotlap.data.unpacking import Unpacking, remove, stem_of, unpacking
from hotlap.data.walking import File, is_junk
from hotlap.errors import UserError
from hotlap.files import Notify, write_error

DEEPEST = 2  # archives in archives that are unpacked


class Unpacked(AbstractContextManager[Listing]):
    """The listing of what is in archives, unpacked for as long as the context lasts.

    Args:
        path: the archive, or the folder that holds archives.
        archives: what was found there.
        folder: where they are unpacked.
        columns: of tables in them.
        notify: told of each archive.

    Raises:
        UserError: as `Unpacking.take`; what is in them is nothing that is known, or archives again.
    """

    def __init__(
        self, path: Path, archives: Archives, folder: Path, columns: Columns, notify: Notify
    ) -> None:
        self.path, self.archives, self.folder = path, archives, folder
        self.columns, self.notify = replace(columns, root=None), notify
        self._open = ExitStack()

    def __enter__(self) -> Listing:
        with ExitStack() as stack:
            paths = [self.archives.root / file.name for file in self.archives.files]
            into = stack.enter_context(unpacking(paths, self.folder, self.notify))
            try:
                listing = self._listing(into)
            except UserError as err:
                raise UserError(str(err).replace(str(self.folder), str(self.path))) from err
            self._open = stack.pop_all()
        return listing

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _listing(self, into: Unpacking) -> Listing:
        archives, words = self.archives, ""
        for depth in range(DEEPEST):
            self._take(archives, into, inner=depth > 0)
            named = listed([shown(file.name) for file in archives.files])
            words = f", in {'an archive' if archives.alone else named}{words}"
            found = recognise(self.folder, self.columns, within=True)
            if not isinstance(found, Archives):
                listing = found.listing()
                return replace(listing, layout=listing.layout + words)
            archives = found
        raise UserError(
            f"{self.path}: {shown(archives.files[0].name)} is an archive in archives in archives; unpack it"
            " and give the folder"
        )

    def _take(self, archives: Archives, into: Unpacking, *, inner: bool) -> None:
        if archives.alone:
            into.take(self.path, "", self.path)
            return
        for file, place in zip(archives.files, places(archives.files, self.path), strict=True):
            path = archives.root / file.name
            into.take(path, place, self.path / file.name)
            lift(self.folder / place)
            if inner:  # its files are there twice otherwise
                path.unlink()
        if not inner:
            for file in archives.beside:
                link(archives.root / file.name, self.folder / file.name)


def places(files: Sequence[File], origin: Path) -> list[str]:
    """The folder that each archive is unpacked into: called as it is, or by its split if each has its own.

    Raises:
        UserError: two would go into one.
    """
    stems = [stem_of(file.name) for file in files]
    splits = [split_within(stem.split("/")[-1]) for stem in stems]
    if None not in splits and "train" in splits and len(set(splits)) == len(splits):
        return [split or "" for split in splits]
    if twice := [stem for stem, n in Counter(stems).items() if n > 1]:
        names = [shown(f.name) for f, stem in zip(files, stems, strict=True) if stem == twice[0]]
        raise UserError(
            f"{origin} has {' and '.join(names)}, archives of one name; give the one that is meant"
        )
    return stems


def lift(folder: Path) -> None:
    """Take away a folder that holds all there is in an archive: one called as it, or one of folders only."""
    while True:
        inside = _there(folder)
        if len(inside) != 1 or not inside[0].is_dir():
            return
        below = _there(inside[0])
        same = inside[0].name.casefold() == folder.name.casefold()
        if not below or not (same or all(path.is_dir() for path in below)):
            return
        outer = folder.with_name(f"{folder.name}.outer")
        folder.rename(outer)
        (outer / inside[0].name).rename(folder)
        remove(outer)


def _there(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not is_junk(path.name)]


def link(source: Path, target: Path) -> None:
    """Let a table lie beside the images that it names."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            target.symlink_to(source)
    except OSError as err:
        raise write_error(err, target) from err
