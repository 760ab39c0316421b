"""Training images put aside take the place of the test images, which nobody sees."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import noise_dataset
from hotlap.data import hold_out
from hotlap.errors import UserError

DATA = noise_dataset((3, 8, 8), classes=4, train=60, test=20)


def test_every_training_image_is_on_one_side_and_no_test_image_on_any():
    found = hold_out(DATA, 15)
    assert (len(found.train), len(found.test)) == (45, 15)
    assert (found.spec.train_count, found.spec.test_count) == (45, 15)
    whole = {image.tobytes() for image in DATA.train.images}
    sides = [{image.tobytes() for image in split.images} for split in (found.train, found.test)]
    assert sides[0] | sides[1] == whole
    assert not sides[0] & sides[1]
    by_image = {i.tobytes(): y for i, y in zip(DATA.train.images, DATA.train.labels, strict=True)}
    for split in (found.train, found.test):
        assert all(by_image[i.tobytes()] == y for i, y in zip(split.images, split.labels, strict=True))


def test_mean_and_deviation_are_of_the_images_that_are_left():
    found = hold_out(DATA, 15)
    assert found.spec.mean == pytest.approx(found.train.images.mean((0, 1, 2)))
    assert found.spec.std == pytest.approx(found.train.images.std((0, 1, 2)))
    assert found.spec.mean != DATA.spec.mean


def test_a_seed_holds_out_the_same_images_and_another_others():
    first, again, other = hold_out(DATA, 15), hold_out(DATA, 15), hold_out(DATA, 15, seed=1)
    assert np.array_equal(first.test.images, again.test.images)
    assert not np.array_equal(first.test.images, other.test.images)


@pytest.mark.parametrize("count", [0, 60, -1])
def test_a_split_without_images_is_refused(count):
    with pytest.raises(UserError, match="images held out of 60: give 1 to 59"):
        hold_out(DATA, count)
