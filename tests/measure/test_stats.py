"""The statistics of claims, against closed forms, published values and simulated runs."""

from __future__ import annotations

import math
import random

import pytest

from hotlap.measure.stats import (
    Mean,
    Median,
    Ratio,
    binomial_cdf,
    blocks_of,
    mean_of,
    median_of,
    p_below,
    ratio_of,
    share_of,
)

DRAWS = 2000
MARGIN = 0.015  # three standard errors of a share of 0.95 in 2000 draws


def test_the_mean_and_its_interval():
    found = mean_of([93.9, 94.0, 94.1, 94.2, 94.3])
    sd = math.sqrt(0.025)
    assert found.n == 5
    assert found.mean == pytest.approx(94.1)
    assert found.sd == pytest.approx(sd)
    margin = 2.776445 * sd / math.sqrt(5)  # the table's t for 4 degrees of freedom
    assert found.interval == pytest.approx((94.1 - margin, 94.1 + margin), abs=1e-6)


def test_intervals_are_at_the_confidence_that_is_asked_for():
    values = [93.9, 94.0, 94.1, 94.2, 94.3]
    for confidence, t in ((0.5, 0.740697), (0.9, 2.131847), (0.99, 4.604095)):  # the table's, 4 degrees
        margin = t * math.sqrt(0.025 / 5)
        assert mean_of(values, confidence).interval == pytest.approx((94.1 - margin, 94.1 + margin), abs=1e-6)
    for confidence, z in ((0.9, 1.644854), (0.99, 2.575829)):  # Wilson's at one half, in closed form
        margin = z / 2 / math.sqrt(16 + z * z)
        found = share_of(8, 16, confidence).interval
        assert found == pytest.approx((0.5 - margin, 0.5 + margin), abs=1e-6)
    ranks = {0.5: (8, 13), 0.88: (7, 14), 0.9: (6, 15), 0.99: (4, 17)}  # of 20: the tables'
    for confidence, interval in ranks.items():
        assert median_of(list(range(1, 21)), confidence).interval == interval
    assert median_of([1, 2, 3, 4], 0.375).interval == (2, 3)  # of which the coverage is that exactly
    assert median_of([1, 2, 3, 4], 0.376).interval == (1, 4)
    assert median_of([1, 2, 3, 4, 5], 1e-9).interval == (2, 4)
    wide, narrow = (ratio_of([1.0, 1.0, 2.0, 2.0], [1.0] * 4, c).interval for c in (0.9, 0.5))
    half = 1.0 * math.log(2) / 2  # t of one degree of freedom is 1 at 0.75, and 6.313752 at 0.95
    assert [math.log(x) for x in narrow] == pytest.approx([math.log(2) / 2 - half, math.log(2) / 2 + half])
    assert math.log(wide[1]) == pytest.approx(math.log(2) / 2 + 6.313752 * half, rel=1e-6)


def test_coverage_is_of_the_binomial_distribution():
    for n in range(2, 12):
        found = median_of(list(range(n)))
        r = found.interval[0] + 1
        below = sum(math.comb(n, i) for i in range(n + 1) if r <= i <= n - r)
        assert found.coverage == pytest.approx(below / 2**n)
    assert [binomial_cdf(k, 3) for k in range(4)] == [1 / 8, 4 / 8, 7 / 8, 1.0]


def test_one_value_says_nothing_of_the_spread():
    assert mean_of([94.0]) == Mean(1, 94.0, None, None)
    assert median_of([94.0]) == Median(1, 94.0, None, None)
    assert p_below([94.0], 93.0) is None
    assert ratio_of([2.0], [4.0]) == Ratio(0.5, None, 1)


def test_values_that_are_all_the_same():
    assert mean_of([94.1] * 3) == Mean(3, 94.1, 0.0, (94.1, 94.1))
    assert median_of([5.0] * 6).interval == (5.0, 5.0)
    assert [p_below([94.1] * 3, target) for target in (94.0, 94.1, 94.2)] == [0.0, 0.5, 1.0]
    same = ratio_of([3.0] * 4, [2.0] * 4)
    assert (same.ratio, *same.interval) == pytest.approx((1.5, 1.5, 1.5))


@pytest.mark.parametrize("target", [93.8, 94.0, 94.1, 94.5])
def test_p_is_student_s_closed_form_for_two_and_three_values(target):
    t = (94.1 - target) / (math.sqrt(0.02) / math.sqrt(2))
    assert p_below([94.0, 94.2], target) == pytest.approx(0.5 - math.atan(t) / math.pi)
    t = (94.1 - target) / (math.sqrt(0.01) / math.sqrt(3))
    assert p_below([94.0, 94.1, 94.2], target) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)))


def test_p_is_small_where_the_target_is_met():
    values = [94.3, 94.2, 94.4, 94.3]
    assert p_below(values, 94.0) < 0.01
    assert p_below(values, 94.6) > 0.99


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 1, 0.2065, 1.0)],
)
def test_wilson_s_interval(k, n, low, high):
    found = share_of(k, n)
    assert (found.k, found.n) == (k, n)
    assert found.interval == pytest.approx((low, high), abs=5e-5)
    other = share_of(n - k, n).interval  # what is not k of n is n - k of n
    assert found.interval == pytest.approx((1 - other[1], 1 - other[0]))


def test_a_share_of_none_or_all_begins_or_ends_there_exactly():
    for n in range(1, 60):
        assert share_of(0, n).interval[0] == 0.0
        assert share_of(n, n).interval[1] == 1.0
        assert 0.0 < share_of(0, n).interval[1] < 1.0


