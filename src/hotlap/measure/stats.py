"""The statistics of claims: what some runs say about all runs.

A run that missed its target counts like any other. Intervals are two-sided, at `CONFIDENCE`, and None where
one value says nothing about the spread. Having no values raises ValueError, as do values that are no numbers,
or not above 0 where a logarithm is taken.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hotlap.report.words import wilson

CONFIDENCE = 0.95
Interval = tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """A mean and what it is worth.

    Args:
        n: values.
        mean: of them.
        sd: their standard deviation (n - 1); None for one value.
        interval: of the mean by Student's t; None for one value.
    """

    n: int
    mean: float
    sd: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Share:
    """`k` of `n`, with Wilson's interval of the share."""

    k: int
    n: int
    interval: Interval


@dataclass(frozen=True)
class Median:
    """A median, with an interval that assumes nothing of how the values are distributed.

    Args:
        n: values.
        median: of them.
        interval: two of the values; None for one value.
        coverage: how often such an interval holds the true median: `CONFIDENCE` or more from six values on;
            with fewer, even from the least to the greatest holds it less often.
    """

    n: int
    median: float
    interval: Interval | None
    coverage: float | None


@dataclass(frozen=True)
class Ratio:
    """How one side's times compare with another's.

    Args:
        ratio: geometric mean over the blocks.
        interval: by Student's t on the logarithms; None for one block.
        blocks: turns of ABBA.
    """

    ratio: float
    interval: Interval | None
    blocks: int


def mean_of(values: Sequence[float], confidence: float = CONFIDENCE) -> Mean:
    """The mean with its interval, which takes the values to be normal."""
    check(values)
    n, mean = len(values), float(statistics.mean(values))
    if n == 1:
        return Mean(n, mean, None, None)
    sd = statistics.stdev(values)
    margin = t_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
    return Mean(n, mean, sd, (mean - margin, mean + margin))


def p_below(values: Sequence[float], target: float) -> float | None:
    """One-sided p that the mean behind the values is below `target`, by Student's t: small where the values
    say that the target is met. None for one value."""
    from scipy.special import stdtr

    found = mean_of(values)
    if found.sd is None:
        return None
    above = found.mean - target
    if found.sd == 0:
        return 0.5 if above == 0 else float(above < 0)
    return float(stdtr(found.n - 1, -above / (found.sd / math.sqrt(found.n))))


def share_of(k: int, n: int, confidence: float = CONFIDENCE) -> Share:
    """`k` of `n` with Wilson's interval (1927), which stays within 0 and 1 and says something at 0 and n."""
    from scipy.special import ndtri

    if not 0 <= k <= n or n < 1:
        raise ValueError(f"{k} of {n} is no share")
    low, high = wilson(k / n, n, float(ndtri((1 + confidence) / 2)))
    return Share(k, n, (0.0 if k == 0 else low, 1.0 if k == n else high))


def median_of(values: Sequence[float], confidence: float = CONFIDENCE) -> Median:
    """The median with the narrowest interval, as many values from below as from above, that is good enough.

    How many of n values lie below the true median is binomial: the r-th least and the r-th greatest hold it
    between them unless fewer than r lie on one side.
    """
    check(values)
    n, ordered = len(values), sorted(map(float, values))
    if n == 1:
        return Median(n, ordered[0], None, None)
    r, coverage = 1, 1 - 2 * binomial_cdf(0, n)
    while 1 - 2 * binomial_cdf(r, n) >= confidence:  # under 0 beyond the middle
        r, coverage = r + 1, 1 - 2 * binomial_cdf(r, n)
    return Median(n, statistics.median(ordered), (ordered[r - 1], ordered[n - r]), coverage)


def ratio_of(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Ratio:
    """The times of `a` over those of `b`, measured in turn: ABBA.

    Args:
        a, b: seconds, one of each a round, in the order of the rounds; in every other round b came first.

    Two rounds are a block, whose ratio is of the means of each side's logarithms: what drifts in a line meets
    both alike and cancels. A round that is left over joins the last block; its rounds then weigh 1, 2, 1, so
    that it cancels there too. A single round is a block in which it does not.
    """
    check(a, above=0.0)
    check(b, above=0.0)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} times against {len(b)}: give one of each a round")
    rounds = [math.log(x) - math.log(y) for x, y in zip(a, b, strict=True)]
    logs = [block_mean(block) for block in blocks_of(rounds)]
    found = mean_of(logs, confidence)
    interval = None
    if found.interval is not None:
        low, high = found.interval
        interval = math.exp(low), math.exp(high)
    return Ratio(math.exp(found.mean), interval, len(logs))


def blocks_of(rounds: Sequence[float]) -> list[Sequence[float]]:
    """The rounds by twos, the last block of three where their number is odd."""
    count = max(1, len(rounds) // 2)
    ends = [2 * (i + 1) for i in range(count - 1)] + [len(rounds)]
    return [rounds[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def block_mean(block: Sequence[float]) -> float:
    """The mean of one, two or three rounds in turn, in which a drift cancels if there are two or more."""
    weights = {1: (1,), 2: (1, 1), 3: (1, 2, 1)}[len(block)]
    return math.fsum(w * x for w, x in zip(weights, block, strict=True)) / sum(weights)


def t_quantile(p: float, df: int) -> float:
    """The value that Student's t with `df` degrees of freedom stays below with probability `p`."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def binomial_cdf(k: int, n: int) -> float:
    """The probability of at most `k` heads in `n` throws of a coin."""
    return math.fsum(math.comb(n, i) / 2**n for i in range(k + 1))


def check(values: Sequence[float], above: float = -math.inf) -> None:
    if not values:
        raise ValueError("no values")
    for value in values:
        if not above < value < math.inf:  # also false for what is no number
            raise ValueError(
                f"{value} among the values: give finite numbers" + f" above {above:g}" * (above == 0)
            )
