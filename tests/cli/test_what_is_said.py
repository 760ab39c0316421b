"""What a run says of itself that a number alone does not."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import hotlap
from conftest import PLAIN, TINY, one_line
from hotlap.engine.evaluate import guessing_up_to
from hotlap.machine import processor
from hotlap.machine.kernels import build, choice


def test_eval_on_other_classes_says_which(cli, trained, monkeypatch):
    spec = hotlap.load_data("patterns:20,10").spec
    monkeypatch.setattr(
        "hotlap.data.patterns.PATTERN_CLASSES", (*spec.class_names[:3], "other", *spec.class_names[4:])
    )
    monkeypatch.setattr("hotlap.data.named._generator_version", lambda: "another")
    text = one_line(cli("eval", trained, "--data", "patterns:20,11").err.splitlines(keepends=True)[-1])
    assert (
        f"class 3 is {spec.class_names[3]!r} there and 'other' here; use data with the same classes" in text
    )


@pytest.mark.parametrize(
    "verb", [("train", "demo"), ("bench", "demo"), ("ladder", "demo"), ("profile", "demo"), ("doctor",)]
)
def test_more_threads_than_processors_are_refused(cli, verb):
    there = processor.processors()
    done = cli(*verb, "--threads", "9999")
    assert done.status == 2
    assert one_line(done.err).startswith(
        f"hotlap: --threads 9999: there are {there} processors to run on; give 1"
    )


def test_more_threads_than_processors_are_refused_from_python_too(tmp_path):
    with pytest.raises(hotlap.UserError, match="threads = 9999: there are"):
        hotlap.train("demo", data="patterns:200,50", out=tmp_path / "r", threads=9999)


def test_a_run_that_learns_nothing_says_so(cli, tmp_path):
    words = ("demo", "--data", "patterns:200,50", "--epochs", "2", *TINY[5:])
    done = cli(
        "train",
        *words,
        "--set",
        "rules.filters.lr=0.0",
        "--set",
        "rules.head.lr=0.0",
        "--out",
        tmp_path / "r",
    )
    accuracy = float(done.out.partition("patterns:200,50: ")[2].partition("%")[0])
    assert accuracy <= guessing_up_to(np.asarray(hotlap.load_data("patterns:200,50").test.labels))
    assert (
        f"{accuracy:.2f}% is no better than guessing one class for every image: nothing was learnt"
        in done.err
    )


def test_a_run_that_learns_says_nothing_of_guessing(cli, tmp_path):
    words = ("demo", "--data", "patterns:2000,500", "--epochs", "2", *TINY[5:])
    done = cli("train", *words, "--out", tmp_path / "r")
    assert "guessing" not in done.err


def test_without_a_compiler_the_end_says_that_it_was_slower(cli, tmp_path, monkeypatch):
    lacking = "no C++ compiler; one called c++ or g++ builds them"
    monkeypatch.setattr(choice, "library_of", lambda _: lacking)
    words = ("train", "demo", "--data", "patterns:200,50", "--threads", "1", "--epochs", "1", *TINY[5:7])
    done = cli(*words, "--out", tmp_path / "a")
    assert f"slower than it could be, without hotlap's own kernels: {lacking}" in done.out
    done = cli(*words, "--set", "numerics.kernels=none", "--out", tmp_path / "b")  # as asked
    assert "slower than it could be" not in done.out
    monkeypatch.setattr(choice, "library_of", lambda _: build.NO_SUCH_PROCESSOR)  # nothing to mend
    assert "slower than it could be" not in cli(*words, "--out", tmp_path / "c").out


def test_without_matplotlib_the_end_says_that_nothing_is_drawn(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = cli("train", *TINY, "--out", tmp_path / "r", "--json")
    assert done.status == 0, done.err
    assert "curve: not drawn, as matplotlib is missing; pip install 'hotlap[plots]'" in done.err.splitlines()
    assert json.loads(done.out)["curve"] is None
    words = ("--data", "patterns:200,50", "--seconds", "0.01", *PLAIN, "--set", "batch_size=50")
    done = cli("ladder", "demo", *words, "--out", tmp_path / "l")
    assert done.status == 0, done.err
    report, pictures = done.out.splitlines()[-2:]
    assert report == f"report:   {tmp_path / 'l' / 'report.html'}"
    assert pictures == "pictures: not drawn, as matplotlib is missing; pip install 'hotlap[plots]'"


@pytest.mark.parametrize("verb", ["bench", "ladder"])
def test_without_ray_nothing_is_measured(cli, verb, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cli(verb, "demo", "--data", "patterns:200,50", "--engine", "ray")
    assert (done.status, done.out) == (2, "")
    assert one_line(done.err) == "hotlap: --engine ray: Ray is not installed; pip install 'hotlap[ray]'"


def test_help_says_what_the_defaults_are_and_what_may_be_set(cli):
    text = " ".join(cli("train", "--help").out.split())
    assert "(default: what the recipe was made for)" in text
    assert "`hotlap recipes show RECIPE` lists every key with its value" in text
