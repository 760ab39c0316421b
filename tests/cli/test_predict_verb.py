"""`hotlap predict`: what it reads, in which formats it answers, what is passed over and what fails."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hotlap
from conftest import command, one_line, surroundings
from hotlap import data
from hotlap.data.fit import fit

ROWS = 1e-6  # of float32: a product of matrices may sum a row of them otherwise than the next


@pytest.fixture(scope="module")
def test_images(tmp_path_factory) -> tuple[Path, list[str]]:
    """The test images as PNG files, in order, and their classes."""
    folder = tmp_path_factory.mktemp("images")
    dataset = data.load("patterns:200,50")
    for i, image in enumerate(dataset.test.images):
        Image.fromarray(np.array(image)).save(folder / f"{i:02}.png")
    (folder / "notes.txt").write_text("not an image, and not asked for")
    return folder, [dataset.spec.class_names[i] for i in dataset.test.labels]


@pytest.fixture
def tree(tmp_path) -> Path:
    """A folder of pictures and of what else lies in folders of pictures."""
    folder = tmp_path / "tree"
    for name in ("b/two.png", "a.png", "b/c/three.jpeg", ".hidden.png", "b/.thumbs/small.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), "red").save(folder / name)
    for name in ("notes.txt", "b/Thumbs.db", "b/labels.csv"):
        (folder / name).write_text("x")
    return folder


def rows_of(done) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(done.out)))


# -- what is predicted ---------------------------------------------------------------------------


@pytest.mark.parametrize("tta", ["none", "flip", "flip_translate"])
def test_predictions_of_the_test_images_score_what_eval_finds(cli, trained, test_images, tta):
    folder, labels = test_images
    found = json.loads(cli("predict", trained, folder, "--tta", tta, "--json").out)["predictions"]
    assert [Path(p["path"]).name for p in found] == [f"{i:02}.png" for i in range(50)]
    right = sum(p["label"] == label for p, label in zip(found, labels, strict=True))
    assert 100 * right / 50 == json.loads(cli("eval", trained, "--tta", tta, "--json").out)["accuracy"]
    for p in found:
        assert sum(p["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert p["probability"] == p["probabilities"][p["label"]] == max(p["probabilities"].values())
        assert p["resized_from"] is None


def saved_as(trained: Path, folder: Path, **changes) -> Path:
    """A copy of a run with other preprocessing or another temperature."""
    from hotlap.runs.checkpoint import MODEL, load_model, save_model

    there = Path(shutil.copytree(trained, folder))
    saved = load_model(there)
    temperature = changes.pop("temperature", 1.0)
    preprocessing = replace(saved.preprocessing, **changes)
    save_model(there / MODEL, saved.tensors, saved.recipe, saved.spec, preprocessing, temperature)
    return there


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_a_picture_of_another_size_is_brought_to_the_models_as_the_run_says(cli, trained, tmp_path, how):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "big.png")
    Image.fromarray(fit(pixels, 32, how, (9, 200, 30))).save(tmp_path / "fitted.png")
    run = saved_as(trained, tmp_path / "run", fit=how, background=(9, 200, 30))
    done = cli("predict", run, tmp_path / "big.png", tmp_path / "fitted.png", "--json")
    big, fitted = json.loads(done.out)["predictions"]
    assert (big["resized_from"], fitted["resized_from"]) == ([40, 90], None)
    assert big["probabilities"] == pytest.approx(fitted["probabilities"], rel=ROWS)
    note = one_line(cli("predict", run, tmp_path / "big.png").err)
    assert note == f"the image was brought to the model's 32x32 ({how})"
    assert "1 of 2 images were brought" in cli("predict", run, tmp_path / "*.png").err


def test_probabilities_are_over_the_runs_temperature(cli, trained, test_images, tmp_path):
    folder, _ = test_images
    found = {}
    for temperature in (1.0, 2.5):
        run = saved_as(trained, tmp_path / str(temperature), temperature=temperature)
        answer = json.loads(cli("predict", run, folder / "03.png", "--json").out)
        assert answer["temperature"] == temperature
        found[temperature] = np.log(list(answer["predictions"][0]["probabilities"].values()))
    plain, cooled = (v - v.mean() for v in found.values())
    assert plain == pytest.approx(2.5 * cooled, abs=1e-3)


def test_a_file_of_weights_from_before_says_nothing_of_either(trained, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    from hotlap.runs.checkpoint import Preprocessing, load_model

    with safe_open(trained / "model.safetensors", framework="np") as opened:
        metadata = opened.metadata()
    tensors = load_file(trained / "model.safetensors")
    kept = {key: metadata[key] for key in ("recipe", "spec")}
    save_file(tensors, tmp_path / "old.safetensors", kept)
    old = load_model(tmp_path / "old.safetensors")
    assert (old.preprocessing, old.temperature) == (Preprocessing((32, 32), "crop", channels=3), 1.0)
    for key, text in (
        ("temperature", "0"),
        ("temperature", "nan"),
        ("temperature", "warm"),
        ("preprocessing", "{}"),
        ("preprocessing", '{"size":[9,9],"fit":"crop","background":[0,0,0],"channels":3}'),
        ("preprocessing", '{"size":[32,32],"fit":"fold","background":[0,0,0],"channels":3}'),
    ):
        save_file(tensors, tmp_path / "bad.safetensors", {**kept, key: text})
        with pytest.raises(hotlap.UserError, match=r"bad\.safetensors: damaged"):
            load_model(tmp_path / "bad.safetensors")


# -- formats -------------------------------------------------------------------------------------


def test_top_is_how_many_classes_are_printed(cli, trained, test_images):
    folder, _ = test_images
    for top in (1, 3, 99):
        assert cli("predict", trained, folder / "00.png", "--top", top).out.count("%") == min(top, 10)


def test_the_formats_say_the_same(cli, trained, test_images):
    folder, _ = test_images
    words = ("predict", trained, folder / "0?.png", "--top", "2")
    whole = json.loads(cli(*words, "--json").out)["predictions"]
    best = [sorted(p["probabilities"].items(), key=lambda pair: -pair[1])[:2] for p in whole]
    done = cli(*words, "--format", "csv")
    assert done.out.startswith("path,label,probability,label_2,probability_2\n")
    assert done.err == ""
    for row, p, ((label, share), (second, other)) in zip(rows_of(done), whole, best, strict=True):
        assert (row["path"], row["label"], row["label_2"]) == (p["path"], label, second)
        assert float(row["probability"]) == pytest.approx(share, abs=1e-6)
        assert float(row["probability_2"]) == pytest.approx(other, abs=1e-6)
    lines = [json.loads(line) for line in cli(*words, "--format", "jsonl").out.splitlines()]
    assert lines == [{**p, "probabilities": dict(b)} for p, b in zip(whole, best, strict=True)]
    table = cli(*words).out.splitlines()
    assert len({line.index("%") for line in table}) <= 3, "columns do not stand under each other"
    for line, p, b in zip(table, whole, best, strict=True):
        assert line.split("  ")[0] == p["path"]
        assert line.endswith("  ".join(f"{name} {100 * share:.1f}%" for name, share in b))


def test_a_label_that_is_not_sure_enough_is_left_out(cli, trained, test_images):
    folder, _ = test_images
    words = ("predict", trained, folder)
    shares = sorted(p["probability"] for p in json.loads(cli(*words, "--json").out)["predictions"])
    least = (shares[20] + shares[21]) / 2
    words += ("--min-probability", least)
    found = json.loads(cli(*words, "--json").out)
    assert found["min_probability"] == least
    assert sum(p["label"] is None for p in found["predictions"]) == 21
    assert all(p["probability"] < least for p in found["predictions"] if p["label"] is None)
    rows = rows_of(cli(*words, "--format", "csv"))
    assert sum(row["label"] == "" for row in rows) == 21
    assert all(row["label"] or float(row["probability"]) < least for row in rows)
    lines = cli(*words, "--format", "jsonl").out.splitlines()
    assert sum(json.loads(line)["label"] is None for line in lines) == 21
    assert cli(*words).out.count("  uncertain (") == 21


def test_csv_survives_names_with_commas_and_quotes(cli, trained, tmp_path):
    name = 'a, "b"\n.png'
    Image.new("RGB", (32, 32)).save(tmp_path / name, "PNG")
    (row,) = rows_of(cli("predict", trained, tmp_path / name, "--format", "csv"))
    assert row["path"] == str(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_name_that_is_no_text_goes_through(trained, tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.new("RGB", (32, 32)).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", path)
    words = command("predict", trained, tmp_path, "--format", "csv")
    done = subprocess.run(words, capture_output=True, env=surroundings(), check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert path in done.stdout


# -- what is read --------------------------------------------------------------------------------


def names_of(done) -> list[str]:
    return [Path(p["path"]).name for p in json.loads(done.out)["predictions"]]


def test_files_folders_and_globs_name_each_image_once(cli, trained, test_images):
    folder, _ = test_images
    done = cli("predict", trained, folder / "03.png", folder / "0*.png", folder / "01.png", "--json")
    assert names_of(done) == ["03.png", *(f"0{i}.png" for i in (0, 1, 2, 4, 5, 6, 7, 8, 9))]
    assert "brought" not in done.err


def test_folders_are_read_to_their_depth_and_what_is_hidden_or_no_image_is_passed_over(cli, trained, tree):
    done = cli("predict", trained, tree, "--json")
    assert sorted(names_of(done)) == ["a.png", "three.jpeg", "two.png"]
    assert done.err.count("\n") == 3, "a row an image and nothing else"
    assert names_of(cli("predict", trained, tree / "**" / "*", "--json")) == names_of(done)


@pytest.mark.parametrize("separator", ["\n", "\0", "\r\n"])
def test_a_list_on_stdin(cli, trained, tree, monkeypatch, separator):
    listed = separator.join(map(str, (tree / "a.png", tree / "b", ""))).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert names_of(cli("predict", trained, "-", tree / "a.png", "--json")) == [
        "a.png",
        "three.jpeg",
        "two.png",
    ]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16", "LA"])
def test_images_of_every_mode_are_read(cli, trained, tmp_path, mode):
    Image.new(mode, (32, 32)).save(tmp_path / "image.tif")
    done = cli("predict", trained, tmp_path / "image.tif")
    assert done.status == 0, done.err


# -- what fails ----------------------------------------------------------------------------------


def test_what_does_not_read_is_one_line_and_the_rest_is_predicted(cli, trained, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad"
    Image.new("RGB", (32, 32)).save(good)
    bad.mkdir()
    (bad / "text.png").write_text("not an image")
    (bad / "cut.png").write_bytes(good.read_bytes()[:60])
    (bad / "page.jpg").write_text("<!doctype html><html></html>")
    (bad / "empty.png").touch()
    (tmp_path / "bare").mkdir()
    wanted = {
        bad / "cut.png": "truncated",
        bad / "empty.png": "empty",
        bad / "page.jpg": "a web page, not an image",
        bad / "text.png": "not an image",
        tmp_path / "gone.png": "no such file, folder or match",
        tmp_path / "gone*.png": "no such file, folder or match",
        tmp_path / "bare": "no images in this folder",
    }
    given = (bad, tmp_path / "gone.png", tmp_path / "gone*.png", tmp_path / "bare")
    done = cli("predict", trained, *given, good, "--format", "csv")
    assert done.status == 2, "what was named is not there"
    assert done.err.splitlines() == [f"{path}: {reason}" for path, reason in wanted.items()]
    assert [row["path"] for row in rows_of(done)] == [str(good)], "the rest is answered all the same"
    assert cli("predict", trained, bad, good).status == 0, "files in a folder that do not read"
    done = cli("predict", trained, *given, "--json")
    assert done.status == 2, "nothing could be read"
    found = json.loads(done.out)
    assert found["predictions"] == []
    assert found["failed"] == [{"path": str(p), "reason": reason} for p, reason in wanted.items()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--format", "cvs"),
            "--format cvs: no such format; did you mean 'csv'?; there are table, csv, jsonl",
        ),
        (("--min-probability", "1.5"), "--min-probability 1.5: give a share from 0 to 1"),
        (("--min-probability", "nan"), "--min-probability nan: give a share from 0 to 1"),
        (("--top", "0"), "--top 0: give 1 or more"),
        (("--tta", "flop"), "--tta flop: no such views; did you mean 'flip'?"),
    ],
)
def test_words_that_are_wrong(cli, trained, tree, words, said):
    done = cli("predict", trained, tree, *words)
    assert (done.status, done.out) == (2, "")
    assert said in one_line(done.err)


def test_pictures_are_decoded_a_batch_ahead_and_no_more(trained, monkeypatch):
    """However many are named, two batches of pictures are held."""
    from hotlap.deploy import predict
    from hotlap.deploy.model import open_model

    begun = []

    def sources():
        for i in range(100):
            begun.append(i)
            yield np.full((40, 40, 3), i, np.uint8)

    answers = predict.stream(open_model(trained, "cpu"), sources(), batch=8)
    for i, answer in enumerate(answers):
        assert answer.path == f"array {i}"
        assert len(begun) <= min(8 * (i // 8 + 2), 100)
    assert len(begun) == 100


# -- from Python ---------------------------------------------------------------------------------


def test_paths_images_arrays_and_bytes_of_one_picture_are_the_same(trained, tmp_path):
    from hotlap.deploy.model import open_model

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 41, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "p.png")
    loaded = open_model(trained, "cpu")
    sources = [tmp_path / "p.png", str(tmp_path / "p.png"), image, pixels, (tmp_path / "p.png").read_bytes()]
    alone = [hotlap.predict(loaded, source)[0] for source in sources]
    assert [p.probabilities for p in alone] == [alone[0].probabilities] * 5
    assert [p.path for p in hotlap.predict(trained, sources[2:], device="cpu")] == [
        "image 0",
        "array 1",
        "bytes 2",
    ]
    assert hotlap.predict(loaded, []) == []


FROM_PILLOW = (
    *("L", "P", "RGBA", "1", "CMYK", "I;16", "LA", "F", "YCbCr", "HSV", "La", "RGBa", "PA"),
    "RGBX",  # which no file holds
)


@pytest.mark.parametrize("mode", FROM_PILLOW)
def test_images_of_pillow_in_every_mode(trained, mode):
    image = Image.new(mode, (20, 30))
    if mode == "RGBX":
        with pytest.raises(hotlap.UserError, match="mode RGBX that Pillow does not write"):
            hotlap.predict(trained, image, device="cpu")
    else:
        assert hotlap.predict(trained, image, device="cpu")[0].resized_from == (30, 20)


def test_an_image_of_pillow_is_turned_as_its_exif_says(trained, tmp_path):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 50, 3), dtype=np.uint8))
    image.getexif()[0x0112] = 6
    upright = Image.fromarray(np.rot90(np.asarray(image), -1))
    assert upright.size == (30, 50)
    first, second = hotlap.predict(trained, [image, upright], device="cpu")
    assert first.probabilities == pytest.approx(second.probabilities, rel=ROWS)
    assert "turned as EXIF says" in first.remarks


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_an_array_that_is_no_picture_is_refused(trained, array):
    with pytest.raises(hotlap.UserError, match=r"array 0: an array of .* give uint8 \(H, W, 3\)"):
        hotlap.predict(trained, array, device="cpu")


def test_a_picture_that_does_not_read_is_an_error_from_python(trained, tmp_path):
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(hotlap.UserError, match=r"x\.png: not an image; leave it out"):
        hotlap.predict(trained, tmp_path / "x.png", device="cpu")
