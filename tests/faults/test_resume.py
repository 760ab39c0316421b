"""A run that is killed at any moment and resumed comes to the same weights and losses, bit for bit."""

from __future__ import annotations

import json
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

import forked
from conftest import PLAIN, but_guessing, one_line, run_main
from helpers import FP32, noise_dataset
from hotlap.data.loading import HostLoader
from hotlap.engine.clock import Clock
from hotlap.engine.loop import train
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.nets import ResNet9
from hotlap.plan import HighestLoss
from hotlap.recipes import BUILTIN
from hotlap.runs.checkpoint import STATE, load_state, save_state
from hotlap.tricks.lookahead import Lookahead

# -- in processes of their own, with kill -9 -----------------------------------------------------

DATA = ("--data", "patterns:400,50", *PLAIN, "--checkpoint-every", "0", "--epochs", "5")
SGD_WITH_EMA = (
    *("page/19-flip-tta", *DATA, "--set", "net.widths=[8,8,8,8]"),
    *("--set", "batch_size=64", "--set", "net.norm.splits=2"),
)
MUON_WITH_LOOKAHEAD = (
    "muon94",
    "--with",
    "lookahead",
    *DATA,
    "--set",
    "net.widths=[8]",
    "--set",
    "batch_size=64",
)
STEPS = 30
KILLS = 5


def step_of(folder: Path) -> int:
    """The step of the state in a run's folder; 0 while there is none."""
    try:
        with safe_open(folder / STATE, framework="pt") as f:
            return int(json.loads(f.metadata()["run"])["step"])
    except (FileNotFoundError, SafetensorError, RuntimeError):  # the last: replaced while it is opened
        return 0


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def unequal(a: dict, b: dict) -> list[str]:
    assert a.keys() == b.keys()
    return [k for k in a if not torch.equal(a[k], b[k])]


