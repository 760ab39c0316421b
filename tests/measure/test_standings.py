"""What a benchmark's runs come to, where some diverged or report no evaluation, and how it is said."""

from __future__ import annotations

import html
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from hotlap.measure.bench_folder import Sitting
from hotlap.measure.bench_page import claim, comparison, draw_page, remarks, run_cells, table
from hotlap.measure.standings import Standing, Summary, Timed, against, standing


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


# -- as people see it ------------------------------------------------------------------------------


def contender(name: str, target: float | None = 94.0, **more) -> tuple[list[Timed], Standing]:
    runs = [replace(run(i, 10.0 + i, **more), contender=name) for i in range(3)]
    return runs, standing(runs, target, "bf16, channels-last", 60 * 10**12, 12e12)


def page_of(folder, sitting, *contenders) -> str:
    """The words of a page, without its tags and its picture."""
    runs = [r for of, _ in contenders for r in of]
    ratios = tuple(against(contenders[0][0], of) for of, _ in contenders[1:])
    summary = Summary(tuple(found for _, found in contenders), ratios)
    files = draw_page(sitting, runs, summary, folder)
    assert ElementTree.parse(files["picture"]).getroot().tag.endswith("svg")
    text = re.sub(r"<(style|svg|script).*?</\1>", "", files["report"].read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


FACTS = {"cores": 2, "cpu": "Some Processor", "cpu_features": ["avx2", "amx"], "threads": 4, "torch": "2.13"}
SITTING = Sitting(
    {"fast": "epochs = 8.0\nfast = 1", "slow": "python slow.py"},
    *("cifar10", 3, "cpu", "hotlap bench fast <slow>", {"bf16, channels-last": 5.24e11}, FACTS),
)


def test_a_page_says_what_was_measured_on_what(tmp_path):
    fast, slow = contender("fast"), contender("slow", eval_s=None, clock="wall", wall_s=77.7)
    page = page_of(tmp_path, SITTING, fast, slow)
    for words in (
        "Benchmark: fast against slow",
        "Measured on 2 cores of Some Processor (avx2, amx), 4 threads, torch 2.13, cpu; data cifar10, seeds"
        " from 3 on.",
        comparison(against(fast[0], slow[0])),
        claim(fast[1]),
        claim(slow[1]),
        "slow reports no seconds: its process's wall seconds count, start included.",
        "Fastest convolution in bf16, channels-last: 524 GFLOP/s.",
        "A dot is a run; the lines are the targets. Right: the first contender's seconds, as a share of each",
        " ".join(table([fast[1], slow[1]])[0]),
        "Every run contender round seed accuracy train s eval s process s fast 0 0 94.00 10.0 1.00 fast 1 1",
        "slow 2 2 94.00 12.0 77.7",
        "What was run hotlap bench fast <slow> fast epochs = 8.0 fast = 1 slow python slow.py",
    ):
        assert words in page, words
    assert page.count("slow 1 1 94.00 11.0 77.7") == 1


def test_a_page_of_one_without_a_target(tmp_path):
    sitting = replace(SITTING, facts={**FACTS, "cpu_features": []}, contenders={"fast": "x"})
    page = page_of(tmp_path, sitting, contender("fast", None))
    assert "Benchmark: fast" in page
    assert "of Some Processor, 4 threads" in page
    assert "A dot is a run." in page
    assert "Right:" not in page
    assert "Ratios are" not in page


def test_what_has_to_be_known_of_a_clock_is_remarked():
    def remarked(**more) -> list[str]:
        runs, found = contender("a", **more)
        return remarks(Summary((found,), ()), runs)[1:]

    assert remarked() == []
    assert remarked(clock="reported") == []
    assert remarked(eval_s=None, clock="reported") == [
        "a reports one number of seconds: it counts as train and as train + eval."
    ]
    assert remarked(eval_s=None, clock="wall") == [
        "a reports no seconds: its process's wall seconds count, start included."
    ]
    assert remarked(eval_s=None) == []


def test_a_single_round_shows_no_drift():
    first, other = contender("a"), contender("b")
    for rounds, end in ((1, "; a single round does not show a drift."), (2, ".")):
        runs = [*first[0][:rounds], *other[0][:rounds]]
        summary = Summary((first[1], other[1]), (against(first[0][:rounds], other[0][:rounds]),))
        said = next(text for text in remarks(summary, runs) if text.startswith("Ratios"))
        assert said == (
            "Ratios are geometric means over blocks of two rounds in turn (ABBA), in which a drift cancels"
            + end
        )


def test_a_run_that_diverged_is_so_in_the_table_of_runs():
    lost = replace(run(4, 12.3, None, None), diverged="at step 3", seed=9)
    assert run_cells(lost) == ("a", "4", "9", "diverged", "12.3", "", "")
    assert run_cells(run(4, wall_s=99.0)) == ("a", "4", "4", "94.00", "10.0", "1.00", "99.0")
