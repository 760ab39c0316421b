"""`hotlap bench` as a user types it, on sets that are made on the spot."""

from __future__ import annotations

import json
import shlex
import statistics
import sys

import pytest

from conftest import PLAIN, one_line
from hotlap.measure.stats import mean_of, median_of, p_below, ratio_of

TINY = (
    *("--data", "patterns:200,50", *PLAIN),
    *("--set", "epochs=1.0", "--set", "batch_size=50", "--set", "net.widths=[8,8,8]"),
)


@pytest.fixture(autouse=True)
def peak(monkeypatch):
    monkeypatch.setattr("hotlap.measure.bench.convolution_peak", lambda backend: 1e12)


def peer(code: str) -> str:
    return f"other={shlex.join([sys.executable, '-S', '-c', code, '{seed}'])}"


SAYS = peer(
    "import sys; s = int(sys.argv[1]); "
    'print(\'{"train_s": %g, "eval_s": 0.5, "accuracy": %g}\' % (2 + s / 10, 93.8 + s / 10))'
)


def test_a_recipe_against_a_peer_and_the_summary_is_what_the_runs_say(cli, tmp_path):
    words = ("--set", "target=94", "--runs", "3", "--out", tmp_path / "b")
    done = cli("bench", "demo", "--peer", SAYS, *TINY, *words)
    assert done.status == 0, done.err
    runs = [json.loads(line) for line in (tmp_path / "b" / "runs.jsonl").read_text().splitlines()]
    assert [r["contender"] for r in runs] == ["demo", "other", "other", "demo", "demo", "other"]
    assert [r["seed"] for r in runs] == [0, 0, 1, 1, 2, 2]

    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    sides = [[r for r in runs if r["contender"] == name] for name in ("demo", "other")]
    for side, standing in zip(sides, summary["standings"], strict=True):
        accuracies = [r["accuracy"] for r in side]
        assert standing["accuracy"]["mean"] == pytest.approx(statistics.mean(accuracies))
        assert standing["accuracy"]["interval"] == pytest.approx(mean_of(accuracies).interval)
        assert standing["p_below"] == pytest.approx(p_below(accuracies, 94.0))
        assert standing["at_target"]["k"] == sum(a >= 94 for a in accuracies)
        train = median_of([r["train_s"] for r in side])
        assert (standing["train"]["median"], standing["train"]["coverage"]) == (train.median, train.coverage)
        assert standing["counted"]["median"] == statistics.median(r["train_s"] + r["eval_s"] for r in side)
    ours, theirs = summary["standings"]
    assert ours["flop_per_s"] == pytest.approx(ours["flops"] / ours["train"]["median"])
    assert ours["peak_share"] == pytest.approx(ours["flop_per_s"] / 1e12)
    assert (theirs["flops"], theirs["clock"]) == (None, "reported")
    (found,) = summary["against"]
    a, b = ([r["train_s"] for r in side] for side in sides)
    assert found["train"]["ratio"] == pytest.approx(ratio_of(a, b).ratio)

    assert "6/6 other, seed 2: 94.00% in 2.20 + 0.500 s" in done.out
    assert (
        "other: mean 93.90% (n=3, sd 0.10, p=0.89 that it is below 94), median 2.60 s [2.50, 2.70]"
        in done.out
    )
    assert ", 1 of 3 at target" in done.out
    (line,) = [line for line in done.out.splitlines() if line.startswith("demo / other: ")]
    assert line.endswith("(1 block)")
    held = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert held["command"].startswith("hotlap bench demo --peer 'other=")
    assert [c["kind"] for c in held["contenders"]] == ["recipe", "peer"]
    assert held["peaks"] == {"fp32, channels-last": 1e12}


