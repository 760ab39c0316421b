"""`hotlap profile` as a user types it, on a set that is made on the spot."""

from __future__ import annotations

import json

import pytest

from conftest import one_line

TINY = (
    *("--data", "patterns:200,50", "--threads", "1", "--seconds", "0.01"),
    *("--epochs", "2", "--set", "batch_size=50", "--set", "net.widths=[8,8,8]"),
    *("--set", "numerics.precision=fp32", "--set", "numerics.memory_format=channels_last"),
)


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch):
    from hotlap.inspect import roofline

    monkeypatch.setattr(roofline, "PEAK_FLOP", {"cpu": 1e6})
    monkeypatch.setattr(roofline, "measure_peaks", lambda e: roofline.Peaks(1e9, 1e9, 1e9))


def test_tables_sentences_and_files(cli, tmp_path):
    done = cli("profile", "muon94", *TINY, "--with", "progressive-resolution", "--out", tmp_path / "p")
    assert done.status == 0, done.err
    assert "convolution backward" in done.out
    assert "group2" in done.out
    assert "of the fastest convolution" in done.out
    assert "one operation at a time" in done.err
    names = {p.name for p in (tmp_path / "p").iterdir()}
    assert names == {"profile.json", "report.html", "process-times.svg", "parts.svg", "roofline.svg"}
    page = (tmp_path / "p" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "weight gradient" in page
    again = cli("profile", "muon94", *TINY, "--out", tmp_path / "p")
    assert again.status == 2
    assert "is there already; choose another --out" in one_line(again.err)


def test_json_is_one_object_that_the_file_holds_too(cli, tmp_path):
    done = cli("profile", "page/10-resnet9", *TINY[:-6], "--set", "net.widths=[4,4,8,8]", *TINY[-4:],
               "--set", "batch_size=50", "--out", tmp_path / "p", "--json")  # fmt: skip
    assert done.status == 0, done.err
    found = json.loads(done.out)
    held = json.loads((tmp_path / "p" / "profile.json").read_text())
    assert {k: found[k] for k in held} == held
    assert found["train_s"] == pytest.approx(sum(found["kinds_s"].values()))
    assert found["stretches"][0]["steps"] == 8


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("muon95",), "no recipe"),
        (("muon94", "--seconds", "0"), "--seconds 0: give a number of seconds above 0"),
        (("muon94", "--threads", "0"), "--threads 0: there are"),
        (("muon94", "--device", "cuda:99"), "--device cuda:99"),
        (("muon94", "--sed", "1"), "unrecognized arguments: --sed"),
    ],
)
def test_mistakes_get_one_line(cli, words, says):
    done = cli("profile", *words)
    assert done.status == 2
    assert says in one_line(done.err)
