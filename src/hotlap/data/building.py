"""A listing made into a data set: decoded, and its classes numbered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hotlap.data.classes import all_to_measure, class_map, class_of, class_remarks, divide, labels_of
from hotlap.data.dataset import Dataset, Split
from hotlap.data.decoding import Coloured, Decoding, decoded, look
from hotlap.data.facts import NAMED, Facts, bad_line
from hotlap.data.listing import Item, Listing, Pixels, counted
from hotlap.data.moments import Moments
from hotlap.data.names import Names
from hotlap.data.options import Options, Told
from hotlap.data.sight import Taken
from hotlap.data.sizing import choose_size
from hotlap.errors import UserError
from hotlap.spec import DataSpec

KEY_BYTES = 16
_TELL_S = 0.1


@dataclass
class Built:
    """What is known of a split once its images are decoded: of each, its class, its key and its number among
    the listing's items."""

    names: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    items: list[int] = field(default_factory=list)


class Building:
    """One listing on its way into a data set. First the `blocks` of each split, then `finish`, once.

    Args:
        listing: what the source holds.
        name: what the user asked for.
        origin: where it lies.
        options: how it is read.
        known: pixels that need not be decoded, by `key_of`, for images decoded this way.
        progress: told how far it is.
        channels: 1 or 3; None chooses from the images.
        taken: given the sight of every image that is decoded.

    Raises:
        UserError: there is nothing to train on.
    """

    def __init__(
        self,
        listing: Listing,
        name: str,
        origin: str,
        options: Options,
        known: Callable[[Decoding], Mapping[bytes, Pixels]],
        progress: Told | None,
        channels: int | None = None,
        taken: Taken | None = None,
    ) -> None:
        self.listing, self.name, self.origin, self.options = listing, name, origin, options
        self.division = (all_to_measure if options.classes else divide)(listing.items, origin)
        shown = self.division.splits["train"] or self.division.splits[self.division.measured]
        if options.classes is None:
            class_map({class_of(listing.items[i]) for i in shown}, listing.order, origin)
        sizes, seen = look(listing, shown)
        if not sizes:
            sizes = [(1, 1)]  # none of them reads: decoding says why
        self.channels = channels or options.channels or seen
        chosen, why = choose_size(sizes, len(shown))
        self.size_rule = why if options.size is None else "as asked for"
        side, gray = options.size or chosen, options.channels == 1
        self.how = Decoding(side, options.fit, self.channels, gray, sights=taken is not None)
        self.known = known(self.how)
        self.progress, self.taken = progress, taken
        self.moments = Moments(self.channels)
        self.built = {split: Built() for split in self.division.splits}
        self.bad: list[tuple[str, str]] = []
        self.decoded = self.reused = 0
        self.began = self.told = time.monotonic()

    def blocks(self, split: str) -> Iterator[Pixels]:
        """The images of a split, (n, H, W, C) uint8 at a time."""
        indices, items, built = self.division.splits[split], self.listing.items, self.built[split]
        keys = {i: key_of(items[i]) for i in indices}
        known = {i: self.known[key] for i, key in keys.items() if key in self.known}
        for some, pixels, reasons, sights in decoded(self.listing, indices, self.how, known):
            for i in some:
                if i in reasons:
                    self.bad.append((items[i].name, reasons[i]))
                else:
                    built.names.append(class_of(items[i]))
                    built.keys.append(keys[i])
                    built.items.append(i)
            fresh = sum(i not in known for i in some)
            self.decoded, self.reused = self.decoded + fresh, self.reused + len(some) - fresh
            if split == "train":
                self.moments.add(pixels)
            if self.taken:
                self.taken(split, some, reasons, sights)
            self._tell()
            yield pixels

    def finish(self) -> tuple[DataSpec, Facts, dict[str, npt.NDArray[np.int64]]]:
        """The description, what was found, and the labels of each split that has images.

        Raises:
            UserError: `strict` and an image did not read; a split or all classes but one did not.
        """
        seconds = time.monotonic() - self.began
        self._tell(last=True)
        names = {split: built.names for split, built in self.built.items()}
        measured = self.division.measured
        check_bad(self.options.strict, tuple(self.bad[:NAMED]), len(self.bad))
        needed = ("train", measured) if self.options.classes is None else (measured,)
        for split in needed:
            if not names[split]:
                line = bad_line(tuple(self.bad), len(self.bad))
                raise UserError(f"{self.origin}: no {split} image reads; {line}")
        classes = self.options.classes or class_map(names["train"], self.listing.order, self.origin)
        labels = {s: labels_of(of, classes) for s, of in names.items() if of or s == "train"}
        if not (labels[measured] >= 0).any():
            other = "train" if self.options.classes is None else "the model"
            raise UserError(
                f"{self.origin}: {measured} and {other} have no class in common; give both the same names"
            )
        counts = {
            s: tuple(np.bincount(of[of >= 0], minlength=len(classes)).tolist()) for s, of in labels.items()
        }
        there = {s: names[s] for s in labels}
        declared = self.listing.declared if self.options.classes is None else ()
        remarks, missed = class_remarks(self.listing.items, classes, counts, declared, there, labels)
        facts = Facts(
            layout=self.listing.layout,
            counts=counts,
            missed=missed,
            imbalance=max(counts["train"]) / max(1, min(counts["train"])),
            made=self.division.made,
            size_rule=self.size_rule,
            remarks=(*self.listing.remarks, *self._division(names), *remarks),
            bad=tuple(self.bad[:NAMED]),
            bad_count=len(self.bad),
            passed_over=dict(self.listing.passed_over),
            decoded=self.decoded,
            reused=self.reused,
            seconds=seconds,
        )
        spec = DataSpec(
            shape=(self.channels, *self.how.size),
            class_names=classes,
            train_count=len(names["train"]),
            test_count=len(names[measured]),
            mean=self.moments.mean,
            std=self.moments.std,
        )
        return spec, facts, labels

    def names(self, split: str) -> Names:
        """What the images of a split are called, once they are decoded."""
        return Names.of(self.listing.items[i].name for i in self.built[split].items)

    def _division(self, names: Mapping[str, list[str]]) -> list[str]:
        if not self.division.made:
            return []
        what = counted(len(names["val"]), "training image")
        return [
            f"there is no validation or test split: {what}, 1/{round(1 / self.division.made)} of each class,"
            " put aside to measure on"
        ]

    def _tell(self, last: bool = False) -> None:
        now = time.monotonic()
        if self.progress and (last or now - self.told >= _TELL_S):
            self.told = now
            total = sum(map(len, self.division.splits.values()))
            done = self.decoded + self.reused
            self.progress(done, total, self.decoded / max(now - self.began, 1e-9))


