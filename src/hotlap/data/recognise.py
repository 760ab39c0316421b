"""What a path holds: class folders, a table, Parquet, arrays, IDX files, or an archive of any of these."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hotlap.data.columns import NoColumn
from hotlap.data.folders import class_folders
from hotlap.data.idx import idx_files, idx_listing
from hotlap.data.listing import Listing, counted, listed, shown
from hotlap.data.manifests import agrees, manifest_listing
from hotlap.data.numpy_files import npy_listing, npz_listing, role_of
from hotlap.data.options import Columns
from hotlap.data.parquet import holds_images, parquet_listing
from hotlap.data.tables import SUFFIXES as TABLES
from hotlap.data.tables import Table, read_table
from hotlap.data.unpacking import is_archive
from hotlap.data.walking import File, Tree, walk
from hotlap.errors import UserError
from hotlap.files import read_error

KINDS = (
    "a folder with a folder a class, a table (CSV, JSON lines, Parquet) with its images, Parquet with images"
    " in it, .npz, .npy, IDX files, or .zip and .tar files of these"
)

TEXTS = (".txt", ".md", ".rst", ".html", ".pdf", ".json", ".xml", ".yaml", ".yml", ".log", ".md5", ".sha256")
_SMALL = 1 << 20  # bytes; a file without a suffix up to this size is taken for a text, such as LICENSE


@dataclass(frozen=True)
class Recognised:
    """A source known by its kind.

    Args:
        stamp: changes when what the source holds may have.
        listing: what it holds; for arrays, this reads them.
    """

    stamp: str
    listing: Callable[[], Listing]


@dataclass(frozen=True)
class Archives:
    """A source that has to be unpacked before it is known what it is.

    Args:
        root: the folder that the archives lie in.
        files: the archives.
        beside: tables that lie with them.
        alone: whether the source is one archive, and not a folder.
    """

    root: Path
    files: tuple[File, ...]
    beside: tuple[File, ...] = ()
    alone: bool = False

    @property
    def stamp(self) -> str:
        """Changes when what the source holds may have."""
        return _stamp([*self.files, *self.beside])


def recognise(path: Path, columns: Columns, *, within: bool = False) -> Recognised | Archives:
    """What lies at `path`, a file or a folder that is there.

    Args:
        within: whether nothing outside the folder may be read, as from an archive.

    Raises:
        UserError: it is nothing that is known, or does not read.
    """
    return _folder(path, columns, within) if path.is_dir() else _file(path, columns, within)


def _looked_at(path: Path) -> File:
    """A file's name, size and time.

    Raises:
        UserError: it cannot be looked at.
    """
    try:
        about = path.stat()
    except OSError as err:
        raise read_error(err, path) from err
    return File(path.name, about.st_size, about.st_mtime_ns)


def _file(path: Path, columns: Columns, within: bool) -> Recognised | Archives:
    file, suffix = _looked_at(path), path.suffix.lower()
    if is_archive(path):
        return Archives(path.parent, (file,), alone=True)
    if suffix in TABLES or (suffix == ".parquet" and not holds_images(path, columns.images)):
        table = read_table(path, columns.images, columns.labels)
        return _listed(manifest_listing([table], columns.root or path.parent, within=within))
    if suffix == ".parquet":
        return _parquet(path.parent, [file], str(path), columns)
    if suffix == ".npz":
        return _npz(path.parent, [file], str(path))
    if suffix == ".npy":
        beside = [_looked_at(p) for p in sorted(path.parent.glob("*.npy"))]
        return _npy(path.parent, [f for f in beside if role_of(Path(f.name).stem)], str(path))
    if idx_files([file]):
        beside = [_looked_at(p) for p in sorted(path.parent.iterdir()) if p.is_file()]
        return _idx(path.parent, idx_files(beside), str(path))
    raise UserError(f"{path} is none of what --data takes: {KINDS}")


def _folder(path: Path, columns: Columns, within: bool) -> Recognised | Archives:
    tree = walk(path)
    tables = [f for f in tree.files if f.suffix in TABLES]
    parquet = [f for f in tree.files if f.suffix == ".parquet"]
    told = columns.images is not None or columns.labels is not None
    archives = _archives(tree)
    folders = class_folders(tree) if not (told and (tables or parquet)) else None
    if folders is not None and not tables:
        return _listed(folders)
    if tables:
        found = _tables(tree, tables, columns)
        if folders is not None and found is None and len({item.label for item in folders.items}) < 2:
            _check_labels(tree, tables, columns)
        if folders is not None and (found is None or all(agrees(t, _class_of_each(folders)) for t in found)):
            return _listed(folders)
        if found is not None and (tree.images() or (told and archives is None)):
            return _listed(manifest_listing(found, columns.root or path, within=within))
    if parquet and holds_images(path / parquet[0].name, columns.images):
        return _parquet(path, parquet, str(path), columns)
    if archives is not None:
        return archives
    if parquet:
        read = [_read(tree, f, columns) for f in parquet]
        return _listed(manifest_listing(read, columns.root or path, within=within))
    if idx := idx_files(tree.files):
        return _idx(path, idx, str(path))
    if npz := [f for f in tree.files if f.suffix == ".npz"]:
        return _npz(path, npz, str(path))
    if npy := [f for f in tree.files if f.suffix == ".npy" and role_of(Path(f.name).stem)]:
        return _npy(path, npy, str(path))
    raise _nothing(tree, tables, columns, within)


def _archives(tree: Tree) -> Archives | None:
    """The archives in a folder that holds them, tables and texts, and nothing else."""
    files = tuple(f for f in tree.files if is_archive(Path(f.name)))
    tables = tuple(f for f in tree.files if f.suffix in (*TABLES, ".parquet"))
    texts = [f for f in tree.files if f.suffix in TEXTS or (not f.suffix and f.size < _SMALL)]
    others = len(tree.files) - len({*files, *tables, *texts})
    return Archives(tree.root, files, tables) if files and not others else None


def _nothing(tree: Tree, tables: Sequence[File], columns: Columns, within: bool) -> UserError:
    """Why a folder is nothing that is known."""
    images = tree.images()
    if tables:
        _read(tree, tables[0], columns)  # says what it lacks
    if images:
        return UserError(
            f"{tree.root} has {counted(len(images), 'image')} but neither class folders nor a table that says"
            " what they show; put each class in a folder of its own"
        )
    kinds = Counter(f.suffix or "no suffix" for f in tree.files)
    held = listed([f"{n:,} {shown(kind)}" for kind, n in kinds.most_common()])
    archives = [f.name for f in tree.files if is_archive(Path(f.name))]
    unpack = "unpack it and give the folder" if within else "give the archive itself"
    more = f"; {unpack}: {tree.root / archives[0]}" if archives else ""
    what = f"holds no images but {held}" if held else "is empty"
    return UserError(f"{tree.root} {what}{more or f'; --data takes {KINDS}'}")


def _tables(tree: Tree, tables: Sequence[File], columns: Columns) -> list[Table] | None:
    """The tables in a folder that name images; None if none does. The first has a remark on each that names
    images but not what they show, and on each that does not read.

    Raises:
        UserError: there are several that are not one for each split.
    """
    found, remarks = [], []
    for file in tables:
        try:
            found.append(_read(tree, file, columns))
        except UserError as err:
            if columns.images is not None or columns.labels is not None:
                raise
            if not (isinstance(err, NoColumn) and err.what == "paths"):
                remarks.append(
                    f"passed over: {str(err).replace(str(tree.root / file.name), shown(file.name))}"
                )
    if len(found) > 1 and len({t.rows[0][2] if t.rows else "" for t in found}) < len(found):
        names = listed([t.name for t in found])
        raise UserError(f"{tree.root} has several tables of images, {names}; give the one that is meant")
    if found:
        found[0] = replace(found[0], remarks=(*found[0].remarks, *remarks))
    return found or None


def _check_labels(tree: Tree, tables: Sequence[File], columns: Columns) -> None:
    """Raise what a table lacks that names images but not what they show."""
    for file in tables:
        try:
            _read(tree, file, columns)
        except NoColumn as err:
            if err.what == "labels":
                raise
        except UserError:
            continue


def _read(tree: Tree, file: File, columns: Columns) -> Table:
    folder = file.name[: file.name.rfind("/") + 1]
    return read_table(tree.root / file.name, columns.images, columns.labels, folder)


def _class_of_each(listing: Listing) -> dict[str, str]:
    return {item.name.split("/")[-1].lower(): item.label for item in listing.items}


def _listed(listing: Listing) -> Recognised:
    """A listing that was made already: its stamp is of each of its images."""
    digest = hashlib.sha256()
    about = [listing.layout, *sorted(listing.declared), *listing.remarks, str(dict(listing.passed_over))]
    for text in about:
        digest.update(f"{text}\0".encode("utf-8", "surrogatepass"))
    for item in listing.items:
        text = f"{item.name}\0{item.label}\0{item.split}\0{item.stamp}\n"
        digest.update(text.encode("utf-8", "surrogatepass"))
    return Recognised(digest.hexdigest(), lambda: listing)


def _stamp(files: Sequence[File]) -> str:
    return "; ".join(f"{f.name} {f.stamp}" for f in files)


def _parquet(root: Path, files: Sequence[File], origin: str, columns: Columns) -> Recognised:
    return Recognised(
        _stamp(files), lambda: parquet_listing(root, files, origin, columns.images, columns.labels)
    )


def _idx(root: Path, files: Sequence[File], origin: str) -> Recognised:
    return Recognised(_stamp(files), lambda: idx_listing(root, files, origin))


def _npz(root: Path, files: Sequence[File], origin: str) -> Recognised:
    return Recognised(_stamp(files), lambda: npz_listing(root, files, origin))


def _npy(root: Path, files: Sequence[File], origin: str) -> Recognised:
    return Recognised(_stamp(files), lambda: npy_listing(root, files, origin))
