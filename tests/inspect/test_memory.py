"""What a step keeps in memory: counted, against what a step really keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import FP32, noise_dataset, program
from hotlap.inspect import memory
from hotlap.inspect.memory import footprint, largest_batch, smaller_batch
from hotlap.machine import memory as machine
from hotlap.recipes import BUILTIN

DATA = noise_dataset((3, 32, 32), train=64, test=8)


def plan_of(name: str, batch: int = 16, **values):
    plan = BUILTIN[name].plan()
    weights = replace(plan.evaluation, weights="final")
    return replace(plan, batch_size=batch, epochs=1.0, after=(), evaluation=weights, **values)


@pytest.mark.parametrize("name", ["muon94", "page/19-flip-tta", "airbench96"])
def test_what_is_counted_is_what_a_step_keeps(name):
    """By the tensors that autograd keeps in a real forward pass, of two batches, so that what does not depend
    on the batch falls out."""
    kept = []
    for batch in (16, 32):
        made = program(plan_of(name, batch), DATA, FP32)
        seen = {}

        def note(t, seen=seen):
            seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        x, target, labels = made.feed.batch()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            held = made._losses_of(x, target, labels)
        kept.append(sum(seen.values()))
        del held
    an_image = (kept[1] - kept[0]) / 16
    counted = footprint(plan_of(name), DATA.spec, FP32).image / memory.PASSING
    # max pools' choices are 8 bytes a pixel in one and are counted; a mask here and there is not
    assert 0.9 < counted / an_image < 1.15


def test_the_largest_that_fits_is_a_round_number_below_the_plans_own(monkeypatch):
    plan = plan_of("muon94", 2000)
    found = footprint(plan, DATA.spec, FP32)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int((found.fixed + 300.5 * found.image) / 0.9))
    assert largest_batch(plan, DATA.spec, FP32) == 296
    assert largest_batch(replace(plan, batch_size=200), DATA.spec, FP32) == 200
    norm = replace(plan.net.norm, splits=10)
    ghost = replace(plan, net=replace(plan.net, norm=norm))
    assert largest_batch(ghost, DATA.spec, FP32) == 240
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    assert largest_batch(ghost, DATA.spec, FP32) == 10
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert largest_batch(plan, DATA.spec, FP32) is None


def test_what_should_fit_after_a_failure_is_smaller(monkeypatch):
    plan = plan_of("muon94", 2000)
    monkeypatch.setattr(memory, "total_bytes", lambda device: None)
    assert smaller_batch(plan, DATA.spec, FP32) == 1496
    found = footprint(plan, DATA.spec, FP32)
    monkeypatch.setattr(memory, "total_bytes", lambda device: int((found.fixed + 100.5 * found.image) / 0.9))
    assert smaller_batch(plan, DATA.spec, FP32) == 96


def test_what_the_system_and_a_container_say(tmp_path):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:       16000 kB\nMemAvailable:    9000 kB\n")
    assert machine.said("MemAvailable", info) == 9000 * 1024
    assert machine.said("SwapFree", info) is None
    assert machine.said("MemTotal", tmp_path / "none") is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert machine.left_in(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.left_in(tmp_path) is None
    free = machine.free_bytes(torch.device("cpu"))
    assert free is None or 0 < free < (machine.total_bytes(torch.device("cpu")) or free + 1) * 1.01


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("cannot allocate memory"), False),
    ],
)
def test_what_it_looks_like_when_it_runs_out(error, is_one):
    assert machine.is_out_of_memory(error) is is_one


def test_a_run_that_runs_out_says_what_would_fit(cli, tmp_path, monkeypatch):
    import hotlap.runs.execute as module

    def fails(*args, **kw):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes.")

    words = ("train", "demo", "--data", "patterns:400,50", "--threads", "1", "--set", "net.widths=[8,8,8]")
    plain = ("--set", "numerics.precision=fp32", "--set", "numerics.memory_format=channels_last")
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", fails)
        done = cli(*words, *plain, "--batch", "160", "--out", tmp_path / "a")
    assert done.status == 2
    assert done.err.strip().splitlines()[-1] == (
        "hotlap: out of memory with batches of 160 (DefaultCPUAllocator: can't allocate memory: you tried to"
        " allocate 64 bytes.); about 120 should fit: --batch auto, or --batch N"
    )
    plan = BUILTIN["demo"].plan()
    monkeypatch.setattr("hotlap.runs.ready.largest_batch", lambda plan, spec, backend: 40)
    done = cli(*words, *plain, "--batch", "auto", "--epochs", "1", "--out", tmp_path / "b")
    assert done.status == 0, done.err
    assert f"batches of {plan.batch_size} do not fit in memory: 40 do, and are taken" in done.err
    assert "batch_size = 40" in (tmp_path / "b" / "recipe.toml").read_text()


def test_a_batch_that_is_no_number_is_one_line(cli):
    done = cli("train", "demo", "--batch", "many")
    assert (done.status, done.err.strip()) == (
        2,
        "hotlap train: argument --batch: 'many'; give a whole number of images, or auto; see `hotlap train"
        " --help`",
    )
