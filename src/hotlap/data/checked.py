"""What a check of a source found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Args:
        source: what was checked.
        origin: where it lies, or how it is made.
        layout: the kind of release (`cifar-10-batches-bin`, ...), "procedural", or what a path was recognised
            as.
        train_count, test_count: numbers of images, all of them read.
        train_per_class, test_per_class: numbers of images for each label.
        class_names: names in label order.
        mean, std: per channel, of the training images, on the 0-255 scale.
        official: for an archive, whether its md5 is the official one; else None (a folder may
            hold the images in another order, so it has no one checksum).
        cache: the packed file that belongs to this source.
        cache_state: `good`, `missing`, `stale: ...` or `corrupt: ...`; the next use mends the last three.
        ok: the source is sound, and its cache is good or missing.
    """

    source: str
    origin: str
    layout: str
    train_count: int
    test_count: int
    train_per_class: tuple[int, ...]
    test_per_class: tuple[int, ...]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    official: bool | None
    cache: Path
    cache_state: str
    ok: bool
