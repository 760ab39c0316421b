"""What a set of one's own is, by its list and the heads of a sample of its images; nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from hotlap.data.classes import class_map, class_of, divide
from hotlap.data.decoding import look
from hotlap.data.options import Options
from hotlap.data.own import OwnSource
from hotlap.data.sizing import choose_size
from hotlap.files import Notify
from hotlap.spec import DataSpec

PHOTOGRAPH = 96  # pixels of a short side from which colour images of differing sizes are photographs


@dataclass(frozen=True)
class Survey:
    """A set before it is decoded.

    Args:
        spec: shape, classes and counts, as they will be if every image reads; mean and std are not known.
        images: of all splits.
        short_side: the median of a sample, pixels.
        photographs: whether these are pictures from a camera: in colour, and larger than 96 pixels.
    """

    spec: DataSpec
    images: int
    short_side: float
    photographs: bool


def survey_own(source: OwnSource, options: Options, notify: Notify) -> Survey:
    """Look at the list of a set and at a sample of its images.

    Raises:
        UserError: it cannot be read, or there is nothing to train on.
    """
    with source.looked_at(notify) as listing:
        division = divide(listing.items, source.origin)
        train = division.splits["train"]
        classes = class_map({class_of(listing.items[i]) for i in train}, listing.order, source.origin)
        sizes, channels = look(listing, train)
    sizes = sizes or [(1, 1)]
    side = options.size or choose_size(sizes, len(train))[0]
    short = median(min(s) for s in sizes)
    zeros = (0.0,) * channels
    spec = DataSpec(
        (channels, *side), classes, len(train), len(division.splits[division.measured]), zeros, zeros
    )
    return Survey(
        spec,
        sum(map(len, division.splits.values())),
        short,
        channels == 3 and listing.encoded and short >= PHOTOGRAPH,
    )
