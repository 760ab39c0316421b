"""The scripts for one GPU: each runs here as small as it gets, and a step that fails ends nothing."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["correctness", "speed", "accuracy"])
def test_each_runs_without_a_gpu(name, tmp_path):
    surroundings = {**os.environ, "PYTHONPATH": str(FOLDER.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(FOLDER / f"{name}.py"), "--device", "cpu", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(words, env=surroundings, capture_output=True, text=True, timeout=120, check=False)
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert [s for s in found["steps"] if "error" in s or "left_out" in s] == [], done.stdout + done.stderr
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= len(found["steps"])
    assert found["machine"]["torch"]
    if name == "speed":
        assert set(found["median_train_and_eval_s"]) == {"muon94", "fast94", "flat"}
        assert found["steps"][-1]["found"]["kinds"]
    if name == "accuracy":
        assert {k: v["runs"] for k, v in found["found"].items()} == {"fast94": 2, "fast95": 2, "fast96": 2}


@pytest.fixture
def session(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    import common

    return lambda budget: common.Session("it", argparse.Namespace(out=tmp_path, budget=budget, device="cpu"))


def test_a_failed_step_is_recorded_and_the_next_one_taken(session, tmp_path, capsys):
    made = session(60)
    assert made.step("first", lambda: 1 / 0) is None
    assert made.step("second", lambda: {"seconds_of_it": 0.5}) == {"seconds_of_it": 0.5}
    assert made.end() == 1
    first, second = json.loads((tmp_path / "it.json").read_text())["steps"]
    assert first["error"] == "ZeroDivisionError: division by zero"
    assert second["found"] == {"seconds_of_it": 0.5}
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("first: FAILED, ZeroDivisionError: division by zero (")
    assert said[1].startswith("second: seconds_of_it 0.5 (")


def test_what_there_is_no_time_for_is_left_out(session, tmp_path):
    made = session(5)
    assert made.step("long", lambda: pytest.fail("it ran"), 10) is None
    (step,) = json.loads((tmp_path / "it.json").read_text())["steps"]
    assert step["left_out"].endswith("10 s wanted")
    assert made.end() == 0
