"""A run that ends in time: what is left of it in more or fewer steps, at the same place of its schedule."""

from __future__ import annotations

import time

import pytest
import torch

import hotlap
from helpers import FP32, noise_dataset
from hotlap.engine.clock import Clock
from hotlap.engine.loop import train
from hotlap.engine.lower import lower
from hotlap.errors import UserError
from hotlap.inspect.throughput import Projection
from hotlap.recipes import BUILTIN
from hotlap.runs.timing import END_S, Deadline, Pace, fit_to_time, of_length, step_of, stretched, timed

DATA = noise_dataset(train=80, test=20)
RECIPE = BUILTIN["muon94"].then(
    "small", batch_size=20, epochs=10.0, **{"net.widths": [8, 8, 8], "numerics.precision": "fp32"}
)


def standing_at(step: int):
    program = lower(RECIPE.plan(), DATA, FP32)
    program.upload()
    for progress in train(program, Clock(FP32.device), 3, stride=1):
        if progress.step == step:
            break
    return program


@pytest.mark.parametrize(("left_s", "fewer"), [(11.0, True), (38.0, False)])
def test_the_rest_is_made_to_fit_with_everything_that_was_learnt(left_s, fewer):
    program = standing_at(20)  # of 40
    deadline = Deadline(time.monotonic(), left_s + END_S)
    made = stretched(program, 20, 20.0, END_S, deadline)
    assert made is not None
    at = step_of(made, program, 20)
    assert at / made.steps == pytest.approx(0.5, abs=0.1)
    assert made.steps - at == pytest.approx(left_s, abs=2)
    assert (made.steps < program.steps) is fewer
    held = {k: v for k, v in program.state().items() if k not in ("losses", "accuracies")}
    assert all(torch.equal(made.state()[k], v) for k, v in held.items())
    assert made.losses[:at].mean().item() == pytest.approx(program.losses[:20].mean().item(), rel=0.1)
    assert made.train_set is program.train_set  # images are not held twice
    lr = "lr[filters]"
    assert made.knobs_at(at)[lr] == pytest.approx(program.knobs_at(20)[lr], rel=0.15)
    steps = [p.step for p in train(made, Clock(FP32.device), 3, at, 1)]
    assert steps[-1] == made.steps


@pytest.mark.parametrize(("left_s", "steps"), [(-9.0, 20), (1.0, 20), (500.0, 80)])
def test_a_moment_s_standstill_does_not_end_a_run(left_s, steps):
    program = standing_at(20)
    made = stretched(program, 20, 20.0, END_S, Deadline(time.monotonic(), left_s + END_S))
    assert made is not None
    assert made.steps == steps


def test_a_little_off_is_left_alone():
    program = standing_at(20)
    assert stretched(program, 20, 20.0, 0.0, Deadline(time.monotonic(), 20.2)) is None


def test_small_images_early_in_a_run_do_not_look_like_a_fast_machine(monkeypatch):
    recipe = RECIPE.then("r", **{"resolution.until": [0.5], "resolution.scale": [0.5]})
    program = lower(recipe.plan(), DATA, FP32)
    now = [100.0]
    monkeypatch.setattr("hotlap.runs.timing.time.monotonic", lambda: now[0])
    cost = Projection(*[0] * 11, ((0.5, 1.0), (1.0, 4.0)))  # 20 steps of one second, 20 of four
    pace = Pace(Deadline(100.0, 100.0 + END_S), cost, program, 0)
    now[0] += 8.0
    assert pace.look(program, 8) is None  # as fast as it was timed: it will end in time
    pace = Pace(Deadline(100.0, 100.0 + END_S), cost, program, 0)
    now[0] += 16.0
    made = pace.look(program, 8)  # half as fast
    assert made is not None
    assert made.steps < program.steps


def test_a_timed_run_is_resumed_at_the_length_it_had():
    program = lower(RECIPE.plan(), DATA, FP32)
    made = of_length(program, 53)
    assert made.steps == 53
    assert of_length(program, 40) is program
    text = timed(RECIPE, made.plan).text()
    assert f"epochs = {53 / 4}" in text


def test_too_short_a_time_is_said():
    with pytest.raises(UserError, match=r"--minutes 0\.01: too short for a step of"):
        fit_to_time(RECIPE.plan(), DATA, FP32, None, Deadline(time.monotonic() - 10, 0.6))


@pytest.mark.slow
def test_a_run_of_so_many_minutes_ends_then(tmp_path):
    recipe = hotlap.find_recipe("demo").then("d", **{"net.widths": [8, 8, 8], "numerics.precision": "fp32"})
    start = time.monotonic()
    result = hotlap.train(recipe, data="patterns:2000,200", out=tmp_path / "r", threads=1, minutes=0.2)
    spent = time.monotonic() - start
    assert 7 < spent < 18  # of 12 s; wide, for the machine runs other tests at the same time
    assert f"epochs = {result.summary['epochs']}" in (tmp_path / "r" / "recipe.toml").read_text()
    assert result.summary["epochs"] != recipe.plan().epochs
