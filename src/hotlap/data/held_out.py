"""A part of the training images put aside to choose by, so that the test images stay unseen."""

from __future__ import annotations

import numpy as np

from hotlap.data.dataset import Dataset, Split
from hotlap.data.moments import data_spec
from hotlap.errors import UserError


def hold_out(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """The data set with `count` of its training images, drawn at random, in place of its test images.

    Args:
        count: images held out; at least one, and fewer than there are.
        seed: of the draw; the same seed always holds out the same images.

    Raises:
        UserError: for a count that leaves one of the splits empty.
    """
    images, labels = dataset.train.images, dataset.train.labels
    if not 0 < count < len(labels):
        raise UserError(f"{count:,} images held out of {len(labels):,}: give 1 to {len(labels) - 1:,}")
    order = np.random.default_rng(seed).permutation(len(labels))
    held, kept = np.sort(order[:count]), np.sort(order[count:])
    names = dataset.train.names
    train, test = (Split(images[at], labels[at], names.take(at) if names else None) for at in (kept, held))
    spec = data_spec(train.images, dataset.spec.class_names, test_count=count)
    origin = f"{dataset.origin}, {count:,} training images held out with seed {seed}"
    return Dataset(dataset.name, spec, train, test, origin)
