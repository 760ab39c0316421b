"""The search over changes to a recipe: what a space file means, and that a search goes on where it was."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from hotlap.errors import UserError

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "search" / "search.py"
SPACE = """
base = "muon94"
data = "patterns:400,100"
set = { "net.widths" = [8, 8, 8], batch_size = 50, epochs = 1.0, "numerics.precision" = "fp32" }
[[try]]
name = "plain"
[[try]]
name = "smaller"
with = { progressive-resolution = { until = [0.5], scale = [0.75] } }
set = { epochs = 2.0 }
vary = { "rules.filters.lr" = [0.1, 0.2] }
"""


@pytest.fixture
def search():
    spec = importlib.util.spec_from_file_location("search", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def space(tmp_path, text=SPACE):
    path = tmp_path / "space.toml"
    path.write_text(text)
    return path


def test_tries_are_the_shared_recipe_and_their_own_changes(search, tmp_path):
    plain, low, high = search.tries(space(tmp_path))
    assert [r.name for r in (plain, low, high)] == [
        "plain",
        "smaller rules.filters.lr=0.1",
        "smaller rules.filters.lr=0.2",
    ]
    assert (plain.plan().epochs, low.plan().epochs) == (1.0, 2.0)
    assert low.plan().net.widths == (8, 8, 8)
    assert low.plan().resolution.scale == (0.75,)
    rates = [next(x.lr for x in r.plan().rules if x.name == "filters") for r in (plain, low, high)]
    assert rates == [0.24, 0.1, 0.2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('base = "muon94"\n', r"one or more \[\[try\]\]"),
        ('base = "muon94"\nbas = 1\n[[try]]\nname = "a"\n', r"has \['bas'\]"),
        ('base = "muon94"\n[[try]]\nname = "a"\n[[try]]\nname = "a"\n', "two tries are called 'a'"),
        ('base = "muon94"\n[[try]]\nname = "a"\nset = { epoch = 1.0 }\n', "a: unknown key 'epoch'"),
        ('base = "muon94"\n[[try]]\nname = "a"\nvary = { epoch = [1.0] }\n', "unknown key 'epoch'"),
    ],
)
def test_mistakes_in_a_space_are_named(search, tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        search.tries(space(tmp_path, text))


def test_the_space_in_the_repository_is_sound(search):
    assert len(search.tries(FILE.with_name("fast94.toml"))) > 10


def test_a_search_goes_on_where_it_was_and_never_looks_at_test_images(search, tmp_path, monkeypatch):
    from hotlap import data

    held = []
    hold_out = data.hold_out
    monkeypatch.setattr(data, "hold_out", lambda *a: held.append(a[1]) or hold_out(*a))
    plain, low, _ = search.tries(space(tmp_path))
    folder = tmp_path / "out"
    search.run_all([plain, low], folder, 1, 100, float("inf"), "cpu")
    assert held == [100]
    first = search.kept(folder)
    assert [(r["name"], r["seed"]) for r in first] == [(plain.name, 0), (low.name, 0)]
    assert all(r["steps"] == r_steps for r, r_steps in zip(first, (6, 12), strict=True))  # of 300 images
    with (folder / "runs.jsonl").open("a") as f:
        f.write('{"name": "cut o')  # a kill in the middle of a line
    search.run_all([plain, low], folder, 1, 100, float("inf"), "cpu")
    assert search.kept(folder) == first
    search.run_all([plain], folder, 2, 100, float("inf"), "cpu")
    first = search.kept(folder)
    assert [r["seed"] for r in first] == [0, 0, 1]
    with pytest.raises(UserError, match="was another try there"):
        search.run_all([plain.then(plain.name, epochs=3.0)], folder, 1, 100, float("inf"), "cpu")
    search.run_all([plain], folder, 3, 100, -1.0, "cpu")  # no time left: nothing is started
    assert search.kept(folder) == first


def test_the_table_marks_what_no_cheaper_try_reaches(search, tmp_path):
    def run(name, flops, accuracy, seed=0):
        found = {"name": name, "seed": seed, "flops": flops, "steps": 5, "train_s": 1.0}
        return {**found, "accuracy": accuracy, "one_view": accuracy and accuracy - 1}

    runs = [
        run("dear", 3e12, 93.0),
        run("cheap", 1e12, 92.0),
        run("cheap", 1e12, 93.0, 1),
        run("poor", 2e12, 92.0),
        run("lost", 4e12, None),
    ]
    head, *lines = search.show(runs)
    assert head.split()[0] == "TFLOP"
    assert [line.split()[-1] for line in lines] == ["cheap", "poor", "dear", "lost"]
    assert ["*" in line for line in lines] == [True, False, True, False]
    assert "92.50" in lines[0]
    assert json.loads(json.dumps(runs)) == runs
