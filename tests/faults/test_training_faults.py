"""Training that goes wrong: a loss that is no number, a full disk, a signal. Nothing good is lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

import forked
from conftest import PLAIN, but_guessing, one_line, run_main, snapshot
from hotlap.recipes import find
from hotlap.runs.checkpoint import STATE, load_state

STEPS = 16  # four epochs of four steps
WORDS = (
    *("demo", "--data", "patterns:200,50", "--epochs", "4", "--set", "batch_size=50"),
    *("--set", "net.widths=[8]", *PLAIN),
)
EVERY_STEP = ("--checkpoint-every", "0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run_main(("train", *WORDS, "--out", folder)) == 0
    return folder


def same_run(a: Path, b: Path) -> None:
    """Equal weights, bit for bit, and equal losses of every epoch."""
    one, two = (load_file(f / "model.safetensors") for f in (a, b))
    assert one.keys() == two.keys()
    assert [k for k in one if not torch.equal(one[k], two[k])] == []
    rows = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (a, b)]
    losses = [{row["epoch"]: row["train_loss"] for row in of} for of in rows]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def temporary(folder: Path) -> list[str]:
    return [name for name in snapshot(folder) if "tmp" in name]


# -- a loss that is no number --------------------------------------------------------------------


def explosive(share: float) -> str:
    """A recipe file here, whose rates explode after this share of the run."""
    from hotlap.cli.composing import compose
    from hotlap.cli.main import build_parser

    text = compose(build_parser().parse_args(["train", *WORDS])).text()
    start = "knobs.lr.schedule."
    kept = [line for line in text.splitlines() if not line.startswith((start, "name"))]
    kept += [
        f"{start}progress = [0.0, {share}, {share + 0.001}, 1.0]",
        f"{start}values = [1.0, 1.0, 1e35, 1e35]",
    ]
    kept += [f'{start}kind = "piecewise"', f'{start}at = "start"']
    Path("explosive.toml").write_text("\n".join(kept))
    return "explosive.toml"


EXPLODING = (*WORDS[1:3], "--threads", "1", "--out", "run")


def test_a_loss_that_is_no_number_names_the_step_and_keeps_the_last_good_state(cli, whole):
    done = cli("train", explosive(0.76), *EXPLODING)
    line = one_line(done.err)
    assert done.status == 2
    # step 13 is the first with such rates, 13/16 of the run done; the next loss shows what it did
    assert line.startswith("hotlap: diverged at step 14 of 16: the loss is nan with lr[filters] = ")
    plan = find("run").plan()
    for rule in plan.rules:
        if plan.knob(rule.lr_knob, "") == plan.knob("lr", ""):
            assert f"lr[{rule.name}] = {rule.lr * 1e35:.4g}" in line
        assert f"momentum[{rule.name}] = {rule.momentum:.4g}" in line
    saved = load_state(Path("run"))
    assert saved.step == 12, "the end of the last epoch that was good"
    assert all(torch.isfinite(t).all() for t in saved.tensors.values() if t.is_floating_point())
    assert [row["epoch"] for row in saved.history] == [1, 2, 3]
    assert temporary(Path("run")) == []
    assert not Path("run/model.safetensors").exists()
    assert cli("train", "--resume", "run").err == done.err, "it goes wrong again, in the same step"


def test_a_loss_that_is_no_number_comes_with_the_mend(cli, whole):
    line = one_line(cli("train", explosive(0.76), *EXPLODING).err)
    assert "; lower a rate, as in --set rules." in line


def test_weights_that_are_no_numbers_after_the_last_step_are_no_result(cli, whole):
    done = cli("train", explosive(0.9), *EXPLODING, "--json")
    assert done.status == 2, json.loads(done.out)["test_loss"]


# -- a full disk ---------------------------------------------------------------------------------


def fill_disk(patch: pytest.MonkeyPatch, name: str, after: int = 0) -> None:
    """From the write number `after` on, nothing fits on the disk any more into files called `name`."""
    fsync, seen = os.fsync, []

    def full(fd: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{fd}"):
            seen.append(fd)
            if len(seen) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(fd)

    patch.setattr(os, "fsync", full)


@pytest.mark.parametrize("good", [1, 5, 8])
def test_a_full_disk_keeps_the_state_before_it(cli, monkeypatch, whole, good):
    with monkeypatch.context() as patch:
        fill_disk(patch, "state.safetensors", good)
        done = cli("train", *WORDS, *EVERY_STEP, "--out", "run")
    assert done.status == 2
    line = one_line(done.err)
    assert line == (
        "hotlap: cannot write run/state/state.safetensors: No space left on device;"
        " free space there, or choose another folder"
    )
    assert load_state(Path("run")).step == good
    assert temporary(Path("run")) == []
    assert cli("train", "--resume", "run").status == 0
    same_run(whole, Path("run"))


@pytest.mark.parametrize("name", ["model.safetensors", "summary.json"])
def test_a_full_disk_at_the_end_keeps_the_last_state(cli, monkeypatch, whole, name):
    with monkeypatch.context() as patch:
        fill_disk(patch, name)
        done = cli("train", *WORDS, "--out", "run")
    assert done.status == 2
    assert f"cannot write run/{name}: No space left" in one_line(but_guessing(done.err))
    assert load_state(Path("run")).step == STEPS
    assert temporary(Path("run")) == []
    assert cli("train", "--resume", "run").status == 0
    same_run(whole, Path("run"))
    assert not Path("run/state").exists()


@pytest.mark.parametrize("name", ["recipe.toml", "environment.json"])
def test_a_full_disk_at_the_start_leaves_no_half_written_file(cli, monkeypatch, whole, name):
    with monkeypatch.context() as patch:
        fill_disk(patch, name)
        done = cli("train", *WORDS, "--out", "run")
    assert done.status == 2
    assert f"cannot write run/{name}: No space left" in one_line(done.err)
    assert [n for n in snapshot(Path("run")) if name in n] == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "curve.png"])
def test_a_full_disk_for_the_other_files_is_one_line_too(cli, monkeypatch, whole, name):
    if name == "curve.png":
        pytest.importorskip("matplotlib")
    real = Path.open

    def full(self, mode="r", *args, **keywords):
        if self.name in (name, f"{name}.tmp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, mode, *args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        done = cli("train", *WORDS, "--out", "run")
    assert done.status == 2
    assert name in one_line(but_guessing(done.err))


def step_of(folder: Path) -> int:
    try:
        with safe_open(folder / STATE, framework="pt") as f:
            return int(json.loads(f.metadata()["run"])["step"])
    except (FileNotFoundError, SafetensorError):
        return 0


def test_a_write_that_really_fails_half_way_keeps_the_state_before_it(tmp_path, whole):
    folder, errors = tmp_path / "run", tmp_path / "errors"
    process = forked.start(errors, "train", *WORDS, *EVERY_STEP, "--out", folder)
    while step_of(folder) < 2:
        assert process.exitcode is None, errors.read_text()
        time.sleep(0.001)
    limit = 4096  # from now on no file of this process can grow beyond, as on a full disk
    assert (folder / STATE).stat().st_size > limit
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    process.join(60)
    assert process.exitcode == 2
    err = errors.read_text()
    assert f"hotlap: cannot write {folder / STATE}: File too large; free space" in one_line(err)
    assert 2 <= load_state(folder).step < STEPS
    assert temporary(folder) == []
    assert run_main(("train", "--resume", folder)) == 0
    same_run(whole, folder)


# -- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_prints_the_line_that_goes_on(spawn, cli, tmp_path, whole, number):
    folder = tmp_path / "run"
    with spawn("train", *WORDS, "--out", folder) as process:
        for line in process.stdout:
            if line.startswith("    1  "):  # the row of the first epoch
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    line = one_line(err)
    start = "hotlap: interrupted; state saved, go on with: "
    assert line.startswith(start)
    words = shlex.split(line.removeprefix(start))
    assert words == ["hotlap", "train", "--resume", str(folder)]
    assert 4 < load_state(folder).step < STEPS
    assert not (folder / "model.safetensors").exists()
    done = cli(*words[1:])
    assert (done.status, but_guessing(done.err)) == (0, "")
    same_run(whole, folder)
    assert not (folder / "state").exists()


def test_a_signal_is_answered_after_the_step_and_handlers_are_put_back(cli, whole, monkeypatch):
    """In this process, at a step that is known: the signal comes while step 5 runs."""
    from hotlap.engine.program import Program

    run = Program.run

    def run_and_signal(self, start, stop):
        run(self, start, stop)
        if start == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(Program, "run", run_and_signal)
        done = cli("train", *WORDS, "--out", "run")
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert done.status == 130
    assert one_line(done.err).endswith("go on with: hotlap train --resume run")
    assert load_state(Path("run")).step == 6
    assert cli("train", "--resume", "run").status == 0
    same_run(whole, Path("run"))


def test_a_second_interrupt_stops_at_once(cli, monkeypatch):
    from hotlap.engine.program import Program

    run = Program.run

    def run_and_signal(self, start, stop):
        run(self, start, stop)
        if start == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
            pytest.fail("the second interrupt did not end the step")

    monkeypatch.setattr(Program, "run", run_and_signal)
    done = cli("train", *WORDS, "--out", "run")
    assert (done.status, done.err) == (130, "hotlap: interrupted\n")
    assert load_state(Path("run")).step == 4, "what the epoch before saved"


def test_a_folder_that_moved_can_be_resumed_there(cli, interrupted, trained, tmp_path):
    shutil.copytree(interrupted, tmp_path / "elsewhere")
    assert cli("train", "--resume", tmp_path / "elsewhere").status == 0
    one, two = (load_file(f / "model.safetensors") for f in (trained, tmp_path / "elsewhere"))
    assert [k for k in one if not torch.equal(one[k], two[k])] == []
