"""Whatever `--data` takes: a set by name, a path of any kind, or in Python arrays and images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.data.caching import through_cache
from hotlap.data.checked import CheckReport
from hotlap.data.cifar import SETS, CifarSet
from hotlap.data.dataset import Dataset
from hotlap.data.named import PATTERNS, NamedSource, decoded, find
from hotlap.data.options import Columns, Options, Told, check_options
from hotlap.data.packed import write_pack
from hotlap.errors import UserError
from hotlap.files import Notify, silent, user_cache

if TYPE_CHECKING:  # what reads images of one's own takes 50 ms to import, and sets by name do without
    from hotlap.data.own import OwnSource
    from hotlap.data.surveying import Survey


def load(
    source: Any,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    download: bool = True,
    notify: Notify | None = None,
    sets: Mapping[str, CifarSet] = SETS,
    size: int | tuple[int, int] | None = None,
    fit: str = "crop",
    strict: bool = False,
    labels: str | None = None,
    images: str | None = None,
    progress: Told | None = None,
) -> Dataset:
    """The data set, memory-mapped read-only from its packed cache; in memory, if it was given so.

    The first use decodes the source into the cache; a later one maps it after checking it. A stale or damaged
    cache is made again, and `notify` told so; images of a path that are as they were are not decoded again.

    Args:
        source: `cifar10`, `cifar100`, `patterns`, `patterns:TRAIN,TEST` or `patterns:TRAIN,TEST,SEED`; a
            path, as a `Path` or as text: a folder a class, a table with its images, Parquet, `.npz`, `.npy`,
            IDX, or archives of these; arrays (images, labels) or ((x, y), (x, y)); or an iterable of
            (image, label). Text with a `/` in it is a path; other text is a path only if it is no set's name.
        data_dir: the one folder to look in for CIFAR; nothing is downloaded when it is given. For a table,
            the folder that its paths start from. The patterns are made, not read, and do not use it.
        cache_dir: where packed sets and downloads are kept, instead of the user's cache.
        download: whether a set that is not on this machine may be downloaded.
        notify: told in one line of whatever takes a while, and of what the user should know of the data.
        sets: the CIFAR releases and their mirrors.
        size: pixels, the side or (height, width), that images of one's own are brought to; None chooses it,
            see `hotlap.data.sizing.choose_size`.
        fit: how they are brought to it: `crop`, `pad` or `stretch`, see `hotlap.data.fit.fit`.
        strict: an image that does not read is an error; otherwise it is left out.
        labels, images: columns of a table, where they are not found by their names.
        progress: told how far decoding is: images done, of how many, images decoded a second.

    Raises:
        UserError: there is no such source, it is not where it was said to be or cannot be had, it
            is damaged or there is nothing to train on, or the cache cannot be written.
    """
    say = notify or silent
    options = check_options(size, fit, strict)
    if not isinstance(source, str | os.PathLike):
        from hotlap.data.own import load_given

        return load_given(source, options, say, progress)
    found = _find(source, data_dir, cache_dir, download, say, sets, options, Columns(images, labels))
    return _named(found, say) if isinstance(found, NamedSource) else _own(found, say, progress)


def survey(
    source: Any,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    notify: Notify | None = None,
    size: int | tuple[int, int] | None = None,
    fit: str = "crop",
    strict: bool = False,
    labels: str | None = None,
    images: str | None = None,
) -> Survey | None:
    """What a path holds, from the list of its images and the heads of some; None for a set that has a name
    and for what Python already holds.

    Arguments and errors are those of `load`.
    """
    options = check_options(size, fit, strict)
    if not isinstance(source, str | os.PathLike) or _is_name(source):
        return None
    say = notify or silent
    found = _find(source, data_dir, cache_dir, False, say, SETS, options, Columns(images, labels))
    if isinstance(found, NamedSource):
        return None
    from hotlap.data.surveying import survey_own

    return survey_own(found, options, say)


def load_to_measure(
    source: Any,
    classes: Sequence[str],
    channels: int,
    size: tuple[int, int],
    fit: str = "crop",
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    notify: Notify | None = None,
    strict: bool = False,
    labels: str | None = None,
    images: str | None = None,
    progress: Told | None = None,
) -> Dataset:
    """Images of one's own as a model knows them: in `test`, with labels by the names of its classes.

    These are the source's `test` images if it has such, else its `val`, else all of it. `train` is empty. An
    image of a class that the model does not know has the label -1.

    Args:
        classes: names in label order, as in the model's spec.
        channels, size, fit: what is done to a picture before the model sees it.
        source: as for `load`, but no set's name. The other arguments are those of `load`.

    Raises:
        UserError: as `load`; or no image is of a class that the model knows.
    """
    say = notify or silent
    options = replace(check_options(size, fit, strict), classes=tuple(classes), channels=channels)
    if not isinstance(source, str | os.PathLike):
        from hotlap.data.own import load_given

        return load_given(source, options, say, progress)
    found = _find(source, data_dir, cache_dir, False, say, SETS, options, Columns(images, labels))
    if isinstance(found, NamedSource):
        return _named(found, say)
    return _own(found, say, progress)


def get(
    source: str | os.PathLike[str],
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    notify: Notify | None = None,
    sets: Mapping[str, CifarSet] = SETS,
    size: int | tuple[int, int] | None = None,
    fit: str = "crop",
    strict: bool = False,
    labels: str | None = None,
    images: str | None = None,
    progress: Told | None = None,
) -> Path:
    """Make `source` ready for use offline (find or download, verify, pack); returns the packed file.

    Arguments and errors are those of `load`.
    """
    say = notify or silent
    options = check_options(size, fit, strict)
    found = _find(source, data_dir, cache_dir, True, say, sets, options, Columns(images, labels))
    if isinstance(found, NamedSource):
        _named(found, say)
    else:
        _own(found, say, progress)
    return found.pack


def check(
    source: str | os.PathLike[str],
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    notify: Notify | None = None,
    sets: Mapping[str, CifarSet] = SETS,
    size: int | tuple[int, int] | None = None,
    fit: str = "crop",
    labels: str | None = None,
    images: str | None = None,
    sheets: str | os.PathLike[str] | None = None,
    progress: Told | None = None,
) -> CheckReport:
    """Read the whole source anew: counts, sizes, modes, what does not read, duplicates (identical images, and
    with the package `imagehash` nearly identical ones) within and across splits, and compare the cache with
    it. Nothing is kept or downloaded, and what is found is reported: it is no error.

    Arguments are those of `load`.

    Args:
        sheets: a folder for a contact sheet of each class, a PNG with up to 48 of its images.

    Raises:
        UserError: the source is missing or damaged, there is nothing to train on, or a sheet cannot be
            written. A bad cache is not an error.
    """
    say = notify or silent
    from hotlap.data.checking import Asked, check_named, check_own
    from hotlap.data.sheets import check_folder

    options = check_options(size, fit, False)
    found = _find(source, data_dir, cache_dir, False, say, sets, options, Columns(images, labels))
    folder = check_folder(Path(sheets), found.origin) if sheets is not None else None
    say(f"reading {found.origin}")
    asked = Asked(str(source), folder, say, progress)
    return check_named(found, asked) if isinstance(found, NamedSource) else check_own(found, asked)


def _find(
    source: str | os.PathLike[str],
    data_dir: Path | None,
    cache_dir: Path | None,
    download: bool,
    notify: Notify,
    sets: Mapping[str, CifarSet],
    options: Options,
    columns: Columns,
) -> NamedSource | OwnSource:
    """The source that is meant. A name is a set's before it is a path's; with a `/` in it, it is a path."""
    text = os.fspath(source)
    known = isinstance(source, str) and text.partition(":")[0] in (*sets, PATTERNS)
    path = Path(text)
    own = not isinstance(source, str) or "/" in text or text.startswith("~")
    if not own and not known and text:
        try:
            own = path.exists()
        except (OSError, ValueError):
            own = False
    if not own:
        if options.size is not None and known:
            raise UserError(f"--size goes with images of one's own; {text} has a size that it keeps")
        return find(text, data_dir, cache_dir, download, notify, sets)
    for cifar in sets.values():  # the official folder of a set that is known
        if path.is_dir() and any((path / part.file).is_file() for part in cifar.layouts[0].parts):
            return find(cifar.name, path, cache_dir, False, notify, sets)
    if data_dir is not None:
        if not data_dir.expanduser().is_dir():
            raise UserError(f"the data folder {data_dir} does not exist; give the folder the images lie in")
        columns = Columns(columns.images, columns.labels, data_dir.expanduser().absolute())
    from hotlap.data.own import find_own

    return find_own(text, path, columns, options, user_cache(cache_dir))


def _is_name(source: str | os.PathLike[str]) -> bool:
    text = os.fspath(source)
    return isinstance(source, str) and "/" not in text and text.partition(":")[0] in (*SETS, PATTERNS)


def _named(found: NamedSource, notify: Notify) -> Dataset:
    def make() -> None:
        write_pack(found.pack, decoded(found), found.fingerprint)

    dataset = through_cache(found.pack, found.fingerprint, found.origin, make, notify)
    return Dataset(found.name, dataset.spec, dataset.train, dataset.test, dataset.origin)


def _own(found: OwnSource, notify: Notify, progress: Told | None) -> Dataset:
    from hotlap.data.own import load_own

    return load_own(found, notify, progress)
