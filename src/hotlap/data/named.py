"""Named data sets: where each is looked for, and how it is decoded.

A set is looked for under `data_dir` if that is given, and nowhere else: an explicit folder is never
passed over, and nothing is downloaded in its place. Otherwise it is looked for under $HOTLAP_DATA,
then in the user's cache, and only then downloaded, into the cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hotlap.data.cifar import SETS, CifarSet, Decoded, Found, Layout, decode, fingerprint, locate
from hotlap.data.dataset import Dataset, Split
from hotlap.data.moments import data_spec
from hotlap.errors import UserError, did_you_mean
from hotlap.files import Notify, env_path, read_error, user_cache
from hotlap.spec import DataSpec

PATTERNS = "patterns"
_PATTERNS_FORM = "patterns, patterns:TRAIN,TEST or patterns:TRAIN,TEST,SEED"
_PATTERNS_DEFAULT = (10_000, 2_000, 0)
_PATTERNS_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class SourceInfo:
    """A source for `--data`, and whether it can be used without a download.

    Args:
        name: what to write after `--data`.
        description: one line.
        found: it is on this machine (or is made here).
        where: where it lies, or where it was looked for.
    """

    name: str
    description: str
    found: bool
    where: str


@dataclass(frozen=True)
class NamedSource:
    """A source that is on this machine: how to make it, and the pack it goes into."""

    name: str
    origin: str
    layout: str
    pack: Path
    fingerprint: str
    decode: Callable[[], Decoded]
    archive: Found | None = None


def find(
    source: str,
    data_dir: Path | None,
    cache_dir: Path | None,
    download: bool,
    notify: Notify,
    sets: Mapping[str, CifarSet],
) -> NamedSource:
    name, colon, sizes = source.partition(":")
    cache = user_cache(cache_dir)
    if data_dir is not None:
        _existing(data_dir, "the data folder")
    if name == PATTERNS:
        return _patterns(source, sizes if colon else None, cache)
    if name in sets and colon:
        raise UserError(f"data source {source!r}: {name} takes nothing after it; write {name}")
    if name not in sets:
        choices = (*sets, PATTERNS)
        raise UserError(f"no data source {source!r} among {', '.join(choices)}{did_you_mean(name, choices)}")
    cifar = sets[name]
    roots = _roots(data_dir, cache_dir)
    found = next((f for root in roots if (f := locate(cifar, root))), None)
    if found is None:
        found = _downloaded(cifar, roots, cache, data_dir, download, notify)
    key = hashlib.sha256(str(found.path.resolve()).encode()).hexdigest()[:12]
    return NamedSource(
        name,
        str(found.path),
        found.layout.folder,
        cache / "packed" / f"{name}-{key}.pack",
        json.dumps(fingerprint(cifar, found)),
        lambda: decode(cifar, found),
        found if found.is_archive else None,
    )


def known_spec(source: str, sets: Mapping[str, CifarSet] = SETS) -> DataSpec | None:
    """Shape, classes and counts of a set that has a name, without looking for it; None for all else.

    Mean and standard deviation are not known: they are 0.

    Raises:
        UserError: numbers after `patterns:` that are none.
    """
    name, colon, sizes = source.partition(":")
    if name == PATTERNS:
        from hotlap.data.patterns import PATTERN_CLASSES

        train, test, _ = _counts(source, sizes if colon else None)
        return DataSpec(_PATTERNS_SHAPE, PATTERN_CLASSES, train, test, (0.0,) * 3, (0.0,) * 3)
    if source not in sets:
        return None
    cifar = sets[source]
    train, test = (cifar.count(split) for split in ("train", "test"))
    zeros = (0.0,) * cifar.shape[0]
    return DataSpec(cifar.shape, cifar.class_names, train, test, zeros, zeros)


def _roots(data_dir: Path | None, cache_dir: Path | None) -> list[Path]:
    """The folders to look in, in order; those the user named must exist."""
    if data_dir is not None:
        return [_existing(data_dir, "the data folder")]
    roots = [user_cache(cache_dir) / "downloads"]
    if (data := env_path("HOTLAP_DATA")) is not None:
        roots.insert(0, _existing(data, "HOTLAP_DATA"))
    return roots


def _existing(path: Path, what: str) -> Path:
    path = path.expanduser().absolute()
    if not path.is_dir():
        state = "is not a folder" if path.exists() else "does not exist"
        raise UserError(f"{what} {path} {state}; give the folder that holds the data set, or leave it out")
    return path


def _downloaded(
    cifar: CifarSet,
    roots: list[Path],
    cache: Path,
    data_dir: Path | None,
    download: bool,
    notify: Notify,
) -> Found:
    wanted = ", ".join([*(f"{n.folder}/" for n in cifar.layouts), *(n.archive for n in cifar.layouts)])
    missing = f"{cifar.name} is not in {' or '.join(map(str, roots))}"
    if data_dir is not None:
        raise UserError(f"{missing}; put one of {wanted} there, or give no data folder to have it downloaded")
    layout = next((n for n in cifar.layouts if n.mirrors), None)
    if not download or layout is None:
        raise UserError(
            f"{missing}; put one of {wanted} there, or run `hotlap data get {cifar.name}` to download it"
        )
    from hotlap.data.download import fetch  # here, for it takes 25 ms and few starts need it

    notify(missing)
    target = fetch(
        cache / "downloads" / layout.archive,
        layout.mirrors,
        size=layout.archive_bytes,
        md5=layout.archive_md5,
        mend=f"{missing}: put one of {wanted} there",
        notify=notify,
    )
    return Found(layout, target, True)


def _counts(source: str, sizes: str | None) -> tuple[int, int, int]:
    """Training images, test images and seed of `patterns:TRAIN,TEST[,SEED]`."""
    if sizes is None:
        return _PATTERNS_DEFAULT
    match = re.fullmatch(r"(\d{1,9}),(\d{1,9})(?:,(\d{1,18}))?", sizes, re.ASCII)
    if match is None or int(match[1]) == 0 or int(match[2]) == 0:
        raise UserError(f"data source {source!r}: write {_PATTERNS_FORM}, with counts from 1 up")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def _patterns(source: str, sizes: str | None, cache: Path) -> NamedSource:
    train, test, seed = _counts(source, sizes)

    def make() -> Decoded:
        from hotlap.data.patterns import PATTERN_CLASSES, make_patterns

        try:
            images, labels, test_images, test_labels = make_patterns(train, test, seed)
        except MemoryError as err:
            raise UserError(f"data source {source!r} does not fit in memory; ask for fewer images") from err
        return Decoded(Split(images, labels), Split(test_images, test_labels), PATTERN_CLASSES)

    return NamedSource(
        source,
        f"procedural, seed {seed}",
        "procedural",
        cache / "packed" / f"patterns-{train}-{test}-{seed}.pack",
        json.dumps([PATTERNS, train, test, seed, _generator_version()]),
        make,
    )


def _generator_version() -> str:
    """Changes when the images could: with the generator's own text, or with numpy's random streams."""
    spec = importlib.util.find_spec("hotlap.data.patterns")
    text = Path(spec.origin).read_bytes() if spec is not None and spec.origin is not None else b""
    return f"{zlib.crc32(text):08x}, numpy {np.__version__}"


def available(
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    sets: Mapping[str, CifarSet] = SETS,
) -> tuple[SourceInfo, ...]:
    """Every set that has a name, and whether and where it is on this machine. Arguments are those of
    `load`."""
    infos = []
    for cifar in sets.values():
        classes = len(cifar.class_names)
        _, height, width = cifar.shape
        found: Found | None = None
        try:
            roots = _roots(data_dir, cache_dir)
            found = next((f for root in roots if (f := locate(cifar, root))), None)
            where = str(found.path) if found else f"not in {' or '.join(map(str, roots))}"
        except UserError as err:
            where = str(err)
        infos.append(
            SourceInfo(
                cifar.name,
                f"{cifar.title}: {cifar.count('train'):,} + {cifar.count('test'):,} images of"
                f" {height}x{width} in {classes} classes",
                found is not None,
                where,
            )
        )
    train, test, seed = _PATTERNS_DEFAULT
    infos.append(
        SourceInfo(
            PATTERNS,
            f"procedural images, {train:,} + {test:,}, seed {seed}; patterns:TRAIN,TEST[,SEED] for others",
            True,
            "made on this machine",
        )
    )
    return tuple(infos)


def decoded(found: NamedSource) -> Dataset:
    """The set, decoded into memory.

    Raises:
        UserError: it is damaged.
    """
    got = found.decode()
    spec = data_spec(got.train.images, got.class_names, test_count=len(got.test))
    return Dataset(found.name, spec, got.train, got.test, found.origin)


def is_official(found: Found) -> bool:
    """Whether an archive's md5 is the official one."""
    layout: Layout = found.layout
    try:
        with found.path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as err:
        raise read_error(err, found.path) from err
    return digest.hexdigest() == layout.archive_md5
