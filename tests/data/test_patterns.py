"""The built-in set: the same bytes everywhere, balanced, and as hard as it says."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from hotlap.data.patterns import PATTERN_CLASSES, Images, Labels, make_patterns
from hotlap.errors import UserError

# Of make_patterns(520, 30, seed=7). Another value means other images: raise PATTERNS_VERSION with it.
GOLDEN = "ecf9ad88873dcc61cad01f1b21b0955336c81207d8932833004849449bd54d83"

Set = tuple[Images, Labels, Images, Labels]


@pytest.fixture(scope="module")
def small() -> Set:
    return make_patterns(3000, 1000)


def digest(arrays: Set) -> str:
    result = hashlib.sha256()
    for array in arrays:
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert digest(make_patterns(520, 30, seed=7)) == GOLDEN


def test_another_seed_gives_other_images() -> None:
    first, second = make_patterns(20, 20, seed=0), make_patterns(20, 20, seed=1)
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[2], second[2])


@pytest.mark.parametrize(("train", "test"), [(0, 0), (1, 0), (0, 1), (7, 13), (250, 251), (503, 10)])
def test_any_size_has_the_promised_shapes_and_balance(train: int, test: int) -> None:
    train_images, train_labels, test_images, test_labels = make_patterns(train, test)
    for images, labels, count in ((train_images, train_labels, train), (test_images, test_labels, test)):
        assert images.shape == (count, 32, 32, 3)
        assert images.dtype == np.uint8
        assert labels.shape == (count,)
        assert labels.dtype == np.int64
        assert images.flags.c_contiguous
        assert images.flags.writeable
        per_class = np.bincount(labels, minlength=10)
        assert len(per_class) == len(PATTERN_CLASSES) == 10
        assert per_class.max() - per_class.min() <= 1


def test_labels_are_shuffled(small: Set) -> None:
    labels = small[1].reshape(-1, 10)
    assert len(np.unique(labels, axis=0)) > 0.9 * len(labels)
    # Each class falls on each place of its ten about equally often: 30 of 300, with a deviation of 5.2.
    places = np.array([np.bincount(labels[:, place], minlength=10) for place in range(10)])
    assert places.min() > 8
    assert places.max() < 60


def test_images_do_not_depend_on_how_many_are_asked_for(small: Set) -> None:
    fewer = make_patterns(613, 0)
    np.testing.assert_array_equal(fewer[0], small[0][:613])
    np.testing.assert_array_equal(fewer[1], small[1][:613])
    fewer = make_patterns(0, 341)
    np.testing.assert_array_equal(fewer[2], small[2][:341])
    np.testing.assert_array_equal(fewer[3], small[3][:341])


def test_no_image_occurs_twice_and_the_splits_differ(small: Set) -> None:
    rows = np.concatenate([small[0], small[2]]).reshape(4000, -1)
    assert len({row.tobytes() for row in rows}) == 4000


def test_a_training_scene_shows_in_two_views_and_a_test_scene_in_one(small: Set) -> None:
    def nearest(images: Images, labels: Labels) -> float:
        """Part of 250 images whose most correlated image among the 250 that follow is of its class."""
        flat = images[:500].reshape(500, -1).astype(np.float64)
        flat -= flat.mean(1, keepdims=True)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        best = (flat[:250] @ flat[250:].T).argmax(1)
        return float((labels[:250] == labels[250:500][best]).mean())

    assert nearest(small[0], small[1]) > 0.9
    assert nearest(small[2], small[3]) < 0.4


def test_mean_colour_says_nothing_about_the_class(small: Set) -> None:
    def colours(images: Images) -> np.ndarray:
        return images.reshape(len(images), -1, 3).mean(1)

    x, xt = colours(small[0]), colours(small[2])
    centres = np.stack([x[small[1] == k].mean(0) for k in range(10)])
    guesses = ((xt[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (guesses == small[3]).mean() < 0.2


def test_a_linear_model_fails(small: Set) -> None:
    mean, std = small[0].mean(), small[0].std()
    x, xt = ((i.reshape(len(i), -1) - mean) / std for i in (small[0], small[2]))
    targets = np.eye(10)[small[1]] - 0.1
    gram = x @ x.T
    best = 0.0
    for ridge in (1e2, 1e3, 1e4):
        weights = x.T @ np.linalg.solve(gram + ridge * np.eye(len(x)), targets)
        best = max(best, float(((xt @ weights).argmax(1) == small[3]).mean()))
    assert best < 0.45


def test_every_class_is_as_likely_mirrored(small: Set) -> None:
    # The left half and the right half of the mean picture of a class agree but for chance: its spread is
    # about 50 / sqrt(300) = 3 steps a pixel, and less than one over half a picture.
    for k in range(10):
        mean = small[0][small[1] == k].astype(np.float64).mean((0, 3))
        assert abs(mean[:, :16].mean() - mean[:, 16:].mean()) < 6


def test_it_takes_seconds() -> None:
    start = time.perf_counter()
    make_patterns(2000, 500)
    # About 0.4 s; the bound leaves room for a busy machine.
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("name", "arguments"), [("train", (-1, 0, 0)), ("test", (0, -5, 0)), ("seed", (1, 1, -2))]
)
def test_a_negative_number_is_refused(name: str, arguments: tuple[int, int, int]) -> None:
    with pytest.raises(UserError) as caught:
        make_patterns(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert "patterns" in text
    assert f"{name} is {min(arguments)}" in text
    assert "give 0 or more" in text
