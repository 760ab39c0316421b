"""What a benchmark's runs come to: statistics of each contender, and of one against another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hotlap.measure.stats import Mean, Median, Ratio, Share, mean_of, median_of, p_below, ratio_of, share_of

OWN, REPORTED, WALL = "hotlap", "reported", "wall"  # whose clock a run's seconds are from


@dataclass(frozen=True)
class Timed:
    """One run of a contender.

    Args:
        contender: its name.
        round, part: which round it belongs to, and which run of the round's launch it is, both from 0.
        seed: it was given.
        accuracy: on the test set, in percent, with the contender's own views; None where it diverged.
        train_s, eval_s: counted seconds; None for an evaluation that is not reported apart.
        clock: whose seconds they are: `hotlap`, `reported` by a peer, or `wall` where a peer reports none.
        wall_s: of a peer's process, from its start to its end.
        seconds: of a recipe, all of its clock's intervals; the first run of a process holds what was spent
            once, `cold`, `load` and `compile`.
        diverged: where and how, of a run whose loss became no number; its seconds are those until then.
    """

    contender: str
    round: int
    part: int
    seed: int
    accuracy: float | None
    train_s: float
    eval_s: float | None
    clock: str
    wall_s: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    diverged: str = ""

    @property
    def counted_s(self) -> float:
        """Training and evaluation."""
        return self.train_s + (self.eval_s or 0.0)


@dataclass(frozen=True)
class Standing:
    """What a contender's runs come to.

    Args:
        name: the contender's.
        clock: whose seconds they are; see `Timed`.
        target: in percent; None on data that the recipes have none for.
        runs: all of them.
        diverged: those whose loss became no number; accuracy and seconds are of the others.
        accuracy: in percent; None where all diverged, as are the seconds.
        p_below: one-sided p that the mean accuracy is below the target; None for one run.
        at_target: of all runs, those that reached it.
        train, eval, counted: seconds; `eval` None where it is not reported apart.
        arithmetic: precision, layout and own kernels, of a recipe.
        flops: of one training run; None for a peer, of which it is not known.
        flop_per_s: those over the median training seconds.
        peak_share: that, of the fastest convolution measured in the same precision and layout.
    """

    name: str
    clock: str
    target: float | None
    runs: int
    diverged: int
    accuracy: Mean | None
    p_below: float | None
    at_target: Share | None
    train: Median | None
    eval: Median | None
    counted: Median | None
    arithmetic: str = ""
    flops: int | None = None
    flop_per_s: float | None = None
    peak_share: float | None = None


@dataclass(frozen=True)
class Against:
    """The first contender's seconds over another's: training and evaluation, and training alone."""

    first: str
    other: str
    counted: Ratio
    train: Ratio


@dataclass(frozen=True)
class Summary:
    """A benchmark's statistics: every contender, in order, and the first against each other.

    Args:
        guessing: test accuracy in percent up to which a net does no better than by guessing one class.
    """

    standings: tuple[Standing, ...]
    against: tuple[Against, ...]
    guessing: float = 0.0


def standing(
    runs: Sequence[Timed],
    target: float | None,
    how: str = "",
    flops: int | None = None,
    peak: float | None = None,
) -> Standing:
    """What the runs of one contender come to."""
    done = [r for r in runs if r.accuracy is not None]
    accuracies = [r.accuracy for r in runs if r.accuracy is not None]
    train = median_of([r.train_s for r in done]) if done else None
    evals = [r.eval_s for r in done if r.eval_s is not None]
    rate = flops / train.median if flops and train else None
    return Standing(
        runs[0].contender,
        " and ".join(sorted({r.clock for r in runs})),
        target,
        len(runs),
        len(runs) - len(done),
        mean_of(accuracies) if done else None,
        None if target is None or not done else p_below(accuracies, target),
        None if target is None else share_of(sum(a >= target for a in accuracies), len(runs)),
        train,
        median_of(evals) if done and len(evals) == len(done) else None,
        median_of([r.counted_s for r in done]) if done else None,
        how,
        flops,
        rate,
        rate / peak if rate and peak else None,
    )


def against(first: Sequence[Timed], other: Sequence[Timed]) -> Against | None:
    """The seconds of one contender over another's, by the rounds that both have run to their end; None
    where there are no such rounds.

    The runs of one launch count as one, by the mean of their logarithms.
    """
    mine, theirs = ([r for r in runs if r.accuracy is not None] for runs in (first, other))
    rounds = sorted({r.round for r in mine} & {r.round for r in theirs})
    if not rounds:
        return None

    def seconds(runs: Sequence[Timed], of: Callable[[Timed], float]) -> list[float]:
        each = ([math.log(of(r)) for r in runs if r.round == i] for i in rounds)
        return [math.exp(math.fsum(logs) / len(logs)) for logs in each]

    def ratio(of: Callable[[Timed], float]) -> Ratio:
        return ratio_of(seconds(mine, of), seconds(theirs, of))

    names = first[0].contender, other[0].contender
    return Against(*names, ratio(lambda r: r.counted_s), ratio(lambda r: r.train_s))
