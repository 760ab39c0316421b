"""Images of one's own from end to end: what suits them is chosen, trained, kept, used and started from."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import hotlap
from conftest import PLAIN
from hotlap.engine.program import Program
from hotlap.nets.pretrained import available
from hotlap.transfer import features
from pages import check_page

needs_weights = pytest.mark.skipif("lite0" not in available(), reason="no ImageNet weights on this machine")
SMALL = ("--epochs", "2", "--set", "batch_size=10", "--set", "net.widths=[8,8,8]", *PLAIN)


def pictures(folder: Path, classes: dict[str, int], side: int, seed: int = 0) -> Path:
    """A folder a class of coloured noise, whose colour leans to the class's own."""
    rng = np.random.default_rng(seed)
    for at, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 120, (side, side + 9, 3))
            pixels[..., at % 3] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{seed}-{i}.png")
    return folder


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@needs_weights
def test_photographs_get_learnt_features_that_are_kept_by_image(cli, tmp_path):
    photos = pictures(tmp_path / "photos", {"red": 12, "green": 12}, 110)
    how = ("--set", "net.variant=lite0", "--size", "64", "--threads", "1")
    done = cli("train", "--data", photos, *how, "--out", tmp_path / "a")
    assert done.status == 0, done.err
    assert "recipe: photos" in done.out
    first = summary_of(tmp_path / "a")
    assert first["accuracy"] == 100
    assert (first["features_computed"], first["features_kept"]) == (24, 0)
    assert first["target"] is None
    assert "target" not in done.out.splitlines()[-5]
    pictures(photos, {"red": 3, "green": 3}, 110, seed=1)  # six more, and the others are where they were
    assert cli("train", "--data", photos, *how, "--out", tmp_path / "b").status == 0
    second = summary_of(tmp_path / "b")
    assert second["features_computed"] + second["features_kept"] == 30
    assert second["features_computed"] <= 6 + 4  # a few images may have gone over to the other split
    one = next((photos / "green").iterdir())
    said = json.loads(cli("predict", tmp_path / "b", one, "--json").out)
    assert said["predictions"][0]["label"] == "green"
    assert json.loads((tmp_path / "b" / "classes.json").read_text()) == ["green", "red"]
    assert (tmp_path / "b" / "report.html").is_file()
    accuracy = json.loads(cli("eval", tmp_path / "b", "--json").out)["accuracy"]
    assert accuracy == pytest.approx(second["accuracy"])


LITE = ("--set", "net.variant=lite0", "--size", "64", "--threads", "1")


@needs_weights
def test_after_the_fit_the_net_learns_on_for_as_long_as_it_is_told(cli, tmp_path):
    photos = pictures(tmp_path / "photos", {"red": 24, "green": 24}, 110)
    done = cli("train", "photos", "--data", photos, *LITE, "--epochs", "2", "--out", tmp_path / "a")
    assert done.status == 0, done.err
    rows = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    summary = summary_of(tmp_path / "a")
    assert (summary["epochs"], summary["steps"], summary["accuracy"]) == (2.0, rows[-1]["step"], 100)
    assert summary["features_computed"] == 48
    alone = cli("train", "photos", "--data", photos, *LITE, "--out", tmp_path / "b")
    assert alone.status == 0, alone.err
    assert summary_of(tmp_path / "b")["steps"] == 0
    tuned, fitted = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    moved = {k.split(".")[1] for k in fitted if not torch.equal(tuned[k], fitted[k])}
    assert moved - {"bias"} == {"stage6", "stage7", "last", "weight"}


@needs_weights
@pytest.mark.slow
def test_minutes_are_filled_with_steps(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("hotlap.engine.clock.process_age", lambda: 0.0)  # this process is the tests'
    photos = pictures(tmp_path / "photos", {"red": 24, "green": 24}, 110)
    start = time.monotonic()
    done = cli("train", "photos", "--data", photos, *LITE, "--minutes", "0.5", "--out", tmp_path / "a")
    spent = time.monotonic() - start
    assert done.status == 0, done.err
    summary = summary_of(tmp_path / "a")
    assert summary["steps"] >= 10
    assert 25 < spent < 35  # a busy machine; benchmarks/own_images.py holds it to a tenth of minutes
    rows = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(len(rows)))


