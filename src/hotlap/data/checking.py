"""A source read anew: what its images are, which of them show the same, and its cache compared with it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hotlap.data.arrays import Arrays, array_listing
from hotlap.data.caching import state_of
from hotlap.data.checked import CheckReport, Group, Member, Sizes
from hotlap.data.classes import MISSED, class_of, labels_of
from hotlap.data.dataset import Dataset
from hotlap.data.decoding import Decoding
from hotlap.data.decoding import decoded as images_of
from hotlap.data.duplicates import Alike, find_alike
from hotlap.data.examining import Examination
from hotlap.data.facts import Facts
from hotlap.data.listing import Listing
from hotlap.data.named import NamedSource, decoded, is_official
from hotlap.data.options import Told
from hotlap.data.own import OwnSource, read_anew
from hotlap.data.packed import open_arrays, open_pack
from hotlap.data.sheets import Sheet, write_sheets
from hotlap.files import Notify

_MANY = 20_000  # images that take a moment to compare


@dataclass(frozen=True)
class Asked:
    """What is wanted of a check.

    Args:
        source: what is checked, as the user gave it.
        sheets: the folder for contact sheets, as `check_folder` gives it, if they are wanted.
        notify: told of whatever takes a while.
        progress: told how far it is.
    """

    source: str
    sheets: Path | None
    notify: Notify
    progress: Told | None


def check_named(found: NamedSource, asked: Asked) -> CheckReport:
    """A set by name decoded anew, and the cache compared with it."""
    fresh, state = decoded(found), state_of(found.pack, found.fingerprint)
    if state == "good" and not _same(open_pack(found.pack, found.fingerprint), fresh):
        state = "stale: it differs from its source"
    spec, splits = fresh.spec, {"train": fresh.train, "test": fresh.test}
    listing = array_listing(
        {name: Arrays(name, s.images, s.labels) for name, s in splits.items()},
        spec.class_names,
        found.layout,
        found.origin,
    )
    listing = replace(listing, layout=found.layout)
    with Examination() as seen:
        _examine(
            listing, Decoding((spec.height, spec.width), "crop", spec.channels, sights=True), seen, asked
        )
        return _report(
            asked,
            listing,
            seen,
            origin=found.origin,
            classes=spec.class_names,
            counts={n: _counts(s.labels, len(spec.class_names)) for n, s in splits.items()},
            size=(spec.height, spec.width),
            mean=spec.mean,
            std=spec.std,
            official=is_official(found.archive) if found.archive else None,
            cache=found.pack,
            state=state,
            facts=None,
        )


def check_own(found: OwnSource, asked: Asked) -> CheckReport:
    """A path decoded anew, and the cache compared with it, by checksums."""
    with found.looked_at(asked.notify) as listing, Examination() as seen:
        made = read_anew(found, listing, seen, asked.progress)
        state = state_of(found.pack, found.fingerprint)
        if state == "good":
            cached, _ = open_arrays(found.pack, found.fingerprint)
            if (cached["sections"], cached["class_names"]) != (made["sections"], list(made["class_names"])):
                state = "stale: it differs from its source"
        facts = Facts.from_json(made["facts"])
        height, width = made["sections"]["train_images"]["shape"][1:3]
        return _report(
            asked,
            listing,
            seen,
            origin=found.origin,
            classes=tuple(made["class_names"]),
            counts=dict(facts.counts),
            size=(height, width),
            mean=tuple(made["mean"]),
            std=tuple(made["std"]),
            official=None,
            cache=found.pack,
            state=state,
            facts=facts,
        )


def _examine(listing: Listing, how: Decoding, seen: Examination, asked: Asked) -> None:
    """Take in all of a set that has a name."""
    take, began, done = seen.begin(), time.monotonic(), 0
    by_split: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(listing.items):
        by_split[item.split].append(i)
    for split, indices in by_split.items():
        for some, _, reasons, sights in images_of(listing, indices, how, {}):
            take(split, some, reasons, sights)
            done += len(some)
            if asked.progress:
                asked.progress(done, len(listing.items), done / max(time.monotonic() - began, 1e-9))


def _report(
    asked: Asked,
    listing: Listing,
    seen: Examination,
    *,
    origin: str,
    classes: tuple[str, ...],
    counts: dict[str, tuple[int, ...]],
    size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    official: bool | None,
    cache: Path,
    state: str,
    facts: Facts | None,
) -> CheckReport:
    names, labels = _classes_of(listing, seen, classes)
    if len(labels) >= _MANY:
        asked.notify(f"comparing {len(labels):,} images")
    alike = find_alike(seen, labels)
    pictures = seen.pictures
    groups = tuple(_group(g, listing, seen, names, labels, pictures) for g in alike.groups)
    files: tuple[Path, ...] = ()
    if asked.sheets is not None:
        asked.notify(f"writing contact sheets to {asked.sheets}")
        files = write_sheets(asked.sheets, listing, _sheets(seen, names, labels), size)
    train, measured = list(counts)[:2]
    train_counts = counts[train]
    splits = Counter(seen.splits)
    return CheckReport(
        source=asked.source,
        origin=origin,
        layout=listing.layout,
        train_count=splits[train],
        test_count=splits[measured],
        train_per_class=train_counts,
        test_per_class=counts[measured],
        class_names=classes,
        mean=mean,
        std=std,
        official=official,
        cache=cache,
        cache_state=state,
        ok=state in ("good", "missing"),
        images={split: splits[split] for split in counts},
        counts=counts,
        made=facts.made if facts else 0.0,
        missed=dict(facts.missed) if facts else {},
        absent={
            s: tuple(
                n for n, there, here in zip(classes, train_counts, of, strict=True) if there and not here
            )
            for s, of in counts.items()
            if s != train
        },
        single=tuple(n for n, count in zip(classes, train_counts, strict=True) if count == 1),
        imbalance=max(train_counts) / max(1, min(train_counts)),
        sizes=_sizes(listing, seen),
        modes=dict(seen.modes.most_common()),
        formats=dict(seen.kinds.most_common()),
        treated=dict(seen.treated.most_common()),
        plain=int((~seen.hashed).sum()) if alike.distance is not None else 0,
        corrupt=tuple((listing.items[i].name, reason) for i, reason in seen.bad),
        passed_over=dict(listing.passed_over),
        remarks=facts.remarks if facts else (),
        duplicates=groups,
        distance=alike.distance,
        correlation=alike.correlation,
        leaked=_leaked(alike, seen, [s for s in counts if s != train]),
        sheets=files,
    )


def _classes_of(
    listing: Listing, seen: Examination, classes: tuple[str, ...]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names of classes, first those that are trained on, and of each image the number of its own."""
    names = list(classes)
    labels = np.empty(len(seen.items), np.int64)
    splits = np.array(seen.splits)
    for split in dict.fromkeys(seen.splits):
        at = np.flatnonzero(splits == split)
        said = [class_of(listing.items[seen.items[i]]) for i in at]
        labels[at] = labels_of(said, classes)
        for i, name in zip(at, said, strict=True):
            if labels[i] == MISSED:
                if name not in names:
                    names.append(name)
                labels[i] = names.index(name)
    return names, labels


