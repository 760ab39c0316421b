"""The Python API as a user writes it, and the clocks."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

import hotlap
from helpers import FP32, noise_dataset
from hotlap import find_recipe
from hotlap.engine.clock import Clock, process_age
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.runs.checkpoint import load_model
from hotlap.runs.choosing import Chosen
from hotlap.runs.reporter import Reporter

TINY = {
    "batch_size": 50,
    "epochs": 2.0,
    "net__widths": [8, 8, 8],
    "numerics__precision": "fp32",
    "numerics__memory_format": "channels_last",
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("api") / "run"
    return hotlap.train("demo", data="patterns:200,50", seed=3, out=out, reporter=Reporter(), **TINY)


def test_train_returns_what_happened(result):
    assert callable(hotlap.train)  # still the function: no module of that name has taken its place
    assert [r["epoch"] for r in result.history] == [1, 2]
    assert result.history[-1]["step"] == 8
    assert result.clocks["train"] > 0
    assert result.clocks["train_and_eval"] == pytest.approx(result.clocks["train"] + result.clocks["eval"])
    assert not result.model.training
    summary = json.loads((result.folder / "summary.json").read_text())
    assert summary["accuracy"] == result.accuracy
    assert summary["seed"] == 3
    assert (summary["steps"], summary["images"]) == (8, 400)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.history


def test_what_a_machine_lacks_is_built_on_the_compile_clock(tmp_path, monkeypatch):
    from hotlap.runs import ready

    resolve = ready.resolve
    monkeypatch.setattr(ready, "resolve", lambda *a: time.sleep(0.3) or resolve(*a))
    found = hotlap.train("demo", data="patterns:200,50", out=tmp_path / "r", reporter=Reporter(), **TINY)
    assert found.clocks["compile"] >= 0.3


def test_what_was_measured_before_the_clock_is_on_the_compile_clock_too(tmp_path, monkeypatch):
    def sized(recipe, source, how, *_):
        return Chosen(recipe, how, (), setup_s=100.0)

    monkeypatch.setattr("hotlap.runs.start.sized", sized)
    found = hotlap.train("demo", data="patterns:200,50", out=tmp_path / "r", reporter=Reporter(), **TINY)
    assert found.clocks["compile"] >= 100
    assert 0 <= found.clocks["cold"] < 50
    assert found.clocks["train"] < 50


def test_what_a_held_front_is_made_of_is_built_before_training(monkeypatch):
    held = []
    monkeypatch.setattr(Program, "_hold", lambda made: held.append(made))
    made = lower(replace(find_recipe("demo").plan(), batch_size=16), noise_dataset(), FP32)
    made.compile()
    assert held == [made], "it would be built inside the train clock"


def test_the_model_in_hand_is_the_model_on_disk(result, tmp_path):
    data = hotlap.load_data("patterns:200,50")
    files = []
    for i in range(6):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(data.test.images[i]).save(files[-1])
    found = hotlap.predict(result.folder, files, device="cpu")
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (result.spec.mean, result.spec.std))
    x = (torch.tensor(data.test.images[:6]).permute(0, 3, 1, 2) - mean) / std
    with torch.no_grad():
        logits = result.model(x.contiguous(memory_format=torch.channels_last))
    want = (logits / load_model(result.folder).temperature).softmax(1)
    for p, row in zip(found, want, strict=True):
        assert list(p.probabilities) == list(result.spec.class_names)
        assert torch.allclose(torch.tensor(list(p.probabilities.values())), row, atol=1e-5)
        assert p.label == result.spec.class_names[int(row.argmax())]
        assert p.resized_from is None


def test_a_result_shows_itself_in_a_notebook(result):
    page = result._repr_html_()
    assert f"{result.accuracy:.2f}%" in page
    assert page.count("<polyline") == 2
    assert "<script" not in page


def test_the_same_seed_gives_the_same_run(result, tmp_path):
    again = hotlap.train(
        "demo", data="patterns:200,50", seed=3, out=tmp_path / "r", reporter=Reporter(), **TINY
    )
    assert again.accuracy == result.accuracy
    assert [r["train_loss"] for r in again.history] == [r["train_loss"] for r in result.history]


def test_a_recipe_is_made_in_python():
    base = hotlap.find_recipe("muon94")
    mine = base.then("mine", hotlap.Set("epochs", 6.0), without=["multi-crop-tta"])
    assert hotlap.diff(base, mine) == [
        "- epochs = 8.0",
        "+ epochs = 6.0",
        '- evaluation.tta = "flip_translate"',
        '+ evaluation.tta = "none"',
    ]
    with pytest.raises(hotlap.UserError, match=r"did you mean 'net\.widths'"):
        base.then("x", hotlap.Set("net.width", [1])).plan()


def test_everything_public_is_there():
    for name in hotlap.__all__:
        assert getattr(hotlap, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = hotlap.nonsense


def test_clock_counts_each_interval_once():
    clock = Clock(torch.device("cpu"), process_age())
    began = time.perf_counter()
    with clock.measure("load"):
        time.sleep(0.02)
    with clock.measure("train"):
        time.sleep(0.03)
    with clock.measure("train"):
        pass
    took_s = time.perf_counter() - began
    seconds = clock.summary()
    assert seconds["load"] >= 0.02
    assert seconds["train"] >= 0.03
    assert seconds["load"] + seconds["train"] <= took_s
    assert seconds["eval"] == 0
    assert seconds["cold"] > 0.3  # this process has imported torch
    assert Clock(torch.device("cpu")).summary()["cold"] == 0  # no first step yet
    first = clock.cold
    with clock.measure("train"):
        assert clock.cold == first  # the first step is the first one
    with clock.measure("watch"), pytest.raises(RuntimeError, match="watch already"), clock.measure("train"):
        pass
