"""What a benchmark's runs come to, where some diverged, some report no evaluation, and some rounds are missing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hotlap.measure.standings import Timed, against, standing


def run(i: int, train_s: float = 10.0, eval_s: float | None = 1.0, accuracy: float | None = 94.0, **more):
    return Timed("a", i, 0, i, accuracy, train_s, eval_s, **{"clock": "hotlap", **more})


def test_counted_seconds_are_of_training_and_evaluation():
    assert run(0).counted_s == 11.0
    assert run(0, eval_s=None).counted_s == 10.0
    assert run(0, eval_s=0.0).counted_s == 10.0


def test_whose_clock_the_seconds_are_from_is_said_of_all():
    assert standing([run(0), run(1)], None).clock == "hotlap"
    mixed = [run(0, clock="wall"), run(1, clock="reported"), run(2, clock="wall")]
    assert standing(mixed, None).clock == "reported and wall"


def test_accuracy_and_seconds_are_of_runs_that_came_to_an_end():
    lost = run(1, train_s=1.0, eval_s=None, accuracy=None, diverged="at step 3")
    found = standing([run(0, 10.0), lost, run(2, 30.0, accuracy=95.0)], 94.5, "fp32", 60, 12.0)
    assert (found.runs, found.diverged) == (3, 1)
    assert (found.accuracy.n, found.accuracy.mean) == (2, 94.5)
    assert (found.train.n, found.train.median, found.eval.n, found.counted.median) == (2, 20.0, 2, 21.0)
    assert found.p_below == 0.5
    assert (found.at_target.k, found.at_target.n) == (1, 3)
    assert (found.arithmetic, found.flops, found.flop_per_s, found.peak_share) == ("fp32", 60, 3.0, 0.25)


def test_where_all_diverged_only_their_number_is_known():
    lost = [run(i, accuracy=None, eval_s=None, diverged="at step 3") for i in range(2)]
    found = standing(lost, 94.0, "fp32", 60, 12.0)
    assert (found.runs, found.diverged, found.at_target.k, found.at_target.n) == (2, 2, 0, 2)
    unknown = (found.accuracy, found.p_below, found.train, found.eval, found.counted)
    assert unknown == (None,) * 5
    assert (found.flop_per_s, found.peak_share) == (None, None)


def test_a_share_of_the_peak_needs_the_peak():
    found = standing([run(0)], None, flops=60)
    assert (found.flops, found.flop_per_s, found.peak_share) == (60, 6.0, None)
    assert standing([run(0)], None, peak=12.0).peak_share is None


def test_an_evaluation_counts_only_where_every_run_reports_one():
    assert standing([run(0, eval_s=2.0), run(1, eval_s=4.0)], None).eval.median == 3.0
    assert standing([run(0, eval_s=2.0), run(1, eval_s=None)], None).eval is None


def test_sides_are_compared_in_the_rounds_that_both_ended():
    other = [replace(r, contender="b") for r in (run(0, 20.0, 2.0), run(2, 40.0, 4.0), run(3, 1.0))]
    first = [run(0, 10.0, 1.0), run(1, 1.0), run(2, 10.0, 1.0), run(3, accuracy=None)]
    found = against(first, other)
    assert (found.first, found.other, found.counted.blocks) == ("a", "b", 1)
    assert found.train.ratio == pytest.approx(math.sqrt(10 / 20 * 10 / 40))
    assert found.counted.ratio == pytest.approx(math.sqrt(11 / 22 * 11 / 44))
    assert against(first[1:2], other) is None
    assert against(first[3:], other) is None


def test_a_launch_of_several_runs_counts_once_on_either_side():
    several = [replace(run(0, s, None), part=i) for i, s in enumerate((1.0, 4.0, 16.0))]
    alone = [replace(run(0, 8.0, None), contender="b")]
    assert against(several, alone).train.ratio == pytest.approx(4 / 8)
    assert against(alone, several).train.ratio == pytest.approx(8 / 4)
