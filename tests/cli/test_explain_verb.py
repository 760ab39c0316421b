"""`hotlap explain`: every topic from end to end, quickly, and its mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conftest import one_line
from hotlap.explain import discover

PICTURES = {
    "batch-size": ["batch-size.svg", "forgetting.svg"],
    "step-time": ["step-time.svg"],
    "momentum": ["momentum.svg", "rate-times-decay.svg"],
    "weight-norms": ["weight-norms.svg", "relative-rates.svg"],
    "batch-norm": ["histograms.svg", "depth.svg"],
    "ghost-norm": ["statistics-noise.svg"],
}
DATA = ("--data", "patterns:300,100", "--threads", "1")


def test_the_list_names_every_topic_with_its_question(cli):
    listed = json.loads(cli("explain", "list", "--json").out)["topics"]
    assert {t["name"] for t in listed} == set(PICTURES) == set(discover())
    out = cli("explain", "list").out
    assert all(f"\n{name} " in "\n" + out for name in PICTURES)


LONG = {"batch-size"}  # the longest of them, by far


@pytest.mark.parametrize(
    "topic", [pytest.param(t, marks=pytest.mark.slow) if t in LONG else t for t in PICTURES]
)
def test_a_topic_leaves_its_pictures_numbers_and_page(cli, tmp_path, topic):
    folder = tmp_path / "results"
    more = ("--recipe", "airbench94") if topic == "step-time" else ()
    done = cli("explain", topic, "--quick", *DATA, *more, "--out", folder, "--json")
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert sorted(p.name for p in folder.iterdir()) == sorted(told["files"])
    assert told["files"] == [*PICTURES[topic], "results.json", "report.html"]
    kept = json.loads((folder / "results.json").read_text())
    assert (kept["topic"], kept["results"], kept["answer"]) == (topic, told["results"], told["answer"])
    assert told["answer"] in " ".join(done.err.split("\n"))
    assert discover()[topic].conclude(kept["results"]).answer == told["answer"]
    assert "numbers mean nothing" in done.err
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == len(PICTURES[topic])
    assert "numbers mean nothing" in page
    for name in PICTURES[topic]:
        svg = (folder / name).read_text()
        assert svg.startswith("<?xml")
        assert not re.search(r"\d{4}-\d\d-\d\dT", svg), "a date in the picture"


def test_the_same_seed_gives_the_same_pictures(cli, tmp_path):
    for name in ("a", "b"):
        assert cli("explain", "ghost-norm", "--quick", *DATA, "--out", tmp_path / name).status == 0
    a, b = ((tmp_path / n / "statistics-noise.svg").read_bytes() for n in ("a", "b"))
    assert a == b


def test_without_the_real_set_the_built_in_one_is_used_and_said(cli):
    done = cli("explain", "batch-norm", "--quick", "--threads", "1", "--out", "here")
    assert done.status == 0, done.err
    assert "data: patterns, built in, for cifar10 is not on this machine" in done.out
    assert json.loads(Path("here/results.json").read_text())["data"] == "patterns"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("momentun",), "did you mean 'momentum'?"),
        (("momentum", "--recipe", "demo"), "takes no --recipe"),
        (("step-time", "--recipe", "dem"), "did you mean 'demo'?"),
        (("step-time", "--quick", "--recipe", "airbench96-faster"), "chooses its images"),
        (("momentum", "--seeds", "0"), "--seeds 0"),
        (("momentum", "--out", "full"), "choose another --out"),
        (("momentum", "--data-dir", "nowhere"), "nowhere"),
        (("momentum", "--device", "cuda:99"), "--device cuda:99"),
        ((), "topic"),
    ],
)
def test_mistakes_are_one_line(cli, tmp_path, words, said):
    (tmp_path / "cwd" / "full").mkdir()
    (tmp_path / "cwd" / "full" / "x").touch()
    data = () if "--data-dir" in words else ("--data", "patterns:300,100")
    done = cli("explain", *words, *(data if words else ()))
    assert done.status == 2
    assert said in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    one_line(done.err.splitlines()[-1] + "\n")


def test_without_matplotlib_nothing_is_computed(cli, monkeypatch):
    monkeypatch.setattr("hotlap.report.plots.has_plots", lambda: False)
    done = cli("explain", "momentum", "--quick", *DATA)
    assert done.status == 2
    assert "pip install 'hotlap[plots]'" in one_line(done.err)