def _group(
    places: Sequence[int],
    listing: Listing,
    seen: Examination,
    names: Sequence[str],
    labels: npt.NDArray[np.int64],
    pictures: npt.NDArray[np.int64],
) -> Group:
    number = {picture: k for k, picture in enumerate(dict.fromkeys(pictures[list(places)].tolist()))}
    places = sorted(places, key=lambda i: number[int(pictures[i])])
    images = tuple(
        Member(listing.items[seen.items[i]].name, seen.splits[i], names[labels[i]], number[int(pictures[i])])
        for i in places
    )
    return Group(
        images,
        exact=len(number) == 1,
        leak=len({m.split for m in images}) > 1,
        conflict=len({m.class_name for m in images}) > 1,
    )


def _leaked(alike: Alike, seen: Examination, others: Sequence[str]) -> dict[str, int]:
    """By split, how many of its images show the same as one in train."""
    counts = dict.fromkeys(others, 0)
    for group in alike.groups:
        splits = Counter(seen.splits[i] for i in group)
        if splits["train"]:
            for split in others:
                counts[split] += splits[split]
    return counts


def _sizes(listing: Listing, seen: Examination) -> Sizes:
    sides = seen.sides
    pixels = sides.prod(1)

    def spread(of: npt.NDArray[np.int64]) -> tuple[int, float, int]:
        return int(of.min()), float(np.median(of)), int(of.max())

    def named(place: int) -> tuple[str, int, int]:
        height, width = sides[place].tolist()
        return listing.items[seen.items[place]].name, width, height

    return Sizes(
        width=spread(sides[:, 1]),
        height=spread(sides[:, 0]),
        smallest=named(int(pixels.argmin())),
        largest=named(int(pixels.argmax())),
    )


def _sheets(seen: Examination, names: Sequence[str], labels: npt.NDArray[np.int64]) -> list[Sheet]:
    """A sheet of each class that has an image, of all its splits."""
    sheets = []
    for number, name in enumerate(names):
        at = np.flatnonzero(labels == number).tolist()
        if at:
            sheets.append(Sheet(name, [seen.items[i] for i in at], [seen.splits[i] for i in at]))
    return sheets


def _counts(labels: npt.NDArray[np.int64], classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _same(a: Dataset, b: Dataset) -> bool:
    pairs = ((a.train, b.train), (a.test, b.test))
    return a.spec == b.spec and all(
        np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in pairs
    )
