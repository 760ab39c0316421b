"""`hotlap ladder` as a user types it, on sets that are made on the spot."""

from __future__ import annotations

import json

import pytest

from conftest import one_line, snapshot
from hotlap.recipes.published import PAGE

TINY = (
    *("--data", "patterns:200,50", "--threads", "1", "--seconds", "0.01"),
    *("--set", "epochs=2.0", "--set", "batch_size=50", "--set", "net.widths=[8,8,8]"),
    *("--set", "numerics.precision=fp32", "--set", "numerics.memory_format=channels_last"),
)


def test_the_default_projects_every_rung_and_trains_none(cli, tmp_path):
    done = cli("ladder", "airbench94", "muon94", *TINY, "--out", tmp_path / "l")
    assert done.status == 0, done.err
    assert "1/2 airbench94: " in done.out
    assert "projected" in done.out
    assert {p.name for p in (tmp_path / "l").iterdir()} == {
        "ladder.json",
        "rungs",
        "ladder.svg",
        "report.html",
    }
    table = [line for line in done.out.splitlines() if line.startswith(("rung ", "airbench94 ", "muon94 "))]
    assert len(table) == 3
    assert table[0].split()[:3] == ["rung", "epochs", "batch"]
    assert "3.83" in table[1]
    assert "2.59" in table[2]
    page = (tmp_path / "l" / "report.html").read_text()
    assert "airbench94 -&gt; muon94" in page
    assert "filters.optimizer" in page.split("airbench94 -&gt; muon94")[1]
    assert "batch_size" not in page.split("airbench94 -&gt; muon94")[1]  # set alike for both
    before = snapshot(tmp_path / "l" / "rungs")
    assert cli("ladder", "airbench94", "muon94", *TINY, "--out", tmp_path / "l").status == 0
    assert snapshot(tmp_path / "l" / "rungs") == before


def test_json_is_one_object_and_the_words_go_to_stderr(cli, tmp_path):
    done = cli("ladder", "muon94", *TINY, "--out", tmp_path / "l", "--json")
    found = json.loads(done.out)
    assert found["depth"] == "projected"
    (rung,) = found["rungs"]
    assert rung["name"] == "muon94"
    assert rung["projection"]["steps"] == 8
    assert rung["published"]["seconds"] == 2.59
    assert rung["accuracy"] is None
    assert "images/s" in done.err


def test_full_trains_every_rung_with_every_seed_and_goes_on_after_a_stop(cli, tmp_path, monkeypatch):
    from contextlib import nullcontext

    words = ("ladder", "muon94", *TINY, "--full", "--seeds", "2", "--out", tmp_path / "l")
    with monkeypatch.context() as patch:
        patch.setattr(
            "hotlap.runs.execute.stop_requests", lambda: nullcontext([2])
        )  # as Ctrl-C after the first step
        stopped = cli(*words)
    assert stopped.status == 130
    said = [line for line in stopped.err.splitlines() if line.startswith("hotlap:")]  # a first use says more
    assert said == [
        f"hotlap: interrupted; state saved, go on with: the same command and --out {tmp_path / 'l'}"
    ]
    done = cli(*words, "--json")
    assert done.status == 0, done.err
    (rung,) = json.loads(done.out)["rungs"]
    assert [r["seed"] for r in rung["runs"]] == [0, 1]
    assert rung["projection"] is None
    assert rung["accuracy"] == pytest.approx(sum(r["accuracy"] for r in rung["runs"]) / 2)
    assert rung["seconds"] > 0
    # the run that was stopped is the run that was never stopped
    whole = cli(
        "train", "muon94", *(w for w in TINY if w not in ("--seconds", "0.01")), "--out", tmp_path / "w"
    )
    assert whole.status == 0, whole.err
    accuracy = json.loads((tmp_path / "w" / "summary.json").read_text())["accuracy"]
    assert rung["runs"][0]["accuracy"] == accuracy


def test_a_budget_trains_what_fits(cli, tmp_path):
    done = cli("ladder", "muon94", *TINY, "--budget", "5", "--out", tmp_path / "l", "--json")
    (rung,) = json.loads(done.out)["rungs"]
    assert rung["projection"] is not None
    assert len(rung["runs"]) == 1


def test_page_is_the_series_in_order_and_patterns_choose(monkeypatch):
    import argparse

    from hotlap.cli.ladder import choose
    from hotlap.cli.output import Output

    def names(*words):
        args = argparse.Namespace(rungs=list(words), data="patterns:200,50", data_dir=None, set=[])
        return [r.name for r in choose(args, Output(False))]

    assert names("page") == [f"page/{n}" for n in PAGE]
    assert names("page/a[12]*", "muon94", "page/a1*") == [
        "page/a1-backbone",
        "page/a2-no-repeated-norm",
        "muon94",
    ]
    assert names("after")[:4] == ["hlb", "airbench94", "muon94", "hiverge94"]


def test_a_set_that_is_not_here_leaves_its_rung_out_with_a_word(cli, tmp_path, monkeypatch):
    import argparse

    from hotlap.cli.ladder import choose
    from hotlap.cli.output import Output
    from hotlap.errors import UserError

    said = []
    monkeypatch.setattr(Output, "note", lambda self, text: said.append(text))
    args = argparse.Namespace(rungs=["after"], data=None, data_dir=tmp_path, set=[])
    with pytest.raises(UserError, match="no rung is left"):
        choose(args, Output(False))
    assert len(said) == 8
    assert said[-1].startswith("aidda100 is left out: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["muon49"], "muon94"),
        (["page/7*"], "no recipe fits 'page/7*'"),
        (["demo", "--seeds", "0"], "--seeds 0: give 1 or more"),
        (["demo", "--budget", "-1"], "--budget -1: give 0 or more"),
        (["demo", "--seconds", "0"], "--seconds 0: give a number of seconds above 0"),
        (["demo", "--seconds", "nan"], "--seconds nan"),
        (["demo", "--threads", "0"], "--threads 0"),
        (["demo", "--full", "--budget", "3"], "leave out --budget"),
        (["demo", "--set", "epoch=3"], "epochs"),
        (["demo", "--set", "epochs"], "key=value"),
        (["nothing.toml"], "no such recipe file"),
        (["demo", "--device", "tpu"], "--device tpu"),
    ],
)
def test_mistakes_are_one_line_with_status_2(cli, words, says):
    done = cli("ladder", *words)
    assert done.status == 2
    assert says in one_line(done.err)
    assert done.out == ""