@needs_weights
def test_too_little_time_for_steps_leaves_the_fit(cli, tmp_path):
    photos = pictures(tmp_path / "photos", {"red": 12, "green": 12}, 110)
    done = cli("train", "photos", "--data", photos, *LITE, "--minutes", "0.001", "--out", tmp_path / "a")
    assert done.status == 0, done.err
    assert summary_of(tmp_path / "a")["steps"] == 0


@needs_weights
def test_a_run_stopped_in_its_steps_goes_on_to_the_same_end(cli, tmp_path, monkeypatch):
    photos = pictures(tmp_path / "photos", {"red": 12, "green": 12}, 110)
    how = ("train", "photos", "--data", photos, *LITE, "--epochs", "3", "--set", "batch_size=8")
    real = Program.run

    def stopped(self, start, stop):
        real(self, start, stop)
        if start == self.steps_per_epoch + 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Program, "run", stopped)
        done = cli(*how, "--out", tmp_path / "cut")
    assert done.status == 130, done.err
    assert cli("train", "--resume", tmp_path / "cut").status == 0
    assert cli(*how, "--out", tmp_path / "uncut").status == 0
    cut, uncut = (load_file(tmp_path / name / "model.safetensors") for name in ("cut", "uncut"))
    assert all(torch.equal(cut[k], uncut[k]) for k in uncut)
    rows = [
        json.loads(line)["epoch"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows == [0, 1, 2, 3]


@needs_weights
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_while_it_looks_goes_on_where_it_was(
    cli, tmp_path, monkeypatch, request, number
):
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in what a shell starts in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, old))
    photos = pictures(tmp_path / "photos", {"red": 30, "green": 30}, 110)
    how = ("--set", "net.variant=lite0", "--size", "32", "--threads", "1", "--out", tmp_path / "a")
    real = features.computed

    def stopped(*arguments):
        for at, values in enumerate(real(*arguments)):
            if at == 1:
                os.kill(os.getpid(), number)
            yield values

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(features, "computed", stopped)
        done = cli("train", "--data", photos, *how)
    start = "hotlap: interrupted; state saved, go on with: "
    assert done.status == 130
    last = done.err.splitlines()[-1]
    assert last == f"{start}hotlap train --resume {tmp_path / 'a'}"
    done = cli(*last.removeprefix(f"{start}hotlap ").split())
    assert done.status == 0, done.err
    assert (summary_of(tmp_path / "a")["features_computed"], summary_of(tmp_path / "a")["features_kept"]) == (
        28,
        32,
    )


def test_what_is_to_be_said_of_the_data_is_said_once(cli, tmp_path, capsys):
    photos = pictures(tmp_path / "photos", {"red": 12, "green": 12, "blue": 1}, 32)
    (photos / "red" / "bad.png").write_bytes(b"")
    path = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    done = cli("train", "--data", path, *SMALL, "--out", tmp_path / "r")  # looked at, then read
    assert done.status == 0, done.err
    lines = done.err.splitlines()
    assert len(lines) == len(set(lines))
    for said in (
        "unpacking ",
        "1 class has one training image: blue",
        "1 image does not read and is left out",
    ):
        assert sum(line.startswith(said) for line in lines) == 1, said
    capsys.readouterr()
    tiny = {"epochs": 2.0, "batch_size": 10, "net__widths": [8, 8, 8]}
    hotlap.train(data=path, out=tmp_path / "p", size=24, threads=1, **tiny)
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("unpacking ") for line in lines) == 1
    again = cli("train", "--data", path, *SMALL, "--out", tmp_path / "again")  # and by the next command
    assert "1 class has one training image: blue" in again.err


@needs_weights
def test_what_suits_the_data_is_shown_with_its_reasons(cli, tmp_path):
    photos = pictures(tmp_path / "photos", {"red": 4, "green": 4}, 110)
    shown = json.loads(cli("recipes", "show", "--data", photos, "--json").out)
    assert shown["recipe"]["name"] == "photos"
    assert any("ImageNet weights are here" in r for r in shown["reasons"])
    small = pictures(tmp_path / "small", {"7": 4, "8": 4}, 20)
    shown = json.loads(cli("recipes", "show", "--data", small, "--json").out)
    assert shown["recipe"]["name"] == "fitted"
    assert any("no mirror images" in r for r in shown["reasons"])
    assert cli("recipes", "show", "--data", "cifar10").status == 2