@pytest.mark.parametrize(
    ("n", "r", "coverage"),  # the tables' ranks for 95%
    [(2, 1, 0.5), (5, 1, 0.9375), (6, 1, 0.9688), (8, 1, 0.9922), (9, 2, 0.9609), (20, 6, 0.9586)],
)
def test_the_median_s_interval_is_of_ranks(n, r, coverage):
    values = list(range(1, n + 1))
    random.Random(n).shuffle(values)
    found = median_of(values)
    assert (found.n, found.median) == (n, (n + 1) / 2)
    assert found.interval == (r, n + 1 - r)
    assert found.coverage == pytest.approx(coverage, abs=5e-5)


def test_a_drift_in_a_line_cancels_in_every_block():
    def times(rounds: int, drift: float) -> tuple[list[float], list[float]]:
        at, sides = 0, ([], [])
        for i in range(rounds):
            for side in (0, 1) if i % 2 == 0 else (1, 0):
                sides[side].append((2.0, 3.0)[side] * math.exp(drift * at))
                at += 1
        return sides

    for rounds in (2, 3, 4, 5, 8):
        found = ratio_of(*times(rounds, drift=0.3))
        assert found.ratio == pytest.approx(2 / 3)
        assert found.blocks == rounds // 2
        if found.interval:
            assert found.interval == pytest.approx((2 / 3, 2 / 3))
    alone = ratio_of(*times(1, drift=0.3))
    assert alone.ratio == pytest.approx(2 / 3 * math.exp(-0.3))  # one round cannot tell drift from ratio
    assert (alone.blocks, alone.interval) == (1, None)


def test_blocks_are_turns_and_none_is_dropped():
    assert blocks_of([1]) == [[1]]
    assert blocks_of([1, 2]) == [[1, 2]]
    assert blocks_of([1, 2, 3]) == [[1, 2, 3]]
    assert blocks_of([1, 2, 3, 4, 5]) == [[1, 2], [3, 4, 5]]


def test_the_ratio_is_the_geometric_mean_of_the_blocks_with_t_on_logarithms():
    found = ratio_of([2.0, 2.0, 8.0, 8.0], [1.0, 1.0, 1.0, 1.0])
    assert found.ratio == pytest.approx(4.0)
    half = 12.7062 * math.log(2)  # t for 1 degree of freedom, times the standard error of log 2 and log 8
    assert [math.log(x) for x in found.interval] == pytest.approx(
        [math.log(4) - half, math.log(4) + half], rel=1e-5
    )
    other = ratio_of([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 8.0, 8.0])
    assert (other.ratio, *other.interval) == pytest.approx(
        (1 / 4, 1 / found.interval[1], 1 / found.interval[0])
    )


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf], [-math.inf, 1.0]])
@pytest.mark.parametrize(
    "statistic", [mean_of, median_of, lambda v: p_below(v, 1.0), lambda v: ratio_of(v, v)]
)
def test_what_is_no_number_is_refused(statistic, bad):
    with pytest.raises(ValueError, match=r"no values|finite"):
        statistic(bad)


def test_times_must_be_above_0_and_of_both_sides():
    for times in ([1.0, 0.0], [1.0, -2.0]):
        for sides in ((times, [1.0, 1.0]), ([1.0, 1.0], times)):
            with pytest.raises(
                ValueError, match=f"^{times[1]} among the values: give finite numbers above 0$"
            ):
                ratio_of(*sides)
    with pytest.raises(ValueError, match=r"^inf among the values: give finite numbers$"):
        mean_of([0.0, -1.0, math.inf])
    with pytest.raises(ValueError, match="2 times against 1"):
        ratio_of([1.0, 1.0], [1.0])
    for k, n in ((2, 1), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="no share"):
            share_of(k, n)


def share_that_holds(interval_of, truth: float) -> float:
    """How many of the simulated studies' intervals hold the true value."""
    draw = random.Random(0)
    held = sum(low <= truth <= high for low, high in (interval_of(draw) for _ in range(DRAWS)))
    return held / DRAWS


def test_the_mean_s_interval_holds_it_as_often_as_it_says():
    def study(draw):
        return mean_of([draw.gauss(94.0, 0.15) for _ in range(5)]).interval

    assert share_that_holds(study, 94.0) == pytest.approx(0.95, abs=MARGIN)


def test_the_median_s_interval_holds_it_whatever_the_distribution():
    def study(draw):
        return median_of([draw.expovariate(1.0) for _ in range(9)]).interval

    assert share_that_holds(study, math.log(2)) == pytest.approx(0.9609, abs=MARGIN)


@pytest.mark.parametrize("rounds", [6, 7])
def test_the_ratio_s_interval_holds_it_under_noise_and_drift(rounds):
    def study(draw):
        at, sides = 0, ([], [])
        for i in range(rounds):
            for side in (0, 1) if i % 2 == 0 else (1, 0):
                sides[side].append((2.0, 3.0)[side] * math.exp(0.1 * at + draw.gauss(0.0, 0.02)))
                at += 1
        return ratio_of(*sides).interval

    # a block of three rounds is a little surer than the others, which t does not know
    assert share_that_holds(study, 2 / 3) == pytest.approx(0.95, abs=MARGIN + 0.005)


def test_p_is_uniform_where_the_mean_is_the_target():
    draw = random.Random(1)
    found = [p_below([draw.gauss(94.0, 0.2) for _ in range(4)], 94.0) for _ in range(DRAWS)]
    for level in (0.05, 0.5, 0.95):
        assert sum(p < level for p in found) / DRAWS == pytest.approx(level, abs=0.035)
