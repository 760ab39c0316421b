"""The resolved text of every built-in recipe, as committed. To accept a change on purpose:
`python tests/recipes/test_golden.py`, then read the diff."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hotlap.plan import Plan
from hotlap.plan.flat import from_nested, unflatten
from hotlap.plan.recipe import diff, starter
from hotlap.recipes import BUILTIN
from hotlap.recipes.reading import load

GOLDEN = Path(__file__).parent / "golden"


def path_of(name: str) -> Path:
    return GOLDEN / (name.replace("/", "-") + ".toml")


@pytest.mark.parametrize("name", BUILTIN)
def test_resolved_text_is_as_committed(name):
    assert path_of(name).read_text() == BUILTIN[name].text()


def test_no_golden_text_is_left_over():
    assert {p.name for p in GOLDEN.iterdir()} == {path_of(n).name for n in BUILTIN}


@pytest.mark.parametrize("name", BUILTIN)
def test_text_reads_back_as_the_same_plan(name):
    flat = from_nested(tomllib.loads(BUILTIN[name].text()))
    assert (flat.pop("name"), flat.pop("data")) == (name, BUILTIN[name].data)
    assert unflatten(Plan, flat, "test") == BUILTIN[name].plan()


@pytest.mark.parametrize("name", BUILTIN)
def test_a_copied_recipe_is_the_same_until_edited(name, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(starter(BUILTIN[name]))
    assert load(file, BUILTIN).plan() == BUILTIN[name].plan()


def test_diff_names_exactly_what_changes():
    from hotlap.plan.recipe import Set

    changed = BUILTIN["muon94"].then("x", Set("epochs", 9.0))
    assert diff(BUILTIN["muon94"], changed) == ["- epochs = 8.0", "+ epochs = 9.0"]


if __name__ == "__main__":
    for old in GOLDEN.iterdir():
        old.unlink()
    for recipe_name, recipe in BUILTIN.items():
        path_of(recipe_name).write_text(recipe.text())
