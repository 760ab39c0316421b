"""Arrays in `.npz` and `.npy` files: which of them are images and labels, and of which split."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hotlap.data.arrays import Arrays, array_listing
from hotlap.data.listing import SPLIT_OF, Listing, listed, shown
from hotlap.data.unpacking import limit_of
from hotlap.data.walking import File
from hotlap.errors import UserError
from hotlap.files import why

_IMAGES = ("images", "image", "imgs", "img", "x", "data", "pixels", "features", "inputs")
_LABELS = ("labels", "label", "y", "targets", "target", "classes", "class")
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


def npz_listing(path: Path, stamp: str) -> Listing:
    """The images in an `.npz` file.

    Raises:
        UserError: it does not read, would need a pickle to be read, or its arrays are no images and labels.
    """
    arrays: dict[str, Any] = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            limit = limit_of(path.stat().st_size)
            if (total := sum(m.file_size for m in archive.infolist())) > limit:
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
    return _listing(arrays, dict.fromkeys(arrays, stamp), f"arrays in {path.name}", str(path))


def npy_listing(root: Path, files: Sequence[File], origin: str) -> Listing:
    """The images in `.npy` files that lie together, each an array, mapped and not read.

    Raises:
        UserError: as `npz_listing`.
    """
    arrays: dict[str, Any] = {}
    stamps = {}
    for file in files:
        name = file.parts[-1].removesuffix(".npy")
        stamps[name] = file.stamp
        try:
            with warnings.catch_warnings(action="ignore"):
                arrays[name] = np.lib.format.open_memmap(root / file.name, mode="r")
        except Exception as err:  # numpy raises nearly anything on damaged files
            raise _unread(root / file.name, err) from err
    return _listing(arrays, stamps, f"arrays in {listed([shown(f.name) for f in files])}", origin)


def _unread(path: Path, err: Exception) -> UserError:
    text = why(err)
    if "pickle" in text or "Object arrays" in text or "objects" in text:
        text = "it holds Python objects, which are pickles and are not read; save plain arrays"
    return UserError(f"cannot read the arrays in {path}: {shown(text)}; save it again with numpy.savez")


def _listing(arrays: Mapping[str, Any], stamps: Mapping[str, str], layout: str, origin: str) -> Listing:
    pairs: dict[str, dict[str, str]] = {}
    class_names = _class_names(arrays)
    for name, array in arrays.items():
        role = role_of(name)
        if role is None or getattr(array, "ndim", 0) == 0 or array is class_names:
            continue
        kind, split = role
        if kind in pairs.setdefault(split, {}):
            raise UserError(f"{origin} has both {pairs[split][kind]} and {name} for {kind}; keep one of them")
        pairs[split][kind] = name
    whole = {split: pair for split, pair in pairs.items() if len(pair) == 2}
    if not whole:
        there = ", ".join(f"{shown(n)} {getattr(a, 'shape', '')}" for n, a in list(arrays.items())[:8])
        raise UserError(
            f"{origin} has no images with their labels among {there or 'no arrays'}; name them x_train,"
            " y_train, x_test, y_test, or images and labels"
        )
    if "" in whole and len(whole) > 1 and "train" in whole:
        raise UserError(f"{origin} has both {whole['']['images']} and {whole['train']['images']}; keep one")
    splits = {}
    for split in ("", "train", "val", "test"):
        if split in whole:
            images, labels = (whole[split][kind] for kind in ("images", "labels"))
            name = shown(images)
            splits[split or "train"] = Arrays(name, arrays[images], arrays[labels], stamps[images])
    names = [str(n) for n in class_names.tolist()] if class_names is not None else None
    return array_listing(splits, names, layout, origin)


def _class_names(arrays: Mapping[str, Any]) -> Any:
    """The array of text that names the classes, if there is one beside labels that are numbers."""
    numbers = [
        a for n, a in arrays.items() if (role_of(n) or ("",))[0] == "labels" and a.dtype.kind in "buif"
    ]
    for name, array in arrays.items():
        if _plain(name) in _NAMES and array.ndim == 1 and array.dtype.kind == "U" and numbers:
            return array
    return None