@pytest.mark.slow
@pytest.mark.parametrize("words", [SGD_WITH_EMA, MUON_WITH_LOOKAHEAD], ids=["sgd+ema", "muon+lookahead"])
def test_killed_five_times_and_resumed_is_the_same_run(spawn, tmp_path, words):
    whole, folder, errors = tmp_path / "whole", tmp_path / "killed", tmp_path / "errors"
    process = forked.start(errors, "train", *words, "--out", whole)
    process.join(120)
    assert process.exitcode == 0, errors.read_text()
    rng = random.Random("hotlap")
    seen = []
    for at in sorted(rng.sample(range(1, STEPS - 4), KILLS)):
        start = ("--resume", folder, "--checkpoint-every", "0") if seen else (*words, "--out", folder)
        process = forked.start(errors, "train", *start)
        deadline = time.monotonic() + 120
        while step_of(folder) < max(at, seen[-1] + 1 if seen else 1):
            assert process.exitcode is None, errors.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))  # anywhere in a step, or in the writing of a state
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed; give it more steps"
        seen.append(step_of(folder))
    assert len(set(seen)) == KILLS
    assert seen[-1] < STEPS
    with spawn("train", "--resume", folder) as process:  # as a user does
        _, err = process.communicate(timeout=120)
        assert (process.returncode, but_guessing(err)) == (0, "")

    assert unequal(load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")) == []
    want = {r["epoch"]: r for r in rows_of(whole)}
    assert sorted(want) == [1, 2, 3, 4, 5]
    assert {r["epoch"] for r in rows_of(folder)} == set(want)
    for row in rows_of(folder):
        for key in ("step", "train_loss", "train_accuracy", "test_accuracy"):
            assert row[key] == want[row["epoch"]][key], f"{key} of epoch {row['epoch']}"
    a, b = (json.loads((f / "summary.json").read_text()) for f in (whole, folder))
    for key in ("accuracy", "test_loss", "single_view_accuracy", "steps", "images", "seed"):
        assert a[key] == b[key], key
    assert {p.name for p in folder.iterdir()} == {p.name for p in whole.iterdir()}


# -- in this process, at every step --------------------------------------------------------------

PAGE = BUILTIN["page/19-flip-tta"].plan()
MUON = BUILTIN["muon94"].then("muon94", Lookahead(every=2)).plan()
HARD = BUILTIN["airbench96-faster"].plan()
SHORT = {"batch_size": 16, "epochs": 2.0}
HOST = replace(BUILTIN["page/10-resnet9"].plan(), net=ResNet9(widths=(4, 4, 4, 4)), **SHORT)
PLANS = {
    "sgd+ema": replace(
        PAGE,
        net=replace(PAGE.net, widths=(4, 4, 4, 4), norm=replace(PAGE.net.norm, splits=2)),
        after=tuple(replace(a, every=3) for a in PAGE.after),
        **SHORT,
    ),
    "muon+lookahead": replace(MUON, net=replace(MUON.net, widths=(4,)), **SHORT),
    # prepared once with numbers drawn in bulk, and image by image; cutout, crops and flips in both
    "host": HOST,
    "host, one by one": replace(HOST, loader=HostLoader("epoch", "example")),
    # the proxy learns at every other step, so the main net's last picks are those of a net that has learnt
    "hard examples": replace(
        HARD,
        net=replace(HARD.net, widths=(4,)),
        sampler=replace(HARD.sampler, of=18, every=2, net=replace(HARD.sampler.net, widths=(4,))),
        after=tuple(replace(a, every=2) for a in HARD.after),
        **SHORT,
    ),
    # passes of 5 steps, 2, 2 and what is left
    "highest loss": replace(
        MUON, net=replace(MUON.net, widths=(4,)), sampler=HighestLoss(full=1, share=0.5), **SHORT
    ),
}
SPE = 5  # steps an epoch; 90 images leave ten over, as real sets do


def program_of(plan) -> Program:
    made = lower(plan, noise_dataset(train=90, test=20), FP32)
    made.compile()
    made.upload()
    return made


def outcome(program: Program) -> dict:
    """Everything training comes to, copied."""
    state = {f"state.{k}": v for k, v in program.state().items()}
    weights = {f"evaluated.{k}": v for k, v in program.evaluation_weights().items()}
    return {k: v.detach().clone() for k, v in (state | weights).items()}


def finish(program: Program, start: int = 0, stride: int | None = 1) -> dict:
    for _ in train(program, Clock(FP32.device), 3, start, stride):
        pass
    return outcome(program)


@pytest.fixture(autouse=True)
def one_thread():
    """More threads add in another order, which is not what is tested here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", PLANS)
def test_resumed_at_any_step_boundary_is_the_same_run(tmp_path, name):
    whole = program_of(PLANS[name])
    boundaries = []
    for progress in train(whole, Clock(FP32.device), 3, stride=1):
        save_state(tmp_path / str(progress.step), whole.state(), progress.step, 3, {}, [])
        boundaries.append((progress.step, progress.end_of_epoch))
    want = outcome(whole)
    assert boundaries == [(s, s % SPE == 0) for s in range(1, 2 * SPE + 1)]
    assert not torch.equal(want["state.losses"][:SPE], want["state.losses"][SPE:])
    for step, _ in boundaries:
        saved = load_state(tmp_path / str(step))
        assert (saved.step, saved.seed) == (step, 3)
        fresh = program_of(PLANS[name])
        fresh.begin(99)  # what a fresh program holds must not matter
        fresh.load_state(saved.tensors, saved.seed)
        assert unequal(want, finish(fresh, step)) == [], f"resumed at step {step}"


@pytest.mark.parametrize("name", PLANS)
def test_where_a_run_pauses_changes_nothing(name):
    want = finish(program_of(PLANS[name]), stride=None)
    for stride in (1, 2, 3):
        assert unequal(want, finish(program_of(PLANS[name]), stride=stride)) == [], f"stride {stride}"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("sgd+ema", "velocity."),
        ("sgd+ema", "average0."),
        ("sgd+ema", "running_mean"),
        ("muon+lookahead", "velocity."),
        ("muon+lookahead", "average0."),
        ("muon+lookahead", "model."),
        ("host", "velocity."),
        ("hard examples", "velocity."),
        ("hard examples", "average0."),
        ("highest loss", "feed."),
    ],
)
def test_nothing_that_a_state_holds_is_spare(name, part):
    """The tests above could not fail if a part of the state did not matter."""
    whole, fresh = program_of(PLANS[name]), program_of(PLANS[name])
    whole.begin(3)
    whole.run(0, 3)
    state = {k: v.clone() for k, v in whole.state().items()}
    touched = [k for k in state if part in k and state[k].is_floating_point()]
    assert touched
    fresh.load_state(state | {k: state[k] * 0.5 for k in touched}, 3)
    assert unequal(finish(whole, 3), finish(fresh, 3)) != []


def rerun(program: Program, plan) -> Program:
    """A fresh program of this plan, with the state of another, standing at its step."""
    state = {k: v.clone() for k, v in program.state().items()}
    fresh = program_of(plan)
    fresh.begin(99)
    fresh.load_state(state, 3)
    return fresh


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("random", ["example", "bulk"])
def test_loading_resumes_in_the_middle_of_an_epoch_with_any_number_of_processes(random, workers):
    """What an image gets is told by seed, epoch and batch, not by who prepares it or when it began."""
    plan = replace(HOST, loader=HostLoader("once", random, 1 - workers))
    whole = program_of(plan)
    whole.begin(3)
    whole.run(0, 3)
    fresh = rerun(whole, replace(plan, loader=replace(plan.loader, workers=workers)))
    assert unequal(finish(whole, 3), finish(fresh, 3)) == []


def test_hard_examples_are_picked_again_as_they_were():
    plan = PLANS["hard examples"]
    whole = program_of(plan)
    whole.begin(3)
    whole.run(0, 3)
    fresh = rerun(whole, plan)
    assert not torch.equal(whole.feed.selector.picks, fresh.feed.selector.picks)  # of seed 99, still
    fresh.run(3, 4)
    assert torch.equal(whole.feed.selector.picks, fresh.feed.selector.picks)
    steps = whole.feed.selector.losses
    assert torch.equal(steps, fresh.feed.selector.losses)
    assert (steps > 0).all()


# -- what is written twice -----------------------------------------------------------------------

TWO_EPOCHS = (
    *("demo", "--data", "patterns:200,50", *PLAIN, "--epochs", "2"),
    *("--set", "batch_size=50", "--set", "net.widths=[8]", "--checkpoint-every", "0"),
)


class Killed(BaseException):
    """Stands for `kill -9`: nothing in the program catches it."""


def test_killed_between_an_epochs_row_and_its_state_writes_the_row_once(tmp_path, monkeypatch):
    def kill_at_4(folder, tensors, step, *rest):
        if step == 4:
            raise Killed
        save_state(folder, tensors, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("hotlap.runs.execute.save_state", kill_at_4)
        with pytest.raises(Killed):
            run_main(("train", *TWO_EPOCHS, "--out", tmp_path / "run"))
    assert step_of(tmp_path / "run") == 3
    assert run_main(("train", "--resume", tmp_path / "run")) == 0
    assert [row["epoch"] for row in rows_of(tmp_path / "run")] == [1, 2]


@pytest.mark.parametrize("last", ["hotlap.runs.finishing.save_model", "hotlap.runs.finishing.evaluated"])
def test_killed_after_the_last_step_only_finishes(tmp_path, monkeypatch, last):
    def kill(*_):
        raise Killed

    assert run_main(("train", *TWO_EPOCHS, "--out", tmp_path / "whole")) == 0
    with monkeypatch.context() as patch:
        patch.setattr(last, kill)
        with pytest.raises(Killed):
            run_main(("train", *TWO_EPOCHS, "--out", tmp_path / "run", "--eval-every", "0"))
    assert step_of(tmp_path / "run") == 8
    assert run_main(("train", "--resume", tmp_path / "run")) == 0
    a, b = (load_file(tmp_path / f / "model.safetensors") for f in ("whole", "run"))
    assert unequal(a, b) == []
    assert len(rows_of(tmp_path / "run")) == 2
    assert not (tmp_path / "run" / "state").exists()


def test_a_half_written_state_that_a_kill_left_is_no_obstacle(tmp_path, interrupted, capsys):
    import shutil

    folder = Path(shutil.copytree(interrupted, tmp_path / "run"))
    (folder / "state" / "state.safetensors.tmp").write_bytes(b"half")
    capsys.readouterr()
    assert run_main(("train", "--resume", folder)) == 0
    assert but_guessing(capsys.readouterr().err) == ""
    assert not (folder / "state").exists()


def test_a_resumed_run_evaluates_as_often_as_before(tmp_path, monkeypatch):
    from contextlib import nullcontext

    with monkeypatch.context() as patch:
        patch.setattr("hotlap.runs.execute.stop_requests", lambda: nullcontext([2]))
        words = ("train", *TWO_EPOCHS, "--out", tmp_path / "run", "--eval-every", "0")
        assert run_main(words) == 130
    assert run_main(("train", "--resume", tmp_path / "run")) == 0
    assert [row["test_accuracy"] for row in rows_of(tmp_path / "run")] == [None, None]


def test_the_line_to_resume_can_be_pasted_even_with_a_space_in_the_folder(tmp_path, monkeypatch, capsys):
    import shlex
    from contextlib import nullcontext

    with monkeypatch.context() as patch:
        patch.setattr("hotlap.runs.execute.stop_requests", lambda: nullcontext([2]))
        capsys.readouterr()
        assert run_main(("train", *TWO_EPOCHS, "--out", tmp_path / "my run")) == 130
    line = one_line(capsys.readouterr().err).partition("go on with: ")[2]
    assert shlex.split(line) == ["hotlap", "train", "--resume", str(tmp_path / "my run")]
