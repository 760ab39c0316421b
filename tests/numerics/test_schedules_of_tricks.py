"""The schedules of the tricks, and of the rungs against Page's knots in epochs and the airbench scripts'."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from helpers import FP64, noise_dataset, program
from hotlap.nets import AirNet, WhitenStem
from hotlap.plan import Plan
from hotlap.plan.schedule import tabulate
from hotlap.recipes import BUILTIN
from hotlap.tricks.ema import Ema
from hotlap.tricks.kinked_schedule import KinkedSchedule
from hotlap.tricks.lookahead import Lookahead
from hotlap.tricks.one_cycle import OneCycle
from hotlap.tricks.piecewise_schedule import PiecewiseSchedule

IMAGES = 50_000

# Page's knots: epochs, the rate at each, and the batch they are for
PAGE = {
    "page/02-tidy-stem-and-schedule": ((0, 15, 30, 35), (0, 0.1, 0.005, 0), 128),
    "page/05-main-thread-augmentation": ((0, 15, 30, 35), (0, 0.1, 0.005, 0), 128),
    "page/06-larger-batch": ((0, 15, 30, 35), (0, 0.44, 0.005, 0), 512),
    "page/08-cutout-earlier-peak": ((0, 8, 30), (0, 0.4, 0), 512),
    "page/09-batch-768": ((0, 8, 30), (0, 0.6, 0), 768),
    "page/a1-backbone": ((0, 4, 20), (0, 0.4, 0), 512),
    "page/a4-max-pool-down-sampling": ((0, 4, 20), (0, 0.4, 0), 512),
    "page/a7-residuals": ((0, 4, 20), (0, 0.4, 0), 512),
    "page/10-resnet9": ((0, 5, 24), (0, 0.4, 0), 512),
    "page/13-label-smoothing": ((0, 23 / 5, 23), (0, 0.4, 0), 512),
    "page/15-ghost-norm": ((0, 18 / 5, 18), (0, 0.6, 0), 512),
    "page/17-patch-whitening": ((0, 14 / 5, 14), (0, 1, 0), 512),
    "page/18-ema": ((0, 13 / 5, 11), (0, 1, 0.1), 512),
    "page/19-flip-tta": ((0, 2, 8), (0, 1, 0.1), 512),
}


@pytest.mark.parametrize("name", PAGE)
def test_each_rung_has_pages_knots_read_at_the_ends_of_its_steps(name):
    epochs, rates, batch = PAGE[name]
    plan = BUILTIN[name].plan()
    assert plan.batch_size == batch
    per_epoch = IMAGES // batch
    rule = next(r for r in plan.rules if "filter" in r.roles)
    steps = math.ceil(plan.epochs * per_epoch)
    got = [rule.lr * v for v in tabulate(plan.knob("lr", name), steps)]
    # his optimizer counts a step before it asks for its rate
    want = [np.interp((step + 1) / per_epoch, epochs, rates) for step in range(steps)]
    assert got == pytest.approx(want, rel=1e-9, abs=1e-12)
    # multiplied by the batch and divided by it: the step is taken on the sum
    assert rule.optimizer.quoting(batch) == (1 / batch, batch)
    assert (rule.weight_decay, rule.momentum) == (5e-4, 0.9)


def test_the_kink_of_the_first_rung_is_a_drop_right_after_its_peak():
    plan = BUILTIN["page/01-baseline"].plan()
    per_epoch = IMAGES // 128
    rates = [0.1 * v for v in tabulate(plan.knob("lr", "test"), 35 * per_epoch)]
    peak = 15 * per_epoch - 1  # the step that ends epoch 15
    assert max(rates) == rates[peak] == pytest.approx(0.1)
    assert rates[peak + 1] == pytest.approx(0.08, rel=1e-3)  # all of the drop within one step
    assert rates[30 * per_epoch - 1] == pytest.approx(0.005)
    assert rates[-1] == 0
    bends = np.abs(np.diff(rates, 2)) > 1e-9
    assert np.flatnonzero(bends).tolist() == [peak - 1, peak, 30 * per_epoch - 2]


@pytest.mark.parametrize(
    ("trick", "values"),
    [
        (OneCycle(0.25), {0: 0, 0.125: 0.5, 0.25: 1, 0.625: 0.5, 1: 0}),
        (OneCycle(0.5, first=0.2, last=0.1), {0: 0.2, 0.25: 0.6, 0.5: 1, 0.75: 0.55, 1: 0.1}),
        (PiecewiseSchedule((0.1, 0.3, 0.9), (2.0, 4.0, 1.0)), {0: 2, 0.1: 2, 0.2: 3, 0.6: 2.5, 1: 1}),
        (
            KinkedSchedule(0.4, 0.5, 0.8, 0.1),
            {0: 0, 0.2: 0.5, 0.4: 1, 0.401: 0.499, 0.6: 0.3, 0.9: 0.05, 1: 0},
        ),
        (Ema(peak_at=0.2, floor_from=0.7, floor=0.2), {0: 0, 0.1: 0.5, 0.2: 1, 0.45: 0.6, 0.7: 0.2, 1: 0.2}),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_schedules_at_chosen_points(trick, values):
    shape = trick(Plan()).knob("lr", "test")
    # the kink takes a millionth of the run
    assert {p: shape(p) for p in values} == pytest.approx(values, abs=1e-4)


def test_lookahead_grows_with_the_cube_of_progress():
    shape = Lookahead(decay=0.95, every=5)(Plan()).knob("lookahead", "test")
    assert [shape(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0, 0.95**5 / 8, 0.95**5])


# the airbench scripts: a step reads the line at its start
AIRBENCH = {
    "airbench94": (0.23, 0.2, 0.07, 9.9),
    "airbench95": (0.23, 0.2, 0.07, 15),
    "airbench96": (0.1, 0.2, 0.0, 37),
}


@pytest.mark.parametrize("name", AIRBENCH)
def test_airbench_reads_its_triangle_at_the_starts_of_its_steps(name):
    peak, first, last, epochs = AIRBENCH[name]
    plan = BUILTIN[name].plan()
    steps = math.ceil(epochs * (IMAGES // plan.batch_size))
    got = tabulate(plan.knob("lr", name), steps)
    want = [np.interp(step, [0, peak * steps, steps], [first, 1, last]) for step in range(steps)]
    assert got == pytest.approx(want, rel=1e-9)


def test_muon_falls_in_a_line_and_its_stem_faster():
    plan = BUILTIN["muon94"].plan()
    lr, stem = (tabulate(plan.knob(k, "test"), 200) for k in ("lr", "stem_lr"))
    assert lr == pytest.approx([1 - i / 200 for i in range(200)])
    assert stem == pytest.approx([max(0, 1 - i / 75) for i in range(200)])


def test_a_run_reads_its_schedule_step_by_step():
    """The program's table: rate over batch, decay times batch, at the end of each step."""
    net = AirNet(widths=(4, 4), stem=WhitenStem(images=8))
    plan = OneCycle(0.25)(Plan(net=net, batch_size=4, epochs=2.0))
    plan = replace(plan, rules=(replace(plan.rules[0], lr=0.8, weight_decay=0.01, momentum=0.9),))
    made = program(plan, noise_dataset((3, 8, 8), classes=3, train=18, test=3), FP64)
    assert made.steps == 8
    for step in range(8):
        row = made.knobs_at(step)
        lr = np.interp((step + 1) / 4, [0, 0.5, 2], [0, 0.8, 0]) / 4
        assert row == pytest.approx(
            {"lr[weights]": lr, "weight_decay[weights]": 0.04, "momentum[weights]": 0.9}
        )
