"""Killed at random, anywhere: training, a benchmark, a cache being built, an export. Nothing kept is lost.

HOTLAP_KILLS=100 pytest tests/faults/test_kills.py      # as many as you like; 24 by themselves
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import forked
from hotlap.data import load
from hotlap.runs.checkpoint import load_model, load_state

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("HOTLAP_KILLS", "24"))
SMALL = (
    *("demo", "--data", "patterns:400,100", "--threads", "1", "--set", "batch_size=20"),
    *("--set", "net.widths=[8,8,8]", "--set", "numerics.precision=fp32"),
    *("--set", "numerics.memory_format=channels_last", "--set", "numerics.compile=off"),
)
TRAIN = ("train", *SMALL, "--epochs", "6", "--checkpoint-every", "0.05")
BENCH = ("bench", *SMALL, "--set", "epochs=2.0", "--runs", "3")


class Killer:
    """Starts a command again and again, kills it at a random time of its run, and counts.

    Args:
        kills: how many there are to be.
        whole_s: how long the command takes, about.
    """

    def __init__(self, kills: int, errors: Path, seed: str, whole_s: float):
        self.left, self.errors, self.rng, self.whole_s = kills, errors, random.Random(seed), whole_s
        self.done = 0

    def once(self, *words: object) -> bool:
        """Start it, and kill it if it has not ended before; whether it has."""
        process = forked.start(self.errors, *words)
        process.join(self.rng.uniform(0.02, self.whole_s) if self.left else 200)
        if process.exitcode is None:
            assert self.left, "it takes too long"
            process.kill()
            process.join()
            self.left -= 1
            self.done += 1
            return False
        assert process.exitcode == 0, self.errors.read_text()
        return True


def timed(errors: Path, *words: object) -> float:
    """Seconds of a command that nobody kills."""
    start = time.monotonic()
    process: BaseProcess = forked.start(errors, *words)
    process.join(200)
    assert process.exitcode == 0, errors.read_text()
    return time.monotonic() - start


def same_model(a: Path, b: Path) -> bool:
    """Every tensor and all that is said of them; in the file, what is said has no order."""
    return all(torch.equal(x, y) for x, y in pairs(tensors(a), tensors(b))) and said(a) == said(b)


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def said(folder: Path) -> dict[str, str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return file.metadata()


def pairs(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    assert a.keys() == b.keys()
    return [(a[name], b[name]) for name in a]


def without_times(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("train_s", "images_per_s")} for row in rows]


def test_training(tmp_path):
    errors, whole = tmp_path / "errors", tmp_path / "whole"
    killer = Killer(KILLS // 4, errors, "train", timed(errors, *TRAIN, "--out", whole))
    n = 0
    while killer.left:
        n += 1
        folder = tmp_path / f"run{n}"
        ended = killer.once(*TRAIN, "--out", folder)
        while not ended:
            state = folder / "state" / "state.safetensors"
            if (folder / "summary.json").is_file() and not state.is_file():  # killed when all was done
                break
            if state.is_file():
                before = load_state(folder).step
                ended = killer.once("train", "--resume", folder, "--checkpoint-every", "0.05")
                assert not state.is_file() or load_state(folder).step >= before, "a saved step was lost"
            else:  # killed before its first state: it starts again, in another folder
                folder = tmp_path / f"run{n}-{killer.done}"
                ended = killer.once(*TRAIN, "--out", folder)
        assert same_model(folder, whole)
        assert without_times(folder) == without_times(whole)
    assert killer.done == KILLS // 4


def test_a_benchmark(tmp_path):
    errors, whole = tmp_path / "errors", tmp_path / "whole"
    killer = Killer(KILLS // 8, errors, "bench", timed(errors, *BENCH, "--out", whole))
    n = 0
    while killer.left:
        n += 1
        folder = tmp_path / f"bench{n}"
        while not killer.once(*BENCH, "--out", folder):
            pass
        assert accuracies(folder) == accuracies(whole)
    assert killer.done == KILLS // 8


def accuracies(folder: Path) -> list[tuple[int, float]]:
    runs = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    assert len({r["round"] for r in runs}) == len(runs), "a run is there twice"
    return [(r["seed"], r["accuracy"]) for r in runs]


def test_building_a_cache(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for n in range(150):
            path = tmp_path / "images" / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    errors = tmp_path / "errors"
    words = ("data", "check", tmp_path / "images", "--json")
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "whole"))
    want = packed(tmp_path / "images")

    def fresh(n: int) -> None:
        monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / f"cache{n}"))

    whole_s = during(fresh, errors, tmp_path)
    killer, n = Killer(KILLS - 2 * (KILLS // 4) - KILLS // 8, errors, "cache", whole_s), 0
    while killer.left:
        n += 1
        fresh(n)
        words = ("train", "fitted", "--data", tmp_path / "images", "--epochs", "0.1", *ARITHMETIC)
        while not killer.once(*words, "--out", tmp_path / f"run{n}-{killer.done}"):
            pass
        assert packed(tmp_path / "images") == want
    assert killer.done == KILLS - 2 * (KILLS // 4) - KILLS // 8


ARITHMETIC = SMALL[3:5] + SMALL[9:]


def during(fresh: Callable[[int], None], errors: Path, folder: Path) -> float:
    fresh(0)
    words = ("train", "fitted", "--data", folder / "images", "--epochs", "0.1", *ARITHMETIC)
    return timed(errors, *words, "--out", folder / "run0")


def packed(folder: Path) -> tuple[str, str]:
    """What is read of a folder of images, whoever built the cache of it."""
    dataset = load(folder)
    return tuple(
        hashlib.sha256(np.asarray(s.images).tobytes()).hexdigest() for s in (dataset.train, dataset.test)
    )


def test_an_export(tmp_path):
    errors, run = tmp_path / "errors", tmp_path / "run"
    timed(errors, *TRAIN, "--out", run)
    whole = tmp_path / "whole" / "model.safetensors"
    words = ("export", run, "--format", "torch", "--out")
    killer = Killer(KILLS // 4, errors, "export", timed(errors, *words, whole.parent / "net.pt2"))
    n = 0
    while killer.left:
        n += 1
        path = tmp_path / f"export{n}" / "net.pt2"
        while not killer.once(*words, path):
            if path.exists():
                check_exported(path)
                break
        else:
            check_exported(path)
    assert killer.done == KILLS // 4
    assert load_model(run).tensors, "what it was made from is as it was"


def check_exported(path: Path) -> None:
    program = torch.export.load(path).module()
    (out, *_) = program(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    assert out.shape == (1, 10)
