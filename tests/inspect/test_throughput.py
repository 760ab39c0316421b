"""Projections against runs whose every part takes a known time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import noise_dataset, program
from hotlap.data.loading import Resolution
from hotlap.inspect import throughput
from hotlap.inspect.throughput import blocks, kinds_of_step, project
from hotlap.plan import HardExamples
from hotlap.recipes import BUILTIN

DATA = noise_dataset((3, 16, 16), classes=4, train=70, test=33)


def small(name: str, **changes):
    plan = BUILTIN[name].plan()
    net = replace(plan.net, widths=tuple(8 for _ in plan.net.widths))
    return replace(plan, **{"net": net, "batch_size": 16, "epochs": 3.0, **changes})


class Script:
    """A clock that moves only when a program's parts run, each for a known time.

    Args:
        made: the program whose parts are replaced.
        step_s: seconds of a step, by its structure's scale.
    """

    def __init__(self, made, step_s, begin_s=2.0, epoch_s=0.5, first_s=10.0):
        self.time_s, self.ran = 0.0, []
        self.made, self.step_s, self.epoch_s, self.first_s = made, step_s, epoch_s, first_s
        made.begin = lambda seed: self.pass_(begin_s)
        made.run = self.run

    def pass_(self, seconds):
        self.time_s += seconds

    def now(self):
        return self.time_s

    def run(self, start, stop):
        for step in range(start, stop):
            span = next(s for s in self.made.spans if s.start <= step < s.stop)
            self.pass_(self.first_s if not self.ran else 0.0)
            self.pass_(self.epoch_s if step % self.made.steps_per_epoch == 0 else 0.0)
            self.pass_(self.step_s[span.structure.scale])
            self.ran.append(step)


@pytest.fixture(autouse=True)
def no_evaluation(monkeypatch):
    monkeypatch.setattr(throughput, "view_logits", lambda *_: None)


def test_a_projection_adds_up_what_the_parts_take():
    plan = small("muon94", resolution=Resolution((0.5,), (0.75,)), epochs=6.0)
    made = program(plan, DATA)
    script = Script(made, {0.75: 0.25, 1.0: 1.0})
    found = project(made, measure_s=1.0, now=script.now)
    assert (made.steps, found.steps, found.epochs) == (24, 24, 6)
    assert found.begin_s == 2.0
    assert found.epoch_s == pytest.approx(0.5)
    assert found.step_s == pytest.approx((12 * 0.25 + 12 * 1.0) / 24)
    assert found.train_s == pytest.approx(2.0 + 6 * 0.5 + 12 * 0.25 + 12 * 1.0)
    assert found.images_per_s == pytest.approx(16 / found.step_s)
    assert found.spread == 0
    assert len(script.ran) < made.steps  # it did not run the whole


def test_the_first_steps_of_a_kind_are_left_out_of_its_time():
    made = program(small("muon94"), DATA)
    script = Script(made, {1.0: 1.0}, first_s=100.0)
    assert project(made, 5.0, script.now).step_s == 1.0


def test_more_time_means_more_steps():
    counts = []
    for measure_s in (1.0, 4.0):
        made = program(small("resnet9", epochs=9.0), DATA)
        counts.append(project(made, measure_s, Script(made, {1.0: 0.5}).now).timed_steps)
    assert counts == [2, 8]


def test_a_proxy_that_is_trained_first_is_counted_at_the_start():
    plan = small("airbench94", sampler=HardExamples(of=16, every=3), epochs=4.0)
    made = program(plan, DATA)
    proxy = made.feed.prelude
    outer, inner = Script(made, {1.0: 1.0}), Script(proxy, {1.0: 0.1})
    outer_now, inner_now = outer.now, inner.now
    found = project(made, 2.0, lambda: outer_now() + inner_now())
    # the proxy's own begin, epochs and steps; it meets as many steps as the main net
    assert found.begin_s == pytest.approx(2.0 + 2.0 + 4 * 0.5 + proxy.steps * 0.1)


def test_the_evaluation_counts_its_looks(monkeypatch):
    looked = []
    monkeypatch.setattr(throughput, "view_logits", lambda m, w, i, index, tta: looked.append(tta))
    seconds = {}
    for name, evaluation in {
        "one": {"tta": "none"},
        "two": {"tta": "flip"},
        "six": {"tta": "flip_translate"},
        "a quarter": {"tta": "flip_translate", "share": 0.25},
    }.items():
        plan = small("resnet9")
        made = program(replace(plan, evaluation=replace(plan.evaluation, **evaluation)), DATA)
        ticks = iter(range(100))
        seconds[name] = throughput.time_evaluation(made, lambda ticks=ticks: float(next(ticks)))
    assert seconds == {"one": 1.0, "two": 2.0, "six": 6.0, "a quarter": 2.5}
    assert set(looked) == {"none"}
    assert made.model.training


def test_kinds_follow_resolution_and_what_learns():
    plan = small("muon94", resolution=Resolution((0.5,), (0.75,)), epochs=6.0)
    kinds = kinds_of_step(program(plan, DATA))
    assert sorted(step for steps in kinds.values() for step in steps) == list(range(24))
    assert sorted(map(len, kinds.values())) == [3, 9, 12]  # the stem's bias learns for 3/8 of the run


@given(st.sets(st.integers(0, 80), min_size=1).map(sorted), st.integers(1, 9), st.integers(1, 20))
def test_blocks_cover_the_steps_and_keep_to_size_and_epoch(steps, size, per_epoch):
    made = list(blocks(steps, size, per_epoch))
    assert [s for start, stop in made for s in range(start, stop)] == steps
    for start, stop in made:
        assert 1 <= stop - start <= size
        assert start // per_epoch == (stop - 1) // per_epoch
