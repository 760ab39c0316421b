"""Arrays in `.npz` and `.npy` files: which of them are images and labels, and of which split."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hotlap.data.arrays import Arrays, array_listing
from hotlap.data.listing import SPLIT_OF, Listing, listed, shown, split_of_folder, split_within
from hotlap.data.unpacking import limit_of
from hotlap.data.walking import File
from hotlap.errors import UserError
from hotlap.files import why

_IMAGES = ("images", "image", "imgs", "img", "x", "data", "pixels", "features", "inputs")
_LABELS = ("labels", "label", "y", "targets", "target", "classes", "class")
_CALL = "call each file or folder by its split, train, val or test, or give the one that is meant"
_NAMES = ("classnames", "labelnames", "names", "classes", "labels")


def _roles() -> dict[str, tuple[str, str]]:
    """What each name means, without its separators: images or labels, and of which split."""
    roles = {}
    for kind, words in (("images", _IMAGES), ("labels", _LABELS)):
        for word in words:
            roles[word] = (kind, "")
            for alias, split in SPLIT_OF.items():
                roles[alias + word] = roles[word + alias] = (kind, split)
    return {**roles, "arr0": ("images", ""), "arr1": ("labels", "")}


_ROLES = _roles()


def role_of(name: str) -> tuple[str, str] | None:
    """(`images` or `labels`, the split or "") that an array's name stands for; None if none."""
    return _ROLES.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class _Group:
    """Arrays that belong together: those of one `.npz`, or the `.npy` files of one folder.

    Args:
        name: of the file or folder; "" if there is no other.
        split: that the name stands for, or "".
        arrays, stamps: by the array's name.
    """

    name: str
    split: str
    arrays: Mapping[str, Any]
    stamps: Mapping[str, str]


class _NoPair(UserError):
    """There are no images with their labels."""


def npz_listing(root: Path, files: Sequence[File], origin: str) -> Listing:
    """The images in `.npz` files: one of all splits, or one for each.

    Raises:
        UserError: one does not read, would need a pickle to be read, or its arrays are no images and labels.
    """
    groups = []
    for file in files:
        arrays = _read_npz(root / file.name, file.size)
        name = shown(file.name) if len(files) > 1 else ""
        groups.append(_Group(name, _split_of(file), arrays, dict.fromkeys(arrays, file.stamp)))
    return _listing(groups, _layout(files), origin)


def _read_npz(path: Path, size: int) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            if (total := sum(m.file_size for m in archive.infolist())) > limit_of(size):
                raise UserError(
                    f"{path} unpacks to {total:,} bytes, more than arrays of images do; get it again"
                )
            with warnings.catch_warnings(action="ignore"):
                for member in archive.infolist():
                    if member.filename.endswith(".npy"):
                        with archive.open(member) as stream:
                            arrays[member.filename[:-4]] = np.lib.format.read_array(
                                stream, allow_pickle=False
                            )
    except UserError:
        raise
    except Exception as err:  # zipfile, zlib and numpy raise nearly anything on damaged files
        raise _unread(path, err) from err
    return arrays


def npy_listing(root: Path, files: Sequence[File], origin: str) -> Listing:
    """The images in `.npy` files, each an array, mapped and not read. Files of one name, in folders, are of
    the splits that the folders are called by.

    Raises:
        UserError: as `npz_listing`.
    """
    together: dict[str, list[File]] = {}
    once = len({file.parts[-1] for file in files}) == len(files)
    for file in files:
        together.setdefault("" if once else "/".join(file.parts[:-1]), []).append(file)
    groups = []
    for folder, some in together.items():
        arrays = {file.parts[-1].removesuffix(".npy"): _mapped(root / file.name) for file in some}
        stamps = {file.parts[-1].removesuffix(".npy"): file.stamp for file in some}
        name = f"{shown(folder)}/" if len(together) > 1 and folder else ""
        groups.append(_Group(name, split_of_folder(folder), arrays, stamps))
    return _listing(groups, _layout(files), origin)


