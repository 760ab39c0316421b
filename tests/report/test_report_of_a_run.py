"""What a run leaves for its report, the page made from it, and `hotlap report`, which makes it again."""

from __future__ import annotations

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import hotlap
from conftest import TINY, one_line
from hotlap.data import load
from hotlap.inspect.classification import Analysis
from hotlap.recipes import find
from hotlap.runs import report
from hotlap.runs.report import collect, picture, veil, write_report
from pages import check_page


def read(folder, name):
    return json.loads((folder / name).read_text())


def image_at(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_the_analysis_is_of_the_accuracy_that_is_told(trained):
    found, summary = Analysis.from_json(read(trained, "analysis.json")), read(trained, "summary.json")
    assert found.accuracy == pytest.approx(summary["accuracy"])
    assert found.loss == pytest.approx(summary["test_loss"], rel=1e-5)
    dataset = load("patterns:200,50")
    assert [c.name for c in found.classes] == list(dataset.spec.class_names)
    assert [c.count for c in found.classes] == np.bincount(dataset.test.labels, minlength=10).tolist()
    assert [c.train_count for c in found.classes] == np.bincount(dataset.train.labels).tolist()
    assert all(dataset.test.labels[case.index] == case.true for case in found.worst)


def test_thumbnails_are_the_images_and_where_the_net_looked(trained):
    kept, dataset = read(trained, "thumbnails.json"), load("patterns:200,50")
    assert kept["small"] is True
    for index, address in kept["pictures"].items():
        assert (image_at(address) == dataset.test.images[int(index)]).all()
    found = Analysis.from_json(read(trained, "analysis.json"))
    cases = {c.index for c in (*found.worst[: report.SHOWN], *found.least_certain[: report.SHOWN])}
    assert {int(i) for i in kept["looked"]} == cases
    for address in kept["looked"].values():
        alpha = image_at(address)[..., 3]
        assert alpha.shape == (32, 32)
        assert (alpha.min(), alpha.max()) in [(0, alpha.max()), (report.DARKEST, report.DARKEST)]


def test_the_page_says_what_the_run_came_to(trained):
    page = check_page((trained / "report.html").read_text())
    summary = read(trained, "summary.json")
    assert (
        f"{summary['accuracy']:.2f}% of 50 test images are classified right (6 views each; 95% interval"
        in page.text
    )
    for section in ("How it learnt", "Where the seconds went", "Class by class", "What is taken for what",
                    "The most frequent mistakes", "How sure it is", "The worst images", "The recipe",
                    "The data", "The environment", "The command"):  # fmt: skip
        assert section in page.text, section
    assert "train 200, test 50" in page.text
    assert "+ net.widths = [8, 8, 8]" in page.text  # what the command line changed of demo
    assert "- net.widths = [32, 64, 64]" in page.text
    assert "hotlap train demo --data patterns:200,50 --epochs 2" in page.text
    assert len((trained / "report.html").read_bytes()) < 1_000_000


def test_the_seconds_of_the_report_are_watched(trained):
    assert read(trained, "summary.json")["seconds"]["watch"] > 0


def test_the_verb_makes_it_again(cli, trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "report.html").write_text("gone")
    done = cli("report", copy)
    assert (done.status, done.err) == (0, "")
    assert done.out == f"report: {copy / 'report.html'}\n"
    told = json.loads(cli("report", copy, "--json").out)
    assert told == {"folder": str(copy), "report": str(copy / "report.html")}
    check_page((copy / "report.html").read_text())


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("summary.json", "This run is not finished"),
        ("metrics.jsonl", "are classified right"),
        ("recipe.toml", "are classified right"),
        ("analysis.json", "are classified right"),
        ("thumbnails.json", "The worst images"),
    ],
)
def test_a_folder_that_lacks_something_has_a_page_without_it(trained, tmp_path, gone, words):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / gone).unlink()
    assert words in check_page(write_report(copy).read_text()).text