def test_from_scratch_without_weights_and_it_says_what_they_would_bring(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("hotlap.runs.choosing.available", lambda: ())
    photos = pictures(tmp_path / "photos", {"red": 12, "green": 12, "blue": 12}, 110)
    done = cli("train", "--data", photos, "--size", "32", *SMALL, "--out", tmp_path / "r")
    assert done.status == 0, done.err
    assert "recipe: fitted" in done.out
    assert "learnt features would do far better" in done.out
    assert "pip install 'hotlap[pretrained]'" in done.out


def test_a_run_starts_from_another_and_says_what_it_took(cli, tmp_path):
    two = pictures(tmp_path / "two", {"red": 30, "green": 30}, 32)
    three = pictures(tmp_path / "three", {"red": 30, "green": 30, "blue": 30}, 32)
    assert cli("train", "--data", two, *SMALL, "--out", tmp_path / "a").status == 0
    done = cli("train", "--data", three, *SMALL, "--from", tmp_path / "a", "--out", tmp_path / "b")
    assert done.status == 0, done.err
    assert "tensors taken; new: head.weight (other classes)" in done.err
    text = (tmp_path / "b" / "recipe.toml").read_text()
    assert 'start.kind = "fromrun"' in text
    again = cli(
        "train", "--data", two, *SMALL, "--from", tmp_path / "a" / "model.safetensors", "--epochs", "1"
    )
    assert "tensors taken\n" in again.err
    wide = ("--set", "net.widths=[16,16,16]")
    other = cli("train", "--data", two, *SMALL, *wide, "--from", tmp_path / "a")
    assert "taken; new: " in other.err  # the stem alone fits
    gone = cli("train", "--data", two, "--from", tmp_path / "gone")
    assert gone.status == 2
    assert "gone: no model.safetensors there" in gone.err


def test_the_page_names_the_images_it_shows(cli, tmp_path):
    photos = pictures(tmp_path / "photos", {"red": 12, "green": 12}, 32)
    evil = "<img src=x onerror=alert(1)>.png"
    for path in sorted((photos / "red").iterdir()):
        path.rename(path.with_name(f"{path.stem}{evil}"))
    assert cli("train", "--data", photos, *SMALL, "--out", tmp_path / "r").status == 0
    found = json.loads((tmp_path / "r" / "analysis.json").read_text())
    names = {case["name"] for case in found["least_certain"]}
    assert len(names) == len(found["least_certain"]) > 2
    dataset = hotlap.load_data(photos)
    assert all(dataset.test.names[case["index"]] == case["name"] for case in found["least_certain"])
    assert all((photos / name).is_file() for name in names)
    text = (tmp_path / "r" / "report.html").read_text()
    page = check_page(text)
    titles = [a["title"] for _, a in page.tags if a.get("class") == "file"]
    assert names == set(titles)
    assert all(a.get("src", "data:").startswith("data:") for tag, a in page.tags if tag == "img")


def test_rare_classes_count_as_much_as_common_ones(cli, tmp_path):
    uneven = pictures(tmp_path / "u", {"red": 40, "green": 8}, 32)
    done = cli("train", "--data", uneven, *SMALL, "--balance", "--out", tmp_path / "r")
    assert done.status == 0, done.err
    assert 'loss.balance = "classes"' in (tmp_path / "r" / "recipe.toml").read_text()


def test_arrays_and_pictures_from_python(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = (rng.integers(0, 60, (60, 16, 16, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    tiny = {"epochs": 2.0, "batch_size": 16, "net__widths": [8, 8]}
    result = hotlap.train(data=(images, labels), out=tmp_path / "a", threads=1, **tiny)
    assert result.spec.class_names == ("0", "1", "2")
    pairs = [
        (Image.fromarray(image), f"kind {label} of thing")
        for image, label in zip(images, labels, strict=True)
    ]
    result = hotlap.train(data=pairs, out=tmp_path / "b", threads=1, **tiny)
    assert result.spec.class_names == ("kind 0 of thing", "kind 1 of thing", "kind 2 of thing")
    assert (tmp_path / "b" / "report.html").is_file()
