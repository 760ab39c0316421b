"""What a classifier gets right and wrong on one set of images: by class, by pair, and how sure it may be.

Calibration is as in Guo et al., "On calibration of modern neural networks" (2017): the expected calibration
error (ECE) over bins of equal width, and one temperature that the logits are divided by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hotlap.data.names import Names

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNKNOWN = "unknown to the model"  # the name of every class that the model has no logit for
BINS = 15  # of confidence, each as wide as the others
TOP5_FROM = 20  # classes from which on the five most probable are counted too
LEAST = np.finfo(np.float64).tiny  # a probability, so that it has a logarithm
HOTTEST, COLDEST = 20.0, 0.05  # temperatures within which one is looked for
HALVINGS = 30  # of that interval's logarithm: to a few parts in a thousand million
FIT_NUMBERS = 4_000_000  # logits that a temperature is fitted to; of more, images evenly apart
KEPT = 24  # images that are told of in each list
PAIRS = 20
IMAGES_OF_A_PAIR = 8


@dataclass(frozen=True)
class ClassScore:
    """One class.

    Args:
        name: of the class.
        count: its images.
        right: those of them that the model says are of this class.
        said: all images that it says are of this class.
        train_count: its training images, where that is known.
    """

    name: str
    count: int
    right: int
    said: int
    train_count: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of its images that are found, 0 to 1 (its recall); None without images."""
        return self.right / self.count if self.count else None

    @property
    def precision(self) -> float | None:
        """Share of the images said to be of it that are, 0 to 1; None if none is."""
        return self.right / self.said if self.said else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of the two, 0 to 1; None for a class without images that is never said."""
        both = self.count + self.said
        return 2 * self.right / both if both else None


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are said to be of another.

    Args:
        true, said: numbers of the two classes.
        count: images.
        share: of the images of the class `true`, 0 to 1.
        images: numbers of some of them, those first of which the model is surest.
        probabilities: of what it says of those, 0 to 1.
        names: what those are called, where that is known.
    """

    true: int
    said: int
    count: int
    share: float
    images: tuple[int, ...]
    probabilities: tuple[float, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in (low, high].

    Args:
        count: images.
        confidence, accuracy: their means, 0 to 1; 0 where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far the probability of what is said can be believed.

    Args:
        temperature: what divides the logits so that the loss is least.
        fitted: whether the images say what it should be. They do not where all of a half are right, or all
            wrong, nor where what is fitted to each half does not lower the loss of the other: it is 1 then.
        ece: expected calibration error over `BINS` bins of equal width, 0 to 1, of the logits as they are.
        ece_scaled: of the logits over a temperature fitted to the other half of the images (two folds), so
            that it is not measured on what it was fitted to.
        bins, bins_scaled: what the two are made of.
    """

    temperature: float
    fitted: bool
    ece: float
    ece_scaled: float
    bins: tuple[Bin, ...]
    bins_scaled: tuple[Bin, ...]


@dataclass(frozen=True)
class Case:
    """One image.

    Args:
        index: its number in the set.
        true, said: numbers of its class and of the one that is said.
        probability: of what is said, 0 to 1.
        true_probability: of its class, 0 to 1; None if the model does not know it.
        loss: cross entropy, nats. Of a class that the model does not know, as if all probability that what
            is said leaves were its.
        name: what it is called, where that is known.
    """

    index: int
    true: int
    said: int
    probability: float
    true_probability: float | None
    loss: float
    name: str = ""


@dataclass(frozen=True)
class Analysis:
    """What `analyse` finds; plain values throughout.

    Args:
        count, right: images, and those classified right.
        accuracy: in percent, of all images; those of classes that the model does not know count as missed.
        balanced_accuracy: the mean of the classes' accuracies, in percent.
        top5: in percent, how often the class is among the five most probable; None with few classes.
        loss: mean cross entropy in nats, of the images whose class the model knows.
        unknown: images whose class the model does not know.
        classes: the classes in the order of the logits; one more, `UNKNOWN`, if there are such images.
        confusion: (true, said, images) of every pair of classes that has any, in that order.
        pairs: the most frequent mistakes.
        calibration: how far the probabilities can be believed.
        worst: the images with the highest loss among those that are wrong.
        least_certain: the images for which what is said is least probable.
    """

    count: int
    right: int
    accuracy: float
    balanced_accuracy: float
    top5: float | None
    loss: float
    unknown: int
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, int, int], ...]
    pairs: tuple[Confusion, ...]
    calibration: Calibration
    worst: tuple[Case, ...]
    least_certain: tuple[Case, ...]

    @property
    def matrix(self) -> Ints:
        """Images by class (rows) and by what is said (columns), (classes, classes) int64."""
        made = np.zeros((len(self.classes),) * 2, np.int64)
        for true, said, n in self.confusion:
            made[true, said] = n
        return made

    @property
    def shown(self) -> tuple[int, ...]:
        """Numbers of all images that are told of, each once."""
        told = [c.index for c in (*self.worst, *self.least_certain)]
        return tuple(dict.fromkeys([*told, *(i for pair in self.pairs for i in pair.images)]))

    def to_json(self) -> dict[str, Any]:
        """As what `json` writes; with the accuracy of each class, for whoever reads the file."""
        made = asdict(self)
        for line, score in zip(made["classes"], self.classes, strict=True):
            line["accuracy"] = score.accuracy
        return made

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Analysis:
        """What `to_json` made.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        plain = ("count", "right", "accuracy", "balanced_accuracy", "top5", "loss", "unknown")
        told = raw["calibration"]
        return cls(
            **{k: raw[k] for k in plain},
            classes=tuple(
                ClassScore(**{k: v for k, v in c.items() if k != "accuracy"}) for c in raw["classes"]
            ),
            confusion=tuple((int(true), int(said), int(n)) for true, said, n in raw["confusion"]),
            pairs=tuple(
                Confusion(
                    **{
                        **p,
                        "images": tuple(p["images"]),
                        "probabilities": tuple(p["probabilities"]),
                        "names": tuple(p.get("names", ())),
                    }
                )
                for p in raw["pairs"]
            ),
            calibration=Calibration(
                **{k: v for k, v in told.items() if not k.startswith("bins")},
                bins=tuple(Bin(**b) for b in told["bins"]),
                bins_scaled=tuple(Bin(**b) for b in told["bins_scaled"]),
            ),
            worst=tuple(Case(**c) for c in raw["worst"]),
            least_certain=tuple(Case(**c) for c in raw["least_certain"]),
        )


def analyse(
    logits: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    class_names: Sequence[str],
    *,
    train_counts: Sequence[int] | None = None,
    names: Names | None = None,
    kept: int = KEPT,
    pairs: int = PAIRS,
) -> Analysis:
    """What a classifier that gives these logits gets right and wrong.

    Args:
        logits: (N, K) float, N at least 1, K at least 1, all finite.
        labels: (N,) int. One outside 0 .. K-1, such as -1, is of a class that the model does not know: the
            image counts as missed.
        class_names: K names.
        train_counts: K numbers of training images.
        names: what the N images are called.
        kept, pairs: how many images and pairs of classes are told of in each list.

    Raises:
        ValueError: if the shapes do not fit each other.
    """
    if logits.ndim != 2 or 0 in logits.shape or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape}: give (N, K) and (N,)")
    n, k = logits.shape
    if len(class_names) != k or (train_counts is not None and len(train_counts) != k):
        raise ValueError(f"{k} logits an image: give as many class names, and as many training counts")
    known = (labels >= 0) & (labels < k)
    true = np.where(known, labels, k).astype(np.int64)
    said = logits.argmax(1).astype(np.int64)
    right = said == true
    found = confidences(logits, said)
    of_true = np.where(known, confidences(logits, np.where(known, true, 0)), 1 - found)
    losses = -np.log(np.maximum(of_true, 1e-38))  # where float32 ends
    unknown = int(n - known.sum())
    size = k + (unknown > 0)
    pair, counts = np.unique(true * (k + 1) + said, return_counts=True)
    confusion = tuple(
        (int(p // (k + 1)), int(p % (k + 1)), int(c)) for p, c in zip(pair, counts, strict=True)
    )
    of_class, of_said = np.bincount(true, minlength=size), np.bincount(said, minlength=size)
    hits = np.bincount(true[right], minlength=size)
    classes = tuple(
        ClassScore(
            (*class_names, UNKNOWN)[i],
            int(of_class[i]),
            int(hits[i]),
            int(of_said[i]),
            int(train_counts[i]) if train_counts is not None and i < k else None,
        )
        for i in range(size)
    )
    accuracies = [c.accuracy for c in classes if c.accuracy is not None]

    def cases(order: Ints) -> tuple[Case, ...]:
        return tuple(
            Case(
                int(i),
                int(true[i]),
                int(said[i]),
                float(found[i]),
                float(of_true[i]) if known[i] else None,
                float(losses[i]),
                names[int(i)] if names else "",
            )
            for i in order[:kept]
        )

    wrong = np.flatnonzero(~right)
    return Analysis(
        count=n,
        right=int(right.sum()),
        accuracy=float(100 * right.mean()),
        balanced_accuracy=100 * sum(accuracies) / len(accuracies),
        top5=top_five(logits, true) if k >= TOP5_FROM else None,
        loss=float(losses[known].mean()) if known.any() else 0.0,
        unknown=unknown,
        classes=classes,
        confusion=confusion,
        pairs=most_confused(confusion, of_class, true, said, found, pairs, names),
        calibration=calibrate(logits, true, right),
        worst=cases(wrong[np.argsort(-losses[wrong], kind="stable")]),
        least_certain=cases(np.argsort(found, kind="stable")),
    )


def confidences(
    logits: npt.NDArray[Any], of: Ints, temperature: float | Floats = 1.0, rows: int = 8192
) -> Floats:
    """The probability of class `of` (N,) of each image, (N,) float64: softmax of logits over a temperature,
    which may be one for each image (N,). A stretch of images at a time, for logits can be many."""
    heat = np.broadcast_to(np.asarray(temperature, np.float64), (len(logits),))
    made = np.empty(len(logits))
    for start in range(0, len(logits), rows):
        part = slice(start, start + rows)
        z = logits[part].astype(np.float64) / heat[part, None]
        z -= z.max(1, keepdims=True)
        at = np.take_along_axis(z, of[part, None], 1)[:, 0]
        made[part] = np.exp(at - np.log(np.exp(z).sum(1)))
    return made


def top_five(logits: npt.NDArray[Any], true: Ints) -> float:
    """How often the class is among the five largest logits, in percent."""
    five = np.argpartition(-logits, 4, axis=1)[:, :5]
    return float(100 * (five == true[:, None]).any(1).mean())


def most_confused(
    confusion: Sequence[tuple[int, int, int]],
    of_class: npt.NDArray[Any],
    true: Ints,
    said: Ints,
    found: Floats,
    most: int,
    names: Names | None = None,
) -> tuple[Confusion, ...]:
    """The most frequent mistakes, those first that take the larger share of their class."""
    mistakes = [(t, s, n) for t, s, n in confusion if t != s]
    mistakes.sort(key=lambda m: (-m[2], -m[2] / of_class[m[0]], m[0], m[1]))
    made = []
    for t, s, n in mistakes[:most]:
        images = np.flatnonzero((true == t) & (said == s))
        surest = images[np.argsort(-found[images], kind="stable")][:IMAGES_OF_A_PAIR]
        certain = tuple(float(found[i]) for i in surest)
        called = tuple(names[int(i)] for i in surest) if names else ()
        made.append(Confusion(t, s, n, n / int(of_class[t]), tuple(map(int, surest)), certain, called))
    return tuple(made)


def calibrate(logits: npt.NDArray[Any], true: Ints, right: npt.NDArray[np.bool_]) -> Calibration:
    """The temperature, and the calibration error with and without one; see `Calibration`.

    Args:
        logits: (N, K).
        true: (N,), K where the model does not know the class: counts as wrong, and no temperature is
            fitted to it.
        right: (N,), whether the largest logit is the class's.
    """
    said = logits.argmax(1).astype(np.int64)
    # halves at random, for images often lie in the order of their classes; the same halves every time
    fold = np.random.default_rng(0).permutation(len(true)) % 2
    heat, known = np.ones(len(true)), (true >= 0) & (true < logits.shape[1])
    halves = [fit_temperature(logits[fold != half], true[fold != half]) for half in (0, 1)]
    fitted = all(fits for _, fits in halves)
    if fitted:
        heat = np.array([t for t, _ in halves])[fold]
        before, after = (
            np.log(np.maximum(confidences(logits[known], true[known], t), LEAST)).mean()
            for t in (1.0, heat[known])
        )
        fitted = bool(after > before)
    temperature = fit_temperature(logits, true)[0] if fitted else 1.0
    bins = reliability(confidences(logits, said), right)
    scaled = reliability(confidences(logits, said, heat), right)
    return Calibration(temperature, fitted, calibration_error(bins), calibration_error(scaled), bins, scaled)


def reliability(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> tuple[Bin, ...]:
    """Images by confidence (N,), in bins of equal width, each without its lower end."""
    at = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    sums = np.bincount(at, confidence, bins), np.bincount(at, right.astype(np.float64), bins)
    means = [s / np.maximum(counts, 1) for s in sums]
    return tuple(
        Bin(i / bins, (i + 1) / bins, int(counts[i]), float(means[0][i]), float(means[1][i]))
        for i in range(bins)
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of confidence and accuracy, each bin by its images: 0 to 1."""
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / sum(b.count for b in bins)


def fit_temperature(logits: npt.NDArray[Any], true: Ints) -> tuple[float, bool]:
    """The temperature T that makes the mean cross entropy of logits / T least, and whether there is one.

    The loss is convex in 1/T, so that its slope changes its sign once: the interval from `COLDEST` to
    `HOTTEST` is halved, in log T. (A minimiser of SciPy's would take half a second to import.) Where all
    images are right, or all wrong, or none is of a known class, they do not say what it should be: 1, False.

    Args:
        logits: (N, K).
        true: (N,) int; images whose label is no column are left out.
    """
    k = logits.shape[1]
    used = np.flatnonzero((true >= 0) & (true < k))
    used = used[:: max(1, -(-len(used) * k // FIT_NUMBERS))]
    z, y = logits[used].astype(np.float64), true[used]
    right = z.argmax(1) == y
    if right.all() or not right.any():  # also without images
        return 1.0, False
    z -= z.max(1, keepdims=True)
    wanted = np.take_along_axis(z, y[:, None], 1)[:, 0].mean()
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        p = np.exp(z * np.exp(-middle))
        mean = ((p * z).sum(1) / p.sum(1)).mean()
        if mean < wanted:  # the slope in 1/T is mean - wanted: below 0 the loss falls with a lower T
            high = middle
        else:
            low = middle
    return float(np.exp((low + high) / 2)), True
