"""What a check of a source found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hotlap.data.listing import counted

UNEVEN = 10.0  # training images of the commonest class for each of the rarest, from which it is a finding


@dataclass(frozen=True)
class Sizes:
    """How large the images are as they lie there, upright.

    Args:
        width, height: (smallest, median, largest), pixels.
        smallest, largest: (name, width, height) of the images with the fewest and the most pixels.
    """

    width: tuple[int, float, int]
    height: tuple[int, float, int]
    smallest: tuple[str, int, int]
    largest: tuple[str, int, int]


@dataclass(frozen=True)
class Member:
    """An image among others that show the same.

    Args:
        name: of the image, as its source has it.
        split: `train`, `val` or `test`.
        class_name: its class.
        picture: a number; images of a group that have the same are identical, pixel by pixel.
    """

    name: str
    split: str
    class_name: str
    picture: int


@dataclass(frozen=True)
class Group:
    """Images that show the same.

    Args:
        images: two or more, identical ones side by side.
        exact: all of them are identical; otherwise some are nearly the same.
        leak: they lie in more than one split.
        conflict: they have more than one class.
    """

    images: tuple[Member, ...]
    exact: bool
    leak: bool
    conflict: bool


@dataclass(frozen=True)
class CheckReport:
    """What `check` found. `as_json` has all of it, under these names, and `findings`.

    Args:
        source: what was checked.
        origin: where it lies, or how it is made.
        layout: the kind of release (`cifar-10-batches-bin`, ...), "procedural", or what a path was recognised
            as.
        train_count, test_count: numbers of images that read.
        train_per_class, test_per_class: numbers of images for each label.
        class_names: names in label order.
        mean, std: per channel, of the training images, on the 0-255 scale.
        official: for an archive, whether its md5 is the official one; else None (a folder may
            hold the images in another order, so it has no one checksum).
        cache: the packed file that belongs to this source.
        cache_state: `good`, `missing`, `stale: ...` or `corrupt: ...`; the next use mends the last three.
        ok: the source is sound, and its cache is good or missing.
        images: numbers of images that read, by split; the second split is the one that is measured on.
        counts: of these, the numbers for each label.
        made: the share of the training images put aside as "val", where the source has no split to measure
            on; else 0.
        missed: images of classes that the training images lack, by class.
        absent: by split, classes that train has and it does not.
        single: classes with one training image.
        imbalance: training images of the commonest class for each one of the rarest.
        sizes: of the images.
        modes: how many images are stored in each of Pillow's modes (`L`, `RGB`, `P`, `CMYK`, ...; with
            `16-bit` or `float` where a sample is so; `1-bit` is black and white).
        formats: how many are of each format, `array` where they lie there as arrays.
        treated: how many images something was done to that the user may not expect ("turned as EXIF says",
            "animated", of which the first frame is taken, ...).
        plain: images that are all one colour, or nearly; of them only identical ones count as duplicates.
        corrupt: (name, reason) of each image that does not read.
        passed_over: how many files were no images, hidden, and so on, by kind.
        remarks: what else the user should know, one line each.
        duplicates: groups of images that show the same; an image is in one at most.
        distance: the bits of 64 that the perceptual hashes of nearly the same images may differ in (lowered
            where too many were near); -1 if they could not tell the images apart, None if nearly the same
            images were not looked for, for `imagehash` is not installed.
        correlation: what the edges in their thumbnails must correlate by at least; 0 if none were compared.
        leaked: by split, how many of its images show the same as one in train.
        sheets: the contact sheets that were written, one a class, in label order.
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
    images: Mapping[str, int]
    counts: Mapping[str, tuple[int, ...]]
    made: float
    missed: Mapping[str, int]
    absent: Mapping[str, tuple[str, ...]]
    single: tuple[str, ...]
    imbalance: float
    sizes: Sizes
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    treated: Mapping[str, int]
    plain: int
    corrupt: tuple[tuple[str, str], ...]
    passed_over: Mapping[str, int]
    remarks: tuple[str, ...]
    duplicates: tuple[Group, ...]
    distance: int | None
    correlation: float
    leaked: Mapping[str, int]
    sheets: tuple[Path, ...]

    @property
    def leaks(self) -> tuple[Group, ...]:
        """The duplicates that lie in more than one split."""
        return tuple(g for g in self.duplicates if g.leak)

    @property
    def conflicts(self) -> tuple[Group, ...]:
        """The duplicates that have more than one class."""
        return tuple(g for g in self.duplicates if g.conflict)

    @property
    def findings(self) -> list[str]:
        """What one may want to mend, a few words each."""
        exact = sum(g.exact for g in self.duplicates)
        groups = (
            (len(self.conflicts), "of duplicates with more than one class"),
            (exact, "of identical images"),
            (len(self.duplicates) - exact, "of nearly identical images"),
        )
        lacking = [(s, len(of)) for s, of in self.absent.items()] + [("train", len(self.missed))]
        unread = len(self.corrupt)
        said = [f"{counted(unread, 'image')} not read"] if unread else []
        said += [f"{counted(n, f'{split} image')} also in train" for split, n in self.leaked.items() if n]
        said += [f"{counted(n, 'group')} {what}" for n, what in groups if n]
        said += [f"{counted(n, 'class', 'classes')} without a {split} image" for split, n in lacking if n]
        if self.imbalance >= UNEVEN:
            said.append(f"classes from {min(self.train_per_class):,} to {max(self.train_per_class):,} images")
        return said

    def as_json(self) -> dict[str, Any]:
        """Every field, as JSON takes it; paths as text."""
        paths = {"cache": str(self.cache), "sheets": [str(s) for s in self.sheets]}
        return {**asdict(self), **paths, "findings": self.findings}
