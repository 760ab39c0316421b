"""`hotlap train`'s folder, `eval`, `predict`, `data` and `doctor`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import TINY, one_line, snapshot


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def broken(trained, tmp_path) -> Path:
    """A copy of a finished run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "broken"))


# -- train ---------------------------------------------------------------------------------------


def test_a_finished_run_holds_what_is_promised_and_no_state(trained):
    wanted = {"recipe.toml", "environment.json", "metrics.jsonl", "summary.json", "model.safetensors"}
    wanted |= {"classes.json"}
    wanted |= {"analysis.json", "thumbnails.json", "report.html"}
    assert {p.name for p in trained.iterdir()} - {"curve.png"} == wanted
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(r["epoch"], r["step"]) for r in rows] == [(1, 4), (2, 8)]
    summary = summary_of(trained)
    assert summary["single_view_accuracy"] == rows[-1]["test_accuracy"]
    assert (summary["recipe"], summary["data"], summary["seed"]) == ("demo", "patterns:200,50", 0)
    assert (summary["steps"], summary["images"], summary["views"]) == (8, 400, 6)
    assert summary["target_met"] == (summary["accuracy"] >= summary["target"])
    assert {"cold", "load", "compile", "train", "eval", "watch"} < set(summary["seconds"])


def test_the_same_seed_is_the_same_run_and_another_is_not(cli, trained, tmp_path):
    from safetensors.numpy import load_file

    runs = {}
    for seed in (0, 1):
        assert cli("train", *TINY, "--seed", seed, "--out", f"run{seed}").status == 0
        runs[seed] = load_file(tmp_path / "cwd" / f"run{seed}" / "model.safetensors")
    first = load_file(trained / "model.safetensors")
    assert [k for k in first if not np.array_equal(first[k], runs[0][k])] == []
    assert any(not np.array_equal(first[k], runs[1][k]) for k in first)


def test_without_out_each_run_gets_a_folder_of_its_own(cli, tmp_path):
    for _ in range(2):
        assert cli("train", *TINY, "--epochs", "1", "--set", "net.widths=[8]", "--seed", "7").status == 0
    made = sorted(p.name for p in (tmp_path / "cwd" / "runs").iterdir())
    assert len(made) == 2
    assert all(name.startswith("demo-patterns-200-50-s7-") for name in made)


def test_a_target_that_is_missed_is_status_3_and_the_run_is_kept(cli, tmp_path):
    done = cli("train", *TINY, "--epochs", "1", "--target", "100", "--out", "run")
    assert done.status == 3
    assert re.search(
        r"on 50 test images \(.+; 95% interval [\d.]+ to [\d.]+%\), target 100% missed", done.out
    )
    assert summary_of(tmp_path / "cwd" / "run")["target"] == 100
    assert cli("eval", "run", "--target", "100").status == 3
    assert cli("eval", "run", "--target", "0.001").status == 0


@pytest.mark.parametrize(("every", "epochs"), [(0, []), (1, [1, 2, 3]), (2, [2, 3])])
def test_eval_every(cli, tmp_path, every, epochs):
    words = (*TINY, "--epochs", "3", "--set", "net.widths=[8]", "--eval-every", every, "--out", "run")
    assert cli("train", *words).status == 0
    rows = map(json.loads, (tmp_path / "cwd" / "run" / "metrics.jsonl").read_text().splitlines())
    summary = summary_of(tmp_path / "cwd" / "run")
    assert (summary["single_view_accuracy"] is None) == (every == 0)
    assert summary["accuracy"] is not None
    assert [r["epoch"] for r in rows if r["test_accuracy"] is not None] == epochs


def test_a_finished_run_has_nothing_to_resume(cli, trained):
    before = snapshot(trained)
    done = cli("train", "--resume", trained)
    assert done.status == 2
    assert "this run is finished; `hotlap report" in one_line(done.err)
    assert snapshot(trained) == before


def test_a_runs_recipe_trains_on_the_recipes_data_again(trained):
    from hotlap.recipes import find

    assert find(str(trained)).data == "patterns"


# -- a damaged state -----------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.0, 0.0001, 0.5, 0.999])
def test_a_truncated_state_is_refused_in_one_line_and_left_alone(cli, interrupted, tmp_path, keep):
    folder = Path(shutil.copytree(interrupted, tmp_path / "run"))
    state = folder / "state" / "state.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[: int(keep * len(whole))])
    before = snapshot(folder)
    done = cli("train", "--resume", folder)
    assert done.status == 2
    assert f"{state}: does not read" in one_line(done.err)
    assert snapshot(folder) == before


def test_a_state_that_is_another_file_is_refused(cli, interrupted, trained, tmp_path):
    folder = Path(shutil.copytree(interrupted, tmp_path / "run"))
    shutil.copy(trained / "model.safetensors", folder / "state" / "state.safetensors")
    done = cli("train", "--resume", folder)
    assert done.status == 2
    assert "not a training state" in one_line(done.err)


def test_a_state_of_another_recipe_is_refused(cli, interrupted, tmp_path):
    folder = Path(shutil.copytree(interrupted, tmp_path / "run"))
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("net.widths = [8, 8, 8]", "net.widths = [8, 8, 16]"))
    done = cli("train", "--resume", folder)
    assert done.status == 2
    assert "the saved state is of another recipe" in one_line(done.err)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"data": "patterns:200,50"}'])
