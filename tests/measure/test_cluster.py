"""Runs by a Ray cluster's workers: the local engine's results, whoever is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import command, surroundings

pytest.importorskip("ray", reason="Ray is not installed")

SMALL = (
    *("--data", "patterns:400,100", "--threads", "1", "--set", "epochs=1.0", "--set", "batch_size=50"),
    *("--set", "net.widths=[8,8,8]", "--set", "numerics.precision=fp32"),
    *("--set", "numerics.memory_format=channels_last", "--set", "numerics.compile=off"),
)
RAY = ("--engine", "ray", "--workers", "2")


def hotlap(*words: object, **keywords: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **keywords}
    return subprocess.Popen(command(*words), env=surroundings(), **pipes)


def runs_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]


def results(folder: Path) -> dict[tuple[str, int], float]:
    runs = runs_of(folder)
    found = {(r["contender"], r["seed"]): r["accuracy"] for r in runs}
    assert len(found) == len(runs), "a run is there twice"
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds workers in /proc")
def test_workers_killed_on_the_way_change_nothing(tmp_path):
    local, ray = tmp_path / "local", tmp_path / "ray"
    with hotlap("bench", "demo", *SMALL, "--runs", "20", "--out", local) as process:
        _, err = process.communicate(timeout=280)
        assert process.returncode == 0, err
    with hotlap("bench", "demo", *SMALL, *RAY, "--runs", "20", "--out", ray) as process:
        killed = 0
        until = time.monotonic() + 250
        while process.poll() is None and time.monotonic() < until:
            done = len(runs_of(ray)) if (ray / "runs.jsonl").exists() else 0
            if killed < 5 and done > 2 * killed and (workers := workers_under(process.pid)):
                os.kill(workers[0], signal.SIGKILL)
                killed += 1
            time.sleep(0.2)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert killed == 5
    assert "a worker was lost; its run is done again" in err
    assert results(ray) == results(local)
    assert len(results(ray)) == 20
    assert out.count("seed") >= 20


def workers_under(parent: int) -> list[int]:
    """Ray's processes that are doing a run, of a cluster that a process started."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text()
            parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
            names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError, IndexError):
            continue

    def under(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == parent:
                return True
        return False

    return [pid for pid, name in names.items() if name.startswith("ray::Worker.do") and under(pid)]


def test_an_interrupted_bench_keeps_what_is_done_and_goes_on(tmp_path):
    folder = tmp_path / "bench"
    words = ("bench", "demo", *SMALL, *RAY, "--runs", "5", "--out", folder)
    with hotlap(*words, "--set", "epochs=2.0") as process:
        until = time.monotonic() + 120
        while not (folder / "runs.jsonl").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "go on with: hotlap bench" in err
    kept = runs_of(folder)
    assert kept
    with hotlap(*words, "--set", "epochs=2.0") as process:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    assert runs_of(folder)[: len(kept)] == kept
    assert sorted(seed for _, seed in results(folder)) == [0, 1, 2, 3, 4]


def test_a_ladders_runs_come_home_whole(tmp_path):
    folder = tmp_path / "ladder"
    words = ("ladder", "demo", *SMALL, *RAY, "--full", "--seeds", "2", "--out", folder, "--json")
    with hotlap(*words) as process:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    assert {r["seed"] for r in json.loads(out)["rungs"][0]["runs"]} == {0, 1}
    for seed in (0, 1):
        names = {p.name for p in (folder / "runs" / f"demo-s{seed}").iterdir()}
        assert names >= {"model.safetensors", "summary.json", "recipe.toml", "metrics.jsonl"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--workers", "2"), "--workers: is of a cluster; give --engine ray too"),
        ((*RAY[:2], "--workers", "0"), "--workers 0: give 1 or more"),
        ((*RAY, "--peer", "a=b {seed}"), "--peer: is timed beside recipes, one at a time"),
    ],
)
def test_what_cannot_be_is_said(cli, tmp_path, words, line):
    done = cli("bench", "demo", *SMALL, *words, "--out", tmp_path / "bench")
    assert done.status == 2
    assert line in done.err