def test_json_is_one_object_and_the_words_go_to_stderr(cli, tmp_path):
    done = cli("bench", "demo", *TINY, "--runs", "1", "--out", tmp_path / "b", "--json")
    found = json.loads(done.out)
    (standing,) = found["standings"]
    assert (standing["name"], standing["accuracy"]["n"], standing["accuracy"]["sd"]) == ("demo", 1, None)
    assert found["against"] == []
    assert found["folder"] == str(tmp_path / "b")
    assert "1/1 demo, seed 0: " in done.err
    assert "measuring the machine's fastest convolution" in done.err


def test_an_interrupted_bench_goes_on_with_the_line_it_prints(cli, tmp_path, monkeypatch):
    words = ("bench", "demo", "muon94", *TINY, "--runs", "2", "--seed", "3")
    from hotlap.measure.bench import Bench

    launch = Bench.launch

    def stop_at_the_third(self, contender, rounds):
        if (contender.name, rounds) == ("muon94", [1]):
            raise KeyboardInterrupt
        return launch(self, contender, rounds)

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "launch", stop_at_the_third)
        stopped = cli(*words)
    assert stopped.status == 130
    line = stopped.err.splitlines()[-1].partition("go on with: ")[2]
    resume = shlex.split(line)
    assert resume[: len(words) + 1] == ["hotlap", *words]
    assert resume[-2] == "--out"
    done = cli(*resume[1:], "--json")
    assert done.status == 0, done.err
    assert "3/4 muon94, seed 4" in done.err
    assert "2/4" not in done.err
    assert [s["accuracy"]["n"] for s in json.loads(done.out)["standings"]] == [2, 2]


def test_a_peer_s_runs_are_read_by_expression(cli, tmp_path):
    says = peer("for s in (3, 4): print(f'seconds {s}.5, accuracy 9{s}.25')")
    done = cli(
        *("bench", "demo", "--peer", says, *TINY, "--runs", "1", "--out", tmp_path / "b", "--json"),
        *("--peer-seconds", "seconds ([0-9.]+)", "--peer-accuracy", "accuracy ([0-9.]+)"),
    )
    assert done.status == 0, done.err
    other = json.loads(done.out)["standings"][1]
    assert (other["accuracy"]["n"], other["accuracy"]["mean"], other["train"]["median"]) == (2, 93.75, 4.0)
    assert "other reports one number of seconds" in done.err


def test_a_peer_that_fails_ends_the_bench_with_its_last_words(cli, tmp_path):
    fails = peer("import sys; print('out of luck', file=sys.stderr); sys.exit(1)")
    words = ("bench", "demo", *TINY, "--runs", "1", "--out", tmp_path / "b")
    done = cli(*words, "--peer", fails)
    assert done.status == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("hotlap: --peer other, seed 0: exit status 1: out of luck; its output is in ")
    assert len((tmp_path / "b" / "runs.jsonl").read_text().splitlines()) == 1  # what was done is kept


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "RECIPE"),
        (["muon49"], "muon94"),
        (["demo", "demo"], "demo: two contenders of this name"),
        (["demo", "muon94"], "choose with --data"),
        (["demo", "--runs", "0"], "--runs 0: give 1 or more"),
        (["demo", "--seed", "-1"], "--seed -1"),
        (["demo", "--threads", "0"], "--threads 0"),
        (["demo", "--peer", "python x.py"], "give it as NAME='command'"),
        (["demo", "--peer", "x="], "give it as NAME='command'"),
        (["demo", "--peer", "x='a"], "No closing quotation"),
        (["demo", "--peer-accuracy", "(.)"], "--peer-accuracy: reads what a peer prints; give --peer too"),
        (["demo", "--peer", "x=y", "--peer-accuracy", "["], "--peer-accuracy '['"),
        (["demo", "--peer", "x=y", "--peer-seconds", "(.)"], "give --peer-accuracy too"),
        (["demo", "--set", "epoch=3"], "epochs"),
        (["demo", "--device", "tpu"], "--device tpu"),
    ],
)
def test_mistakes_are_one_line_with_status_2(cli, words, says):
    done = cli("bench", *words)
    assert done.status == 2
    assert says in one_line(done.err)
    assert done.out == ""