def _mapped(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as err:  # numpy raises nearly anything on damaged files
        raise _unread(path, err) from err


def _layout(files: Sequence[File]) -> str:
    return f"arrays in {listed([shown(f.name) for f in files])}"


def _split_of(file: File) -> str:
    """The split that a file's name or its folder's stands for, or ""."""
    return split_within(file.parts[-1].removesuffix(file.suffix)) or split_of_folder(
        "/".join(file.parts[:-1])
    )


def _unread(path: Path, err: Exception) -> UserError:
    text = why(err)
    if "pickle" in text or "Object arrays" in text or "objects" in text:
        text = "it holds Python objects, which are pickles and are not read; save plain arrays"
    return UserError(f"cannot read the arrays in {path}: {shown(text)}; save it again with numpy.savez")


def _listing(groups: Sequence[_Group], layout: str, origin: str) -> Listing:
    splits: dict[str, Arrays] = {}
    names: list[str] | None = None
    remarks = []
    for group in groups:
        try:
            pairs = _pairs(group, origin)
        except _NoPair as err:
            if len(groups) == 1:
                raise
            remarks.append(f"passed over: {err}".replace(f"{origin}: ", ""))
            continue
        for of, (images, labels) in pairs.items():
            split = of or (group.split if len(groups) > 1 else "train")
            if len(groups) > 1 and (not split or (of and group.split not in ("", of))):
                said = f": {images} is of {of}" if of else " is of no split"
                raise UserError(f"{origin}: {group.name or 'what lies there'}{said}; {_CALL}")
            if split in splits:
                raise UserError(
                    f"{origin} has the {split} images twice, in {splits[split].name} and in"
                    f" {group.name}{shown(images)}; put them into one array, or give the file that is meant"
                )
            where = f"{group.name}:" if group.name and not group.name.endswith("/") else group.name
            splits[split] = Arrays(
                where + shown(images), group.arrays[images], group.arrays[labels], group.stamps[images]
            )
        own = _class_names(group.arrays)
        if own is not None and names not in (None, own.tolist()):
            raise UserError(f"{origin}: {group.name} names other classes than the arrays before it do")
        names = names if own is None else [str(n) for n in own.tolist()]
    if not splits:
        raise UserError(f"{origin}: {remarks[0].removeprefix('passed over: ')}")
    ordered: dict[str, Arrays] = {
        split: splits[split] for split in ("train", "val", "test") if split in splits
    }
    made = array_listing(ordered, names, layout, origin)
    return replace(made, remarks=(*made.remarks, *remarks))


def _pairs(group: _Group, origin: str) -> dict[str, tuple[str, str]]:
    """The names of the images and of their labels, by the split that they themselves say."""
    where = f"{origin}: {group.name}" if group.name else origin
    pairs: dict[str, dict[str, str]] = {}
    class_names = _class_names(group.arrays)
    for name, array in group.arrays.items():
        role = role_of(name)
        if role is None or getattr(array, "ndim", 0) == 0 or array is class_names:
            continue
        kind, split = role
        if kind in pairs.setdefault(split, {}):
            raise UserError(f"{where} has both {pairs[split][kind]} and {name} for {kind}; keep one of them")
        pairs[split][kind] = name
    whole = {split: (pair["images"], pair["labels"]) for split, pair in pairs.items() if len(pair) == 2}
    if not whole:
        some = list(group.arrays.items())[:8]
        there = ", ".join(f"{shown(n)} {getattr(a, 'shape', '')}" for n, a in some)
        raise _NoPair(
            f"{where} has no images with their labels among {there or 'no arrays'}; name them x_train,"
            " y_train, x_test, y_test, or images and labels"
        )
    if "" in whole and "train" in whole:
        raise UserError(f"{where} has both {whole[''][0]} and {whole['train'][0]}; keep one")
    return whole


def _class_names(arrays: Mapping[str, Any]) -> Any:
    """The array of text that names the classes, if there is one beside labels that are numbers."""
    numbers = [
        a for n, a in arrays.items() if (role_of(n) or ("",))[0] == "labels" and a.dtype.kind in "buif"
    ]
    for name, array in arrays.items():
        if _plain(name) in _NAMES and array.ndim == 1 and array.dtype.kind == "U" and numbers:
            return array
    return None
