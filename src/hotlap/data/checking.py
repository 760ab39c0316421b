"""A source read anew, and its cache compared with it."""

from __future__ import annotations

import numpy as np

from hotlap.data.caching import state_of
from hotlap.data.checked import CheckReport
from hotlap.data.dataset import Dataset
from hotlap.data.named import NamedSource, decoded, is_official
from hotlap.data.own import OwnSource, read_anew
from hotlap.data.packed import open_arrays, open_pack
from hotlap.files import Notify


def check_named(found: NamedSource, source: str) -> CheckReport:
    """A set by name decoded anew, and the cache compared with it."""
    fresh, state = decoded(found), state_of(found.pack, found.fingerprint)
    if state == "good" and not _same(open_pack(found.pack, found.fingerprint), fresh):
        state = "stale: it differs from its source"
    classes = len(fresh.spec.class_names)
    return CheckReport(
        source=source,
        origin=found.origin,
        layout=found.layout,
        train_count=len(fresh.train),
        test_count=len(fresh.test),
        train_per_class=tuple(np.bincount(fresh.train.labels, minlength=classes).tolist()),
        test_per_class=tuple(np.bincount(fresh.test.labels, minlength=classes).tolist()),
        class_names=fresh.spec.class_names,
        mean=fresh.spec.mean,
        std=fresh.spec.std,
        official=is_official(found.archive) if found.archive else None,
        cache=found.pack,
        cache_state=state,
        ok=state in ("good", "missing"),
    )


def check_own(found: OwnSource, notify: Notify) -> CheckReport:
    """A path decoded anew, and the cache compared with it, by checksums."""
    made, layout = read_anew(found, notify)
    state = state_of(found.pack, found.fingerprint)
    if state == "good":
        cached, _ = open_arrays(found.pack, found.fingerprint)
        if (cached["sections"], cached["class_names"]) != (made["sections"], list(made["class_names"])):
            state = "stale: it differs from its source"
    train, measured = made["splits"][:2]
    counts = made["facts"]["counts"]
    return CheckReport(
        source=found.name,
        origin=found.origin,
        layout=layout,
        train_count=made["sections"][f"{train}_labels"]["shape"][0],
        test_count=made["sections"][f"{measured}_labels"]["shape"][0],
        train_per_class=tuple(counts[train]),
        test_per_class=tuple(counts[measured]),
        class_names=tuple(made["class_names"]),
        mean=tuple(made["mean"]),
        std=tuple(made["std"]),
        official=None,
        cache=found.pack,
        cache_state=state,
        ok=state in ("good", "missing"),
    )


def _same(a: Dataset, b: Dataset) -> bool:
    pairs = ((a.train, b.train), (a.test, b.test))
    return a.spec == b.spec and all(
        np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in pairs
    )
