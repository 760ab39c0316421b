"""What is said of a classifier, against loops and against SciPy; labels that the model does not know."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from hotlap.data.names import Names
from hotlap.inspect.classification import (
    BINS,
    COLDEST,
    HOTTEST,
    UNKNOWN,
    Analysis,
    analyse,
    fit_temperature,
)


def some(n=400, k=5, seed=0, scale=2.0, unknown=0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(n, k))).astype(np.float32)
    labels = np.where(rng.random(n) < 0.5, logits.argmax(1), rng.integers(0, k, n))
    labels[:unknown] = -1
    return logits, labels, [f"class {i}" for i in range(k)]


def softmax(z):
    e = np.exp(z.astype(np.float64) - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def slow_ece(confidence, right):
    total = 0.0
    for i in range(BINS):
        inside = [j for j, c in enumerate(confidence) if i / BINS < c <= (i + 1) / BINS]
        if inside:
            gap = np.mean([confidence[j] for j in inside]) - np.mean([right[j] for j in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


def test_counts_confusion_and_rates_against_a_loop():
    logits, labels, names = some()
    found = analyse(logits, labels, names, train_counts=[7, 8, 9, 10, 11])
    slow = np.zeros((5, 5), int)
    for row, label in zip(logits, labels, strict=True):
        slow[label, max(range(5), key=lambda i: row[i])] += 1
    assert (found.matrix == slow).all()
    assert (found.count, found.right) == (400, np.trace(slow))
    assert found.accuracy == pytest.approx(np.trace(slow) / 4)
    for i, score in enumerate(found.classes):
        recall, precision = slow[i, i] / slow[i].sum(), slow[i, i] / slow[:, i].sum()
        assert (score.accuracy, score.precision) == (pytest.approx(recall), pytest.approx(precision))
        assert score.f1 == pytest.approx(2 * recall * precision / (recall + precision))
        assert (score.name, score.count, score.train_count) == (names[i], slow[i].sum(), 7 + i)
    assert found.balanced_accuracy == pytest.approx(100 * np.mean(np.diag(slow) / slow.sum(1)))
    p = softmax(logits)
    assert found.loss == pytest.approx(-np.log(p[range(400), labels]).mean())


def test_pairs_are_the_most_frequent_mistakes_with_their_surest_images():
    logits, labels, names = some()
    found = analyse(logits, labels, names)
    p, said = softmax(logits), logits.argmax(1)
    counts = [c.count for c in found.pairs]
    assert counts == sorted(counts, reverse=True)
    assert len(found.pairs) == 20
    assert sum(counts) == found.count - found.right  # 5 classes have 20 pairs
    for pair in found.pairs:
        every = [i for i in range(400) if labels[i] == pair.true and said[i] == pair.said]
        assert pair.count == len(every)
        assert pair.share == pytest.approx(len(every) / (labels == pair.true).sum())
        assert list(pair.images) == sorted(every, key=lambda i: -p[i, pair.said])[:8]
        assert pair.probabilities == pytest.approx([p[i, pair.said] for i in pair.images])


def test_images_that_are_told_of_have_their_names():
    logits, labels, names = some()
    found = analyse(logits, labels, names, names=Names.of(f"a/{i}.png" for i in range(400)))
    for case in (*found.worst, *found.least_certain):
        assert case.name == f"a/{case.index}.png"
    for pair in found.pairs:
        assert pair.names == tuple(f"a/{i}.png" for i in pair.images)
    assert Analysis.from_json(json.loads(json.dumps(found.to_json()))) == found
    older = json.loads(json.dumps(analyse(logits, labels, names).to_json()))
    for line in (*older["worst"], *older["least_certain"]):
        del line["name"]
    for line in older["pairs"]:
        del line["names"]
    assert Analysis.from_json(older) == analyse(logits, labels, names)


def test_worst_and_least_certain_images():
    logits, labels, names = some()
    found = analyse(logits, labels, names, kept=10)
    p = softmax(logits)
    losses = -np.log(p[range(400), labels])
    wrong = [i for i in range(400) if logits[i].argmax() != labels[i]]
    assert [c.index for c in found.worst] == sorted(wrong, key=lambda i: -losses[i])[:10]
    assert [c.index for c in found.least_certain] == sorted(range(400), key=lambda i: p[i].max())[:10]
    first = found.worst[0]
    assert first.loss == pytest.approx(losses[first.index])
    assert first.true_probability == pytest.approx(p[first.index, first.true])
    assert first.probability == pytest.approx(p[first.index].max())


def test_the_calibration_error_against_a_loop():
    logits, labels, names = some(scale=3.0)
    found = analyse(logits, labels, names).calibration
    confidence, right = softmax(logits).max(1), logits.argmax(1) == labels
    assert found.ece == pytest.approx(slow_ece(confidence, right))
    assert sum(b.count for b in found.bins) == sum(b.count for b in found.bins_scaled) == 400
    # each half over the temperature of the other
    fold = np.random.default_rng(0).permutation(400) % 2
    for half in (0, 1):
        other = fit_temperature(logits[fold != half], labels[fold != half])[0]
        confidence[fold == half] = softmax(logits[fold == half] / other).max(1)
    assert found.ece_scaled == pytest.approx(slow_ece(confidence, right))


def test_scaled_logits_are_calibrated_where_a_temperature_can_do_it():
    rng = np.random.default_rng(2)
    logits = 2 * rng.normal(size=(10_000, 5))
    labels = np.array([rng.choice(5, p=row) for row in softmax(logits)])
    found = analyse(3 * logits, labels, list("abcde")).calibration
    assert found.ece > 0.1  # three times too sure
    assert found.ece_scaled < 0.015  # what 15 bins of 700 labels drawn leave: about 0.4 / 700 ** 0.5 each


@pytest.mark.parametrize("known", [0.3, 1.0, 4.0])
def test_the_temperature_is_found_again(known):
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(20_000, 6))
    labels = np.array([rng.choice(6, p=row) for row in softmax(logits)])
    temperature, fitted = fit_temperature(logits * known, labels)
    assert fitted
    assert temperature == pytest.approx(known, rel=0.03)  # 20,000 labels drawn: sd of about 1%


def test_the_temperature_is_the_one_that_scipy_finds():
    logits, labels, _ = some(seed=3)

    def loss(log_t):
        return -np.log(softmax(logits / np.exp(log_t))[range(len(labels)), labels]).mean()

    wanted = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded").x
    assert np.log(fit_temperature(logits, labels)[0]) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("shift", [0, 1])
def test_where_all_are_right_or_all_are_wrong_no_temperature_is_told(shift):
    logits, _, names = some()
    found = analyse(logits, (logits.argmax(1) + shift) % 5, names)
    assert (found.calibration.temperature, found.calibration.fitted) == (1.0, False)
    assert found.calibration.ece == found.calibration.ece_scaled
    assert (len(found.worst), found.accuracy) == ((0, 100.0), (24, 0.0))[shift]


def test_no_temperature_is_told_by_one_image_that_is_wrong():
    """Half of the images are right then, and say nothing: what the other half says is a guess."""
    labels = np.arange(36) % 4
    logits = np.eye(4, dtype=np.float32)[labels]
    logits[7] = logits[8]
    found = analyse(logits, labels, list("abcd")).calibration
    assert fit_temperature(logits, labels)[1]
    assert (found.temperature, found.fitted, found.ece_scaled) == (1.0, False, found.ece)


def test_no_temperature_is_told_where_that_of_one_half_does_not_help_the_other():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    logits = (3 * np.eye(4)[labels]).astype(np.float32)
    half = np.random.default_rng(0).permutation(200) % 2 == 0  # as `calibrate` draws them
    for some_of, wrong in ((half, 2), (~half, 60)):
        at = np.flatnonzero(some_of)[:wrong]
        logits[at] = np.roll(logits[at], 1, axis=1)
    found = analyse(logits, labels, list("abcd")).calibration
    assert (found.temperature, found.fitted) == (1.0, False)
    assert found.ece_scaled > found.ece  # each half with the other's


def test_a_temperature_stays_within_its_bounds():
    logits, labels, _ = some()
    assert fit_temperature(1e4 * logits, labels)[0] == pytest.approx(HOTTEST)
    assert fit_temperature(1e-4 * logits, labels)[0] == pytest.approx(COLDEST)


def test_classes_that_the_model_does_not_know_count_as_missed():
    logits, labels, names = some(unknown=40)
    labels[5] = 5  # beyond the last logit is as unknown as -1
    found = analyse(logits, labels, names)
    known = found.classes[5]
    assert (known.name, known.count, known.right, known.accuracy) == (UNKNOWN, 40, 0, 0.0)
    assert found.unknown == 40
    assert found.right == (logits.argmax(1) == labels).sum()
    assert found.matrix.shape == (6, 6)
    assert found.matrix[5].sum() == 40
    assert found.matrix[:, 5].sum() == 0
    told = next(c for c in (*found.worst, *found.least_certain) if c.true == 5)
    assert told.true_probability is None
    # what they say of the others is as without them, but for the images that are missed
    others = analyse(logits[40:], labels[40:], names)
    assert found.loss == pytest.approx(others.loss)
    assert found.calibration.temperature == pytest.approx(others.calibration.temperature)


def test_a_class_without_images_and_one_that_is_never_said():
    logits = np.array([[3.0, 0, -9], [2.0, 1, -9]], np.float32)
    found = analyse(logits, np.array([0, 1]), ["a", "b", "c"])
    assert [c.accuracy for c in found.classes] == [1.0, 0.0, None]
    assert [c.precision for c in found.classes] == [0.5, None, None]
    assert [c.f1 for c in found.classes] == [pytest.approx(2 / 3), 0.0, None]
    assert found.balanced_accuracy == 50


def test_one_image_and_all_of_unknown_classes():
    logits = np.array([[3.0, 0]], np.float32)
    assert analyse(logits, np.array([0]), ["a", "b"]).accuracy == 100
    found = analyse(logits, np.array([-1]), ["a", "b"])
    assert (found.accuracy, found.loss, found.calibration.fitted) == (0.0, 0.0, False)


def test_many_classes_stay_small_and_have_a_top_five():
    logits, labels, names = some(n=3000, k=1000, scale=1.0)
    found = analyse(logits, labels, names)
    order = np.argsort(-logits, axis=1)[:, :5]
    assert found.top5 == pytest.approx(100 * np.mean([y in o for y, o in zip(labels, order, strict=True)]))
    assert len(json.dumps(found.to_json())) < 300_000
    assert analyse(*some()).top5 is None


def test_json_there_and_back():
    found = analyse(*some(unknown=3))
    assert Analysis.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_what_does_not_fit_is_refused():
    logits, labels, names = some()
    for wrong in ((logits, labels[1:], names), (logits[0], labels, names), (logits, labels, names[1:])):
        with pytest.raises(ValueError, match="give"):
            analyse(*wrong)