def test_a_damaged_environment_is_refused(cli, interrupted, tmp_path, text):
    folder = Path(shutil.copytree(interrupted, tmp_path / "run"))
    (folder / "environment.json").write_text(text)
    done = cli("train", "--resume", folder)
    assert done.status == 2
    assert "environment.json: damaged" in one_line(done.err)


# -- eval ----------------------------------------------------------------------------------------


def test_eval_finds_the_accuracy_of_the_summary(cli, trained):
    summary = summary_of(trained)
    for model in (trained, trained / "model.safetensors"):
        found = json.loads(cli("eval", model, "--json").out)
        assert found["accuracy"] == summary["accuracy"]
        assert found["loss"] == pytest.approx(summary["test_loss"], abs=1e-6)
        assert (found["count"], found["views"], found["data"]) == (50, 6, "patterns:200,50")
    said = cli("eval", trained).out
    assert f"{summary['accuracy']:.2f}% of 50 test images" in said
    assert re.search(r"; 95% interval [\d.]+ to [\d.]+%; loss ", said), "of few images"
    one_view = json.loads(cli("eval", trained, "--tta", "none", "--json").out)
    assert (one_view["accuracy"], one_view["views"]) == (summary["single_view_accuracy"], 1)


def test_eval_of_weights_alone_needs_data_to_be_named(cli, trained, tmp_path):
    alone = shutil.copy(trained / "model.safetensors", tmp_path / "cwd" / "weights.safetensors")
    done = cli("eval", alone)
    assert done.status == 2
    assert "name it with --data" in one_line(done.err)
    found = json.loads(cli("eval", alone, "--data", "patterns:200,50", "--json").out)
    assert found["accuracy"] == summary_of(trained)["accuracy"]


@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_views_that_are_not_there(cli, trained, tmp_path, verb):
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    words = [verb, trained] + ([tmp_path / "black.png"] if verb == "predict" else [])
    done = cli(*words, "--tta", "flop")
    assert done.status == 2
    assert "--tta flop: no such views; did you mean 'flip'?; there are none, flip" in one_line(done.err)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3, np.float32)}, file)


def other_weights(file: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(file, framework="np") as opened:
        metadata = opened.metadata()
    save_file({k: np.repeat(v, 2, 0) for k, v in load_file(file).items() if v.ndim}, file, metadata)


@pytest.mark.parametrize("damage", [truncate, empty, foreign, other_weights, Path.unlink])
def test_a_damaged_model_is_refused_in_one_line(cli, broken, tmp_path, damage):
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    damage(broken / "model.safetensors")
    before = snapshot(broken)
    for words in (["eval", broken], ["predict", broken, tmp_path / "black.png"]):
        done = cli(*words)
        assert (done.status, done.out) == (2, "")
        assert str(broken) in one_line(done.err)
    assert snapshot(broken) == before


# -- data and doctor -----------------------------------------------------------------------------


def test_data_says_what_is_here_and_whether_it_is_sound(cli, trained):
    sources = {s["name"]: s["found"] for s in json.loads(cli("data", "list", "--json").out)["sources"]}
    assert sources == {"cifar10": False, "cifar100": False, "patterns": True}
    report = json.loads(cli("data", "check", "patterns:200,50", "--json").out)
    assert (report["ok"], report["cache_state"]) == (True, "good")
    assert (report["train_count"], report["test_per_class"]) == (200, [5] * 10)
    assert "sound" in cli("data", "check", "patterns:200,50").out
    assert "cifar10   " in cli("data", "list").out


def test_data_get_packs(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    packed = json.loads(cli("data", "get", "patterns:20,10", "--json").out)["packed"]
    assert [str(p) for p in (tmp_path / "cache").rglob("*.pack")] == [packed]


def test_doctor_measures_once_and_then_uses_what_is_kept(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    calls = []

    def race(entrants, *_):
        calls.append(list(entrants))
        return {c: 1e-3 * ({"bf16": 3.0, "fp32": 9.0}[c[0]] + (c[1] == "contiguous")) for c in entrants}

    monkeypatch.setattr("hotlap.machine.choices.race", race)
    first = json.loads(cli("doctor", "--threads", "1", "--json").out)
    assert len(first["measured"]) == 4
    again = cli("doctor", "--threads", "1", "--json")
    assert len(calls) == 1, "the kept measurement was not used"
    assert json.loads(again.out) == first
    assert first["machine"]["threads"] == 1
    if first["used"]["device"] == "cpu":
        assert (first["used"]["precision"], first["used"]["memory_format"]) == ("bf16", "channels_last")
        assert "3.3x the slowest" in first["used"]["why"]
    text = cli("doctor", "--threads", "1").out
    assert "bf16       channels-last  off       3.0" in text
    assert f"hotlap's own kernels in {first['used']['precision']}, against" in text
    assert cli("doctor", "--threads", "1", "--measure").status == 0
    assert len(calls) == 2
    # a damaged measurement is made again
    kept = next((tmp_path / "cache").glob("machine-*.json"))
    kept.write_text("{")
    assert cli("doctor", "--threads", "1").status == 0
    assert len(calls) == 3


def test_a_choice_of_arithmetic_is_recorded_and_never_overridden(cli, tmp_path):
    words = [*TINY, "--epochs", "1", "--set", "numerics.precision=bf16", "--out", "run"]
    assert cli("train", *words).status == 0
    summary = summary_of(tmp_path / "cwd" / "run")
    assert (summary["precision"], summary["memory_format"]) == ("bf16", "channels_last")
    assert summary["machine"]["threads"] == 1