def check_bad(strict: bool, bad: tuple[tuple[str, str], ...], count: int) -> None:
    """Whether to go on with so many images that do not read.

    Raises:
        UserError: `strict`, and there are any; it names the first and how many.
    """
    if strict and count:
        name, reason = bad[0]
        rest = f", and {count - 1:,} more do not read" if count > 1 else " does not read"
        raise UserError(
            f"{name} ({reason}){rest}; mend or remove what does not read, or leave out --strict to go on"
        )


def key_of(item: Item) -> bytes:
    """16 bytes that are another's only if the image is another, by its name, size and time."""
    text = f"{item.name}\0{item.stamp}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()


def build_in_memory(
    listing: Listing, name: str, origin: str, options: Options, progress: Told | None = None
) -> Dataset:
    """The listing as a data set in memory.

    Raises:
        UserError: as `Building`.
    """
    channels = None
    while True:
        building = Building(listing, name, origin, options, lambda _: {}, progress, channels)
        try:
            images = {
                s: np.concatenate([np.empty((0, *building.how.shape), np.uint8), *building.blocks(s)])
                for s in building.division.splits
            }
        except Coloured:
            channels = 3
            continue
        spec, facts, labels = building.finish()
        splits = {s: Split(images[s], of, building.names(s)) for s, of in labels.items()}
        (_, train), (test_split, test), *held = splits.items()
        return Dataset(name, spec, train, test, origin, dict(held), test_split, facts)