def test_an_environment_of_an_older_version_has_a_page(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    old = read(copy, "environment.json")
    for key in ("origin", "test_split", "splits", "facts", "base", "command"):
        del old[key]
    (copy / "environment.json").write_text(json.dumps(old))
    assert "train 200, test 50" in check_page(write_report(copy).read_text()).text


def test_a_run_that_was_interrupted_has_a_page(interrupted, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(interrupted, copy)
    page = check_page(write_report(copy).read_text())
    assert "This run is not finished" in page.text
    assert "The recipe" in page.text


def test_what_was_found_in_the_data_is_told(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    raw = read(copy, "environment.json")
    raw |= {"test_split": "val", "splits": {"train": 200, "val": 50, "test": 9}}
    raw["facts"] = {
        "layout": "class-per-folder",
        "remarks": ["<b>few</b> images"],
        "missed": {"bird": 3},
        "bad": [["a/b.jpg", "truncated"]],
        "bad_count": 1,
        "made": 0.2,
        "size_rule": "most are that size",
    }
    (copy / "environment.json").write_text(json.dumps(raw))
    page = check_page(write_report(copy).read_text())
    for words in ("50 val images", "train 200, val 50, test 9", "class-per-folder", "<b>few</b> images",
                  "3 images, which count as missed", "1 file that does not read", "a/b.jpg truncated",
                  "20% of the training images", "most are that size"):  # fmt: skip
        assert words in page.text, words


def test_what_is_no_run_or_damaged_is_one_line(cli, trained, tmp_path):
    done = cli("report", tmp_path / "nothing")
    assert done.status == 2
    assert "no run there (environment.json is missing); give a run's folder" in one_line(done.err)
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    for text in ("{", '{"calibration": 3}'):
        (copy / "analysis.json").write_text(text)
        done = cli("report", copy)
        assert done.status == 2
        assert "damaged" in one_line(done.err)


def test_a_report_that_cannot_be_drawn_does_not_lose_the_run(cli, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr("hotlap.runs.report.run_page", broken)
    done = cli("train", *TINY, "--out", tmp_path / "run", "--json")
    assert done.status == 0
    assert "the run is kept, but has no report: RuntimeError: no ink" in done.err
    told = json.loads(done.out)
    assert told["report"] is None
    assert told["accuracy"] == read(tmp_path / "run", "summary.json")["accuracy"]
    assert not (tmp_path / "run" / "report.html").exists()
    monkeypatch.undo()
    assert "classified right" in write_report(tmp_path / "run").read_text()


def test_train_says_where_the_report_is(cli, tmp_path):
    done = cli("train", *TINY, "--out", tmp_path / "run")
    assert f"report: {tmp_path / 'run' / 'report.html'}" in done.out.splitlines()


def test_a_recipe_of_ones_own_is_told_as_a_diff_of_its_base(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    mine = find("muon94").then("mine", epochs=3.0)
    (copy / "recipe.toml").write_text(mine.text())
    raw = read(copy, "environment.json") | {"base": "muon94"}
    (copy / "environment.json").write_text(json.dumps(raw))
    found = collect(copy)
    assert (found.base, found.changes[-1]) == ("muon94", "+ epochs = 3.0")
    (copy / "recipe.toml").write_text(find("demo").text())
    (copy / "environment.json").write_text(json.dumps(raw | {"base": None}))
    found = collect(copy)
    assert (found.base, found.changes) == ("demo", ())


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_pictures_of_any_number_of_channels(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, channels)).astype(np.uint8)
    shown = image_at(picture(pixels))
    assert shown.shape[:2] == (20, 30)
    first = shown if shown.ndim == 2 else shown[..., 0]
    assert (first == pixels[..., 0]).all()


def test_large_pictures_become_small():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3)).astype(np.uint8)
    address = picture(pixels)
    assert address.startswith("data:image/jpeg")
    assert image_at(address).shape == (64, 128, 3)
    assert len(address) < 20_000
    assert image_at(veil(np.ones((300, 600), np.float32))).shape == (16, 32, 4)


def test_the_page_draws_the_net_of_the_run_beside_that_of_its_recipe(trained):
    text = (trained / "report.html").read_text()
    page = check_page(text)
    assert "The net" in page.text
    assert "changed since demo" in page.text
    made = hotlap.draw_net(str(trained)).outline
    assert f"{made.parameters:,} parameters" in page.text
    assert read(trained, "summary.json")["parameters"] == made.parameters
    assert sum(a.get("class") == "stage" for _, a in page.tags) == len(made.stages)
    assert text.count("<style>") == 1
