"""Profiles: what a step's operations are told apart by, and how they add up to a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import BF16, FP32, noise_dataset, program
from hotlap.data.loading import Resolution
from hotlap.inspect import roofline
from hotlap.inspect.cost import cost, step_flops
from hotlap.inspect.operations import KINDS, REST, kind_of, profile_steps
from hotlap.inspect.roofline import Convolution, Peaks, TimedConvolution, convolutions, flops_done
from hotlap.machine.kernels import cpu
from hotlap.machine.kernels.build import library
from hotlap.measure import profile
from hotlap.measure.profile import OUTSIDE, profile_run
from hotlap.measure.profile_page import (
    as_json,
    convolutions_table,
    labels,
    parts_table,
    seconds_table,
    summary,
)
from hotlap.nets.build import build_net
from hotlap.plan import HardExamples
from hotlap.recipes import BUILTIN

DATA = noise_dataset((3, 16, 16), classes=4, train=70, test=33)
PEAKS = Peaks(convolution=1e9, product=2e9, memory=1e8)


def small(name: str, **changes):
    plan = BUILTIN[name].plan()
    net = replace(plan.net, widths=tuple(8 for _ in plan.net.widths))
    return replace(plan, **{"net": net, "batch_size": 16, "epochs": 3.0, **changes})


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    monkeypatch.setattr(profile, "measure_peaks", lambda _: PEAKS)


@pytest.mark.parametrize("name", ["muon94", "page/15-ghost-norm", "page/10-resnet9"])
def test_the_backward_pass_is_told_apart_by_the_part_it_undoes(name):
    made = program(small(name), DATA)
    parts = profile_steps(made, 0, 2).parts
    bodies = [n for n, _ in made.model.body.named_children()]
    assert set(parts) == {*bodies, "head", REST, "optimizer", "data"}
    assert list(parts)[-3:] == [REST, "optimizer", "data"]
    with_filters = [
        n for n, m in made.model.body.named_children() if any(p.ndim == 4 for p in m.parameters())
    ]
    for part in with_filters:
        assert parts[part]["convolution forward"] > 0
        assert parts[part]["convolution backward"] > 0, f"{part} has no backward pass"
    # nothing of the net's own is left over for the rest
    assert set(parts[REST]) <= {"other", "data"}
    assert "norm" in parts[with_filters[-1]]
    assert set(parts["optimizer"]) == {"optimizer"}


def test_a_part_that_does_not_learn_has_no_backward_pass():
    made = program(small("muon94", freeze=(0.3, 0.3)), DATA)
    early = profile_steps(made, 0, 2).parts
    late = profile_steps(made, made.steps - 2, made.steps).parts
    assert early["group1"]["convolution backward"] > 0
    assert "convolution backward" not in late["group1"]
    assert "convolution backward" not in late["stem"]
    assert late["group2"]["convolution backward"] > 0


def test_the_same_steps_are_run_and_the_parts_put_back():
    made = program(small("muon94"), DATA)
    found = profile_steps(made, 1, 3)
    assert made.feed.step_index.item() == 3
    assert found.launches > 100
    assert found.wait_ms == 0
    assert found.images == 16
    assert "forward" not in vars(made.model.head)
    assert not any("step" in vars(group) for group in made.groups)


@pytest.mark.parametrize("name", ["muon94", "page/19-flip-tta", "airbench96", "page/01-baseline"])
def test_convolutions_of_a_step_are_its_arithmetic(name):
    plan = small(name)
    model = build_net(plan.net, DATA.spec).to("meta")
    learning = frozenset(model.roles())
    found = convolutions(model, DATA.spec.shape, 16, learning, torch.bfloat16)
    whole = step_flops(model, DATA.spec, 16, learning, 1.0)
    head = 3 * 2 * 16 * model.head.weight.numel()
    assert sum(c.flops for c in found) + head == whole
    forward = [c for c in found if c.direction == "forward"]
    assert len(forward) == sum(p.ndim == 4 for p in model.parameters())
    # layer by layer the backward pass goes through the same parts the other way round
    weights = [(c.part, c.weight) for c in found if c.direction == "weight gradient"]
    trained = [(c.part, c.weight) for c in forward if (c.part, c.weight) in weights]
    assert weights == trained[::-1]


def test_nothing_is_computed_for_a_frozen_stage():
    plan = small("muon94")
    model = build_net(plan.net, DATA.spec).to("meta")
    late = frozenset(n for n in model.roles() if "group3" in n or "head" in n)
    found = convolutions(model, DATA.spec.shape, 16, late, torch.float32)
    backward = [c for c in found if c.direction != "forward"]
    assert {c.part for c in backward} == {"group3"}
    # the first layer that learns needs no gradient of what it reads
    assert sum(c.direction == "input gradient" for c in backward) == 1


def test_arithmetic_and_traffic_of_a_convolution_by_hand():
    c = Convolution("p", "forward", (2, 3, 8, 8), (5, 3, 3, 3), (1, 1), (1, 1), (2, 5, 8, 8))
    assert c.flops == 2 * (2 * 5 * 8 * 8) * (3 * 3 * 3)
    assert c.traffic(2) == 2 * (2 * 3 * 64 + 5 * 27 + 2 * 5 * 64)
    assert c.title == "3 -> 5, 3x3 at 8x8"
    assert TimedConvolution(c, 0.5, c.flops).rate == 2 * c.flops


def test_products_that_are_done_by_hand(monkeypatch):
    monkeypatch.setattr(cpu, "in_tiles", lambda: False)
    c = Convolution("p", "forward", (2, 3, 9, 8), (16, 3, 3, 3), (1, 1), (1, 1), (2, 16, 9, 8))
    assert (
        flops_done(c, True, torch.bfloat16) == 2 * 36 * 2 * (3 * 2) * 3 * 16
    )  # 3 x 2 tiles of 4x4 in each of 2 images
    assert flops_done(c, False, torch.bfloat16) == c.flops
    wide = replace(c, weight=(16, 3, 5, 5), padding=(2, 2))
    assert flops_done(wide, True, torch.bfloat16) == wide.flops


@pytest.mark.skipif(isinstance(library(), str), reason=f"no CPU kernels: {library()}")
def test_a_profile_says_which_share_of_the_products_is_done(monkeypatch):
    monkeypatch.setattr(cpu, "in_tiles", lambda: False)
    plan = small("muon94")
    plan = replace(plan, net=replace(plan.net, widths=(16, 16, 16)))
    backend = replace(BF16, memory_format="channels_last", kernels="all")
    plain, ours = (clocked(program(plan, DATA, e)) for e in (replace(backend, kernels="none"), backend))
    assert plain.done == 1
    assert not any("Winograd" in line for line in summary(plain))
    # of images of 16x16: 15x15, 7x7, 7x7, 3x3, 3x3 and 1x1, of which the stem's own 2x2 filters do all
    timed = [t for s in ours.stretches for t in s.convolutions]
    assert all(
        (t.done < t.convolution.flops) == (t.convolution.title.count("3x3 at") > 0) or t.convolution.x[2] == 1
        for t in timed
    )
    assert 0.25 < ours.done < 1
    assert any(f"{100 * ours.done:.0f}% are done" in line for line in summary(ours))
    assert as_json(ours)["share_of_products_done"] == ours.done


def test_the_kernels_of_our_own_are_told_by_their_names():
    for ours in (cpu.Convolution, cpu.ConvolutionPool):
        assert kind_of(ours.__name__) == "convolution forward"
        assert (
            kind_of(f"autograd::engine::evaluate_function: {ours.__name__}Backward") == "convolution backward"
        )
    assert (
        kind_of(cpu.PoolNormAct.__name__)
        == kind_of(f"{cpu.PoolNormAct.__name__}Backward")
        == "pool, norm, activation"
    )


@pytest.mark.parametrize("backend", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("direction", roofline.PASSES)
def test_each_direction_runs_by_itself(backend, direction, monkeypatch):
    """The operation that is timed is the one that is named: its result has the shape of that direction."""
    c = Convolution("p", direction, (2, 3, 8, 8), (4, 3, 3, 3), (2, 2), (1, 1), (2, 4, 4, 4))
    results = []

    def seconds(run, device):
        results.append(run())
        return float(len(results))

    monkeypatch.setattr(roofline, "_seconds", seconds)
    assert (
        roofline.time_convolution(c, backend).seconds == 3.0
    )  # the median of 2, 3, 4: the first is left out
    result = results[0]
    if direction == "forward":
        assert result.shape == c.out
    else:
        shapes = [None if t is None else tuple(t.shape) for t in result]
        assert shapes == ([c.x, None, None] if direction == "input gradient" else [None, c.weight, None])


def test_peaks_are_rates_of_known_work(monkeypatch):
    monkeypatch.setattr(roofline, "_seconds", lambda run, device: 0.25)
    assert roofline.product_rate(FP32, side=64) == 2 * 64**3 / 0.25
    assert roofline.memory_rate(FP32, numbers=1024) == 3 * 1024 * 4 / 0.25
    largest = 2 * 9 * 512**2 * 8**2  # of one image; too little is asked for to take more
    assert roofline.convolution_peak(FP32, flop=1.0) == largest / 0.25


def clocked(made, step_s=lambda: 0.5, begin_s=3.0):
    """`profile_run` with a clock that moves by known times only."""
    time_s = [0.0]

    def counted(function, seconds):
        def call(*args):
            function(*args)
            time_s[0] += seconds(*args)

        return call

    made.begin = counted(made.begin, lambda seed: begin_s)
    for each in filter(None, (made, made.feed.prelude)):
        each.run = counted(each.run, lambda start, stop: step_s() * (stop - start))
    return profile_run(made, "mine", 1.0, now=lambda: time_s[0])


def test_the_parts_of_a_run_add_up_to_the_clock():
    plan = small("muon94", resolution=Resolution((0.5,), (0.75,)), freeze=(0.75, 0.75))
    made = program(plan, DATA)
    found = clocked(made)
    assert [s.steps for s in found.stretches] == [len(k) for k in profile.kinds_of_step(made).values()]
    assert sum(s.steps for s in found.stretches) == made.steps
    assert (found.stretches[0].height, found.stretches[-1].height) == (12, 16)
    assert found.stretches[0].learning > found.stretches[-1].learning
    assert found.steps_s == pytest.approx(0.5 * made.steps)
    assert found.begin_s == pytest.approx(3.0)
    assert found.train_s == pytest.approx(3.0 + 0.5 * made.steps)  # an epoch's start costs nothing here
    assert sum(found.kinds.values()) == pytest.approx(found.train_s)
    inside = sum(sum(p.values()) for p in found.parts.values())
    assert inside + found.kinds[OUTSIDE] == pytest.approx(found.steps_s)
    # a step that the clock says is long spends its time between operations, which keep their own
    for stretch in found.stretches:
        assert stretch.kinds["norm"] == pytest.approx(stretch.steps * stretch.profile.kinds["norm"] / 1e3)
    assert found.kinds[OUTSIDE] > 0.5 * found.steps_s
    assert found.flops == cost(plan, DATA.spec).training
    assert found.reach == pytest.approx(found.flops / found.steps_s / PEAKS.convolution)


def test_a_machine_that_slows_down_is_looked_at_between_other_work(monkeypatch):
    made = program(small("muon94", resolution=Resolution((0.5,), (0.75,))), DATA)
    kinds, time_convolution, timed = len(profile.kinds_of_step(made)), profile.time_convolution, []
    monkeypatch.setattr(
        profile, "time_convolution", lambda c, backend: timed.append(c) or time_convolution(c, backend)
    )
    found = clocked(made, step_s=lambda: 0.5 + 0.01 * len(timed))
    assert kinds > 1
    # before any convolution is timed, after those of the first kind of steps, and so on to the last
    assert found.looks_s[0] == pytest.approx(0.5 * made.steps)
    assert found.looks_s[0] < found.looks_s[1] < found.looks_s[-1]
    assert found.looks_s[-1] == pytest.approx((0.5 + 0.01 * len(timed)) * made.steps)
    assert len(found.looks_s) == kinds + 1
    assert found.steps_s == pytest.approx(sum(found.looks_s) / (kinds + 1))
    first, *_, last = found.looks_s
    assert (
        f"Looked at {kinds + 1} times, the steps came to {first:,.1f} to {last:,.1f} s" in summary(found)[0]
    )


def test_more_time_inside_operations_than_the_clock_has_is_brought_down_to_it():
    found = clocked(program(small("muon94"), DATA), step_s=lambda: 1e-7)
    stretch = found.stretches[0]
    assert sum(stretch.kinds.values()) == pytest.approx(stretch.seconds)
    assert stretch.kinds[OUTSIDE] == 0


def test_tables_hold_every_second_and_every_convolution():
    plan = small("muon94", resolution=Resolution((0.5,), (0.75,)))
    found = clocked(program(plan, DATA))
    names = labels(found)
    assert len(set(names)) == len(names)
    head, *rows = seconds_table(found)
    assert [r[0] for r in rows if r[0] in KINDS] == [k for k in KINDS if found.kinds[k]]
    assert rows[-2][0] == "training"
    run = head.index("run, s")
    shown = sum(float(r[run].replace(",", "")) for r in rows[:-2])
    assert shown == pytest.approx(found.train_s, abs=0.005 * len(rows))  # each is rounded to a hundredth
    assert {r[0] for r in parts_table(found)[1:]} == set(found.parts)
    listed = convolutions_table(found)
    assert sum(r[1] != "" for r in listed[1:]) == sum(len(s.convolutions) for s in found.stretches)
    assert as_json(found)["share_of_peak"] == found.reach


def test_a_recipe_with_a_proxy_net_counts_its_run_before_the_first_step():
    made = program(small("airbench96", sampler=HardExamples(of=32)), DATA)
    assert clocked(made).begin_s == pytest.approx(3.0 + 0.5 * made.feed.prelude.steps)
