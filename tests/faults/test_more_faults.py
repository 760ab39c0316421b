"""A folder that may not be written, a clock that is set, a cache that goes away under a run."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file

import hotlap
from conftest import TINY
from hotlap.runs.reporter import Reporter

WORDS = {"seed": 1, "threads": 1, "epochs": 2.0, "batch_size": 50, "net__widths": [8, 8, 8]}
PLAIN = {
    "numerics__precision": "fp32",
    "numerics__memory_format": "channels_last",
    "numerics__compile": "off",
}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_said_before_the_first_step(cli, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    done = cli("train", *TINY, "--out", closed / "run")
    closed.chmod(0o700)
    assert done.status == 2
    assert "closed" in done.err.splitlines()[-1]
    assert "epoch" not in done.out
    assert list(closed.iterdir()) == []


def test_a_folder_under_a_file_is_said_before_the_first_step(cli, tmp_path):
    """What root meets too."""
    (tmp_path / "file").write_text("")
    done = cli("train", *TINY, "--out", tmp_path / "file" / "run")
    assert done.status == 2
    assert "file" in done.err.splitlines()[-1]
    assert "epoch   train loss" not in done.out


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_changes_no_seconds(tmp_path, monkeypatch, jump):
    real = time.time
    moved = {"by": 0.0}

    class Jumps(Reporter):
        def step(self, step, clock):
            moved["by"] += jump

    monkeypatch.setattr(time, "time", lambda: real() + moved["by"])
    start = time.perf_counter()
    result = hotlap.train(
        "demo", data="patterns:200,50", out=tmp_path / "run", reporter=Jumps(), **WORDS, **PLAIN
    )
    passed = time.perf_counter() - start
    assert moved["by"] != 0
    assert 0 < result.clocks["train"] < passed
    assert all(0 <= s <= passed + 3600 for s in result.clocks.values())  # cold holds the process's age
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["seconds"]["train"] == pytest.approx(result.clocks["train"])


def test_the_cache_may_go_away_under_a_run(tmp_path, monkeypatch):
    def trained(folder, cache, remove):
        monkeypatch.setenv("HOTLAP_CACHE", str(cache))

        class Removes(Reporter):
            def step(self, step, clock):
                if remove:
                    shutil.rmtree(cache, ignore_errors=True)

        hotlap.train("demo", data="patterns:200,50", out=folder, reporter=Removes(), **WORDS, **PLAIN)
        return load_file(folder / "model.safetensors")

    whole = trained(tmp_path / "whole", tmp_path / "cache", False)
    without = trained(tmp_path / "without", tmp_path / "other", True)
    assert not (tmp_path / "other").exists() or not any((tmp_path / "other").rglob("*.pack"))
    assert all(torch.equal(whole[k], without[k]) for k in whole)
