"""A benchmark's order, its folder, what it reads of peers, and its arithmetic."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import statistics
import sys
import threading
from dataclasses import asdict, replace
from xml.etree import ElementTree

import numpy as np
import pytest

from helpers import FP32, TINY_SETTINGS, program
from hotlap import data
from hotlap.engine.clock import Clock
from hotlap.engine.diverged import Diverged
from hotlap.engine.evaluate import evaluate, guessing_up_to
from hotlap.engine.loop import train
from hotlap.errors import UserError
from hotlap.measure import bench as module
from hotlap.measure import trainer
from hotlap.measure.bench import Bench, schedule
from hotlap.measure.bench_page import claim, comparison, draw, remarks, save, table, units
from hotlap.measure.peer import Peer, check_expressions, read_peer
from hotlap.measure.standings import Summary, Timed, against, standing
from hotlap.plan.recipe import Set
from hotlap.recipes import BUILTIN
from hotlap.report.page import digits
from hotlap.report.plots import AMBER, BLUE, svg_text

DATA = "patterns:200,50"
PEAK = 1e12
SETTINGS = {**TINY_SETTINGS, "epochs": 1.0}


@pytest.fixture(autouse=True)
def peak(monkeypatch):
    monkeypatch.setattr(module, "convolution_peak", lambda backend: PEAK)


def tiny(name: str = "demo", **more):
    return BUILTIN[name].then(name, *(Set(k, v) for k, v in {**SETTINGS, **more}.items()))


def script(code: str, name: str = "peer", **regexes) -> Peer:
    return Peer(name, shlex.join([sys.executable, "-S", "-c", code, "{seed}"]), **regexes)


SAYS = 'import sys; s = int(sys.argv[1]); print(\'{"train_s": %d, "accuracy": %d}\' % (2 + s, 90 + s))'


def silent(*_: object) -> None:
    pass


def timed(
    name: str, i: int, train_s: float, eval_s: float | None = 1.0, accuracy: float = 94.0, part: int = 0
):
    return Timed(name, i, part, i, accuracy, train_s, eval_s, "hotlap" if eval_s else "reported")


def test_every_other_round_is_reversed():
    a, b, c = tiny("demo"), tiny("muon94"), Peer("p", "x")
    assert [(i, x.name) for i, x in schedule((a, b, c), 3)] == [
        *((0, "demo"), (0, "muon94"), (0, "p")),
        *((1, "p"), (1, "muon94"), (1, "demo")),
        *((2, "demo"), (2, "muon94"), (2, "p")),
    ]


def test_runs_beside_each_other_are_those_of_one_after_another(tmp_path):
    recipes = [tiny(), tiny("muon94")]
    alone = Bench(recipes, tmp_path / "alone", data=DATA)
    want = {(r.contender, r.round): (r.seed, r.accuracy) for r in alone.go(3, silent)}
    bench, told = Bench(recipes, tmp_path / "beside", data=DATA), []
    bench.go(1, silent)
    runs = bench.go(3, lambda made, n, total: told.append((n, total)), parallel=2)
    assert {(r.contender, r.round): (r.seed, r.accuracy) for r in runs} == want
    assert len(runs) == 6
    assert told == [(n, 6) for n in (2, 4, 5, 6)]
    assert len(bench.trainer.programs["demo"]) == 1  # one of each pair was there already


def test_one_that_diverges_leaves_what_trains_beside_it_alone(tmp_path, monkeypatch):
    alone = Bench([tiny()], tmp_path / "alone", data=DATA).go(2, silent)

    def diverges(program, start, stop):
        if program.seed == 1:
            raise Diverged("the loss is nan")

    monkeypatch.setattr(trainer, "check_finite", diverges)
    first, second = Bench([tiny()], tmp_path / "beside", data=DATA).go(2, silent, parallel=2)
    assert (first.accuracy, first.diverged) == (alone[0].accuracy, "")
    assert (second.accuracy, second.diverged) == (None, "the loss is nan")


def test_runs_are_done_in_that_order_with_a_seed_a_round_and_lie_in_the_folder(tmp_path):
    bench = Bench([tiny(), script(SAYS)], tmp_path / "b", seed=5, data=DATA)
    told = []
    runs = bench.go(2, lambda made, n, total: told.append((made[0].contender, n, total)))
    lines = [json.loads(line) for line in (tmp_path / "b" / "runs.jsonl").read_text().splitlines()]
    assert [(r["contender"], r["round"], r["seed"]) for r in lines] == [
        ("demo", 0, 5),
        ("peer", 0, 5),
        ("peer", 1, 6),
        ("demo", 1, 6),
    ]
    assert told == [("demo", 1, 4), ("peer", 2, 4), ("peer", 3, 4), ("demo", 4, 4)]
    assert [asdict(r) for r in runs] == lines
    first, peer, _, last = runs
    assert min(first.seconds[interval] for interval in ("cold", "load", "compile")) > 0
    assert last.seconds["load"] == last.seconds["compile"] == 0  # lowered once
    assert (first.train_s, first.eval_s, first.clock) == (
        first.seconds["train"],
        first.seconds["eval"],
        "hotlap",
    )
    assert (peer.train_s, peer.eval_s, peer.accuracy, peer.clock) == (7.0, None, 95.0, "reported")
    assert peer.wall_s > 0
    assert (tmp_path / "b" / "peers" / "peer-s5.out").read_text() == '{"train_s": 7, "accuracy": 95}\n'
    assert (tmp_path / "b" / "recipes" / "demo.toml").read_text() == tiny().text()


def test_a_program_that_runs_again_is_as_good_as_new(tmp_path):
    learns = tiny(epochs=3.0)
    first, second = Bench([learns], tmp_path / "a", data=DATA).go(2, silent)
    made = program(learns.plan(), data.load(DATA), FP32)
    losses = []
    for seed, run in ((1, second), (0, first)):
        for _ in train(made, Clock(FP32.device), seed):
            pass
        assert run.seed == seed
        assert evaluate(made).accuracy == run.accuracy
        losses.append(made.losses.clone())
    assert not losses[0].equal(losses[1]), "both seeds are the same run"


def test_what_is_done_is_kept_and_more_rounds_go_on(tmp_path, monkeypatch):
    contenders = [tiny(), script(SAYS)]

    def stop(made, n, total):
        if n == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Bench(contenders, tmp_path / "b", data=DATA).go(2, stop)
    monkeypatch.setattr(module, "convolution_peak", lambda backend: pytest.fail("measured again"))
    text = (tmp_path / "b" / "runs.jsonl").read_text()
    assert len(text.splitlines()) == 3
    bench = Bench(contenders, tmp_path / "b", data=DATA)
    told = []
    runs = bench.go(2, lambda made, n, total: told.append((made[0].contender, n)))
    assert told == [("demo", 4)]
    assert (tmp_path / "b" / "runs.jsonl").read_text().startswith(text)
    assert len(bench.go(3, silent)) == len(runs) + 2


def test_half_a_line_of_a_killed_process_is_done_again(tmp_path):
    bench = Bench([tiny(), script(SAYS)], tmp_path / "b", data=DATA)
    path = tmp_path / "b" / "runs.jsonl"
    whole = "".join(json.dumps(asdict(timed(name, 0, 1.0))) + "\n" for name in ("demo", "peer"))
    path.write_text(whole + '{"contender": "pe')
    assert [r.contender for r in bench.runs()] == ["demo", "peer"]
    assert path.read_text() == whole
    path.write_text(whole + '{"contender": "pe\n')
    with pytest.raises(UserError, match=r"runs\.jsonl: damaged"):
        bench.runs()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("machine", "other", "on another machine"),
        ("device", "cuda:7", "on another device"),
        ("data", "other", "on other data"),
        ("seed", 3, "from seed 3 on"),
        ("contenders", [{"name": "demo"}], "is of demo"),
        ("contenders", 7, "damaged"),
    ],
)
def test_results_of_elsewhere_are_not_mixed_in(tmp_path, key, value, words):
    contenders = [tiny(), Peer("p", "x")]
    Bench(contenders, tmp_path, data=DATA)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=f"{words}.*choose another --out"):
        Bench(contenders, tmp_path, data=DATA)


def test_a_changed_contender_is_refused(tmp_path):
    peer = Peer("p", "x", accuracy="(.)")
    Bench([tiny(), peer], tmp_path, data=DATA)
    for changed, what in (
        ([tiny(epochs=2.0), peer], "demo had another recipe"),
        ([tiny(**{"numerics.precision": "fp64"}), peer], "demo had another recipe"),
        ([tiny(), Peer("p", "y", accuracy="(.)")], "p had another command"),
        ([tiny(), Peer("p", "x", accuracy="(..)")], "p had another --peer-accuracy"),
        ([tiny()], "is of demo, p"),
    ):
        with pytest.raises(UserError, match=what):
            Bench(changed, tmp_path, data=DATA)
    Bench([tiny(), peer], tmp_path, data=DATA)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no benchmark"):
        Bench([tiny()], tmp_path, data=DATA)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        Bench([tiny()], tmp_path / "thesis.txt", data=DATA)


@pytest.mark.parametrize(
    ("contenders", "words"),
    [
        ([BUILTIN["demo"], BUILTIN["demo"]], "demo: two contenders of this name"),
        ([BUILTIN["demo"], Peer("demo", "x")], "demo: two contenders of this name"),
        (
            [BUILTIN["demo"], BUILTIN["muon94"]],
            "demo is for patterns and muon94 for cifar10; choose with --data",
        ),
        ([BUILTIN["demo"], Peer("p", "'x")], "No closing quotation"),
        ([BUILTIN["demo"], Peer("p", " ")], "no command"),
        ([BUILTIN["demo"], Peer("p", "x", accuracy="(")], "--peer-accuracy '\\(': .* regular expression"),
        ([BUILTIN["demo"], Peer("p", "x", accuracy="x")], "--peer-accuracy 'x': put .* in a group"),
        (
            [BUILTIN["demo"], Peer("p", "x", seconds="x", accuracy="(x)")],
            "--peer-seconds 'x': put .* in a group",
        ),
        ([BUILTIN["demo"], Peer("p", "x", seconds="(x)")], "--peer-seconds: give --peer-accuracy too"),
    ],
)
def test_contenders_that_cannot_be_compared(tmp_path, contenders, words):
    with pytest.raises(UserError, match=words):
        Bench(contenders, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_peer_may_be_told_its_seed_anywhere_and_need_not_be_read_by_expressions():
    peer = Peer("p", "python 'a b.py' --seed={seed} --out x{seed}/{seed}", accuracy="acc (.*)")
    assert peer.words(7) == ["python", "a b.py", "--seed=7", "--out", "x7/7"]
    for fine in (peer, Peer("p", "x"), replace(peer, seconds="s (.*)")):
        check_expressions(fine)


def test_what_a_peer_says():
    plain = Peer("p", "x")
    out = 'epoch 1\n{"train_s": 9.5, "eval_s": 0.5, "accuracy": 94.1, "more": [1]}\n\n'
    (said,) = read_peer(plain, out, "p")
    assert (said.train_s, said.eval_s, said.accuracy) == (9.5, 0.5, 94.1)
    said = [
        read_peer(plain, f'{{"train_s": 0.1, "eval_s": 0, "accuracy": {share}}}', "p")
        for share in (0, 1.01, 100)
    ]
    assert [(r.train_s, r.eval_s, r.accuracy) for (r,) in said] == [(0.1, 0, a) for a in (0, 1.01, 100)]
    (said,) = read_peer(plain, '{"train_s": null, "eval_s": null, "accuracy": 94}', "p")
    assert (said.train_s, said.eval_s, said.accuracy) == (None, None, 94.0)
    (said,) = read_peer(plain, '{"accuracy": 94}', "p")
    assert (said.train_s, said.eval_s, said.accuracy) == (None, None, 94.0)
    assert read_peer(plain, "", "p") == read_peer(plain, "94.1", "p") == []
    both = Peer("p", "x", seconds=r"in ([0-9.]+) s$", accuracy=r"^acc ([0-9.]+)")
    lines = "acc 94.1 in 3.5 s\nnoise\nacc 93.8 in 3.4 s\n"
    assert [(r.accuracy, r.train_s) for r in read_peer(both, lines, "p")] == [(94.1, 3.5), (93.8, 3.4)]
    (said,) = read_peer(both, lines + out, "p")  # the object wins
    assert said.accuracy == 94.1
    assert read_peer(both, "nothing", "p") == []
    with pytest.raises(UserError, match="found 1 times and --peer-accuracy 2"):
        read_peer(both, lines.replace("in 3.4 s", ""), "p")


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"accuracy": 0.94}, "accuracy 0.94 looks like a share; give it in percent"),
        ({"accuracy": 194}, "accuracy 194 is no percentage"),
        ({"accuracy": "high"}, "accuracy 'high' is no percentage"),
        ({"accuracy": True}, "accuracy True is no percentage"),
        ({"accuracy": None}, "accuracy None is no percentage"),
        ({"accuracy": 10**400}, "accuracy 10+ is no percentage"),
        ({"accuracy": -0.1}, "accuracy -0.1 is no percentage"),
        ({"accuracy": 100.5}, "accuracy 100.5 is no percentage"),
        ({"accuracy": 1}, "accuracy 1 looks like a share; give it in percent"),
        ({"accuracy": 94, "train_s": 10**400}, "train_s 10+ is no number of seconds"),
        ({"accuracy": 94, "train_s": -1}, "train_s -1 is no number of seconds"),
        ({"accuracy": math.nan}, "accuracy nan is no percentage"),
        ({"accuracy": 94, "train_s": 0}, "train_s 0 is no number of seconds"),
        ({"accuracy": 94, "train_s": [1]}, "train_s .1. is no number of seconds"),
        ({"accuracy": 94, "train_s": 1, "eval_s": math.inf}, "eval_s inf is no number of seconds"),
        ({"accuracy": 94, "train_s": 1, "eval_s": -1}, "eval_s -1 is no number of seconds"),
    ],
)
def test_what_a_peer_cannot_mean(says, words):
    with pytest.raises(UserError, match=f"--peer p, seed 3: {words}"):
        read_peer(Peer("p", "x"), json.dumps(says), "--peer p, seed 3")


def test_a_peer_of_several_runs_a_launch_and_one_without_seconds(tmp_path):
    several = script(
        "for s in (3, 4): print(f'acc 9{s} in {s} s')", "several", seconds="in (.) s", accuracy="acc (..)"
    )
    wall = script('print(\'{"accuracy": 93, "eval_s": 1}\')', "wall")
    bench = Bench([tiny(), several, wall], tmp_path / "b", data=DATA)
    runs = bench.go(1, silent)
    assert [(r.contender, r.part, r.accuracy, r.train_s) for r in runs[1:3]] == [
        ("several", 0, 93.0, 3.0),
        ("several", 1, 94.0, 4.0),
    ]
    assert (runs[3].clock, runs[3].train_s, runs[3].eval_s) == ("wall", runs[3].wall_s, None)
    summary = bench.summary()
    assert [s.accuracy.n for s in summary.standings] == [1, 2, 1]
    said = " ".join(remarks(summary, runs))
    assert "several reports one number of seconds" in said
    assert "wall reports no seconds: its process's wall seconds count" in said
    assert table(summary.standings)[3][4].endswith("(wall)")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "import sys; print('gone', file=sys.stderr); print(file=sys.stderr); sys.exit(3)",
            "exit status 3: gone; ",
        ),
        ("import os; os._exit(4)", "exit status 4: nothing on stderr; "),
        ("print('done')", "says no accuracy"),
        ("print('acc 93\\nacc 94')", "2 runs in a launch and no seconds; give --peer-seconds"),
    ],
)
def test_a_peer_that_fails_is_named(tmp_path, code, words):
    bench = Bench([tiny(), script(code, accuracy="acc (..)")], tmp_path / "b", seed=7, data=DATA)
    with pytest.raises(UserError, match=f"--peer peer, seed 7: {words}"):
        next(bench.launch(bench.contenders[1], [0]))


def test_a_peer_that_is_not_there_is_named(tmp_path):
    bench = Bench([tiny(), Peer("p", "no-such-program {seed}")], tmp_path / "b", data=DATA)
    with pytest.raises(UserError, match=r"--peer p: cannot start 'no-such-program': No such file"):
        next(bench.launch(bench.contenders[1], [0]))


def test_peers_are_told_how_many_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("hotlap.machine.processor.processors", lambda: 8)
    monkeypatch.setattr("torch.set_num_threads", lambda n: None)
    code = "import os; print('{\"accuracy\": %s}' % os.environ['OMP_NUM_THREADS'])"
    bench = Bench([tiny(), script(code)], tmp_path / "b", data=DATA, threads=7)
    assert next(bench.launch(bench.contenders[1], [0]))[0].accuracy == 7


def test_a_signal_ends_the_peer_under_way(tmp_path):
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    bench = Bench([tiny(), script(code)], tmp_path / "b", data=DATA)

    def end() -> None:
        while not ((path := tmp_path / "pid").exists() and path.read_text()):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        bench.go(1, silent)
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert [r.contender for r in bench.runs()] == ["demo"]


def test_a_recipe_that_diverges_is_named_with_its_seed(tmp_path):
    recipe = tiny(**{"rules.head.lr": 1e38})
    steady = tiny().then("steady")
    bench = Bench([recipe, steady], tmp_path / "b", seed=2, data=DATA)
    runs = bench.go(2, silent)  # what diverges is a run like the others, and the benchmark goes on
    assert [r.seed for r in runs if r.contender == "demo"] == [2, 3]
    assert all(r.accuracy is None and r.diverged.startswith("diverged at step") for r in runs[::3])
    summary = bench.summary()
    lost, held = summary.standings
    assert (lost.runs, lost.diverged, lost.accuracy, lost.counted) == (2, 2, None, None)
    assert (held.runs, held.diverged, held.accuracy.n) == (2, 0, 2)
    assert summary.against == ()
    assert table(summary.standings)[1][:4] == ("demo", "2", "2", "")
    assert claim(lost) == "demo: all 2 runs diverged"
    assert any(text.startswith("demo, seed 2: diverged at step") for text in remarks(summary, runs))
    save(bench, summary)
    page = (bench.folder / "report.html").read_text()
    assert page.count("<td>diverged</td>") == 2


def test_a_miss_by_divergence_counts_and_the_others_are_averaged():
    runs = [timed("a", i, 10, 1, acc) for i, acc in enumerate([94.2, None, 94.0])]
    found = standing(runs, 94.0)
    assert (found.accuracy.n, found.accuracy.mean) == (2, pytest.approx(94.1))
    assert (found.at_target.k, found.at_target.n) == (2, 3)
    assert claim(found).endswith("2 of 3 at target; 1 of 3 runs diverged")
    other = [timed("b", i, 20, 2) for i in range(3)]
    assert against(runs, other).counted.ratio == pytest.approx(1 / 2)


def test_a_run_no_better_than_guessing_is_remarked():
    labels = np.array([0] * 60 + [1] * 40)
    assert guessing_up_to(labels) == pytest.approx(60 + 300 * math.sqrt(0.6 * 0.4 / 100))
    runs = [timed("a", 0, 10, 1, 61.0), timed("a", 1, 10, 1, 90.0)]
    summary = Summary((standing(runs, None),), (), guessing_up_to(labels))
    assert "a: 1 of 2 runs are no better than guessing one class." in remarks(summary, runs)


def test_what_the_runs_come_to():
    runs = [
        timed("a", i, s, e, acc)
        for i, (s, e, acc) in enumerate([(10, 1, 94.2), (12, 2, 93.9), (11, 3, 94.0)])
    ]
    found = standing(runs, 94.0, "bf16, channels-last", flops=22 * 10**12, peak=4e12)
    assert found.accuracy.mean == pytest.approx(statistics.mean([94.2, 93.9, 94.0]))
    assert found.accuracy.sd == pytest.approx(statistics.stdev([94.2, 93.9, 94.0]))
    assert (found.at_target.k, found.at_target.n) == (2, 3)  # 94.0 is at target; the miss is counted
    assert (found.train.median, found.eval.median, found.counted.median) == (11, 2, 14)
    assert found.train.interval == (10, 12)
    assert (found.flop_per_s, found.peak_share) == (2e12, 0.5)
    without = standing([*runs, timed("a", 3, 9, None)], 94.0)
    assert (without.eval, without.flops, without.peak_share) == (None, None, None)


def test_a_target_is_for_the_data_that_a_recipe_was_made_for_unless_it_was_told_one(tmp_path):
    built_in, told = BUILTIN["fast95"], tiny(target=80.0)
    assert any(step.key == "target" for step in built_in.own)  # as a recipe of one's own may have it
    elsewhere = Bench([built_in, told], tmp_path / "a", data="patterns:800,50")
    assert [elsewhere.target(r) for r in (built_in, told, tiny())] == [None, 80.0, None]
    at_home = Bench([replace(tiny(), data=DATA)], tmp_path / "b")
    assert at_home.target(at_home.recipes[0]) == 94.0


def test_without_a_target_nothing_is_said_of_one():
    runs = [timed("a", i, 10.0, accuracy=70.0 + i) for i in range(3)]
    found = standing(runs, None)
    assert (found.target, found.p_below, found.at_target) == (None, None, None)
    assert claim(found) == (
        "a: mean 71.00% (n=3, sd 1.00), median 11.0 s [11.0, 11.0]"
        " (train 10.0 s [10.0, 10.0], eval 1.00 s [1.00, 1.00])"
    )
    assert "at target" not in table([found])[0]
    (dots,) = draw(Summary((found,), ()), runs).axes
    assert len(dots.lines) == 1


def test_ratios_are_by_round_and_a_launch_counts_once():
    a = [timed("a", i, s) for i, s in enumerate([9, 19, 9, 19])]
    b = [timed("b", i, 2 * s + 1, part=p) for i, s in enumerate([9, 19, 9, 19]) for p in (0, 1)]
    found = against(a, b)
    assert (found.first, found.other) == ("a", "b")
    assert found.counted.ratio == pytest.approx(1 / 2)
    assert found.counted.interval == pytest.approx((1 / 2, 1 / 2))
    assert found.train.ratio == pytest.approx(math.sqrt(9 / 19 * 19 / 39))
    assert found.counted.blocks == 2
    uneven = [timed("b", 0, 1, None), timed("b", 0, 4, None, part=1), timed("b", 5, 1, None)]
    assert against([timed("a", 0, 4, None)], uneven).train.ratio == pytest.approx(
        2
    )  # sqrt(1 * 4), round 5 is alone


def made_up() -> tuple[Summary, list[Timed]]:
    a = [timed("fast", i, 400 + i, 10, 93.9 + i / 10) for i in range(5)]
    b = [timed("slow", i, 800 + 2 * i, 20, 94.1) for i in range(5)]
    first = standing(a, 94.0, "bf16, channels-last", 10**14, PEAK)
    return Summary((first, standing(b, 94.0)), (against(a, b),)), [*a, *b]


def test_the_words_of_a_claim():
    summary, runs = made_up()
    first = summary.standings[0]
    assert claim(first) == (
        "fast: mean 94.10% (n=5, sd 0.16, p=0.12 that it is below 94), median 412 s [410, 414]"
        " (train 402 s [400, 404], eval 10.0 s [10.0, 10.0]), 4 of 5 at target"
    )
    assert claim(standing(runs[:1], 94.0)) == (
        "fast: 93.90% (n=1), 410 s (train 400 s, eval 10.0 s), 0 of 1 at target"
    )
    assert comparison(summary.against[0]).startswith("fast / slow: 0.500 [0.500, 0.500")
    assert comparison(summary.against[0]).endswith("(2 blocks)")
    alone = against(runs[:1], runs[5:6])
    assert comparison(alone) == (
        "fast / slow: 0.500 of the seconds in train + eval, 0.500 in train alone (1 block)"
    )
    assert table(summary.standings) == [
        (
            *("contender", "runs", "accuracy", "sd", "at target", "train s", "eval s", "train + eval s"),
            *("FLOPs", "FLOP/s", "of peak"),
        ),
        ("fast", "5", "94.10", "0.16", "4 of 5", "402", "10.0", "412", "100 T", "249 G", "25%"),
        ("slow", "5", "94.10", "0.00", "5 of 5", "804", "20.0", "824", "", "", ""),
    ]
    assert len(table([replace(first, flops=None, flop_per_s=None, peak_share=None)])[0]) == 8
    assert remarks(summary, runs)[0] == (
        "In brackets: 95% intervals, of medians by order statistics (93.8% with so few runs),"
        " of ratios by Student's t on their logarithms; p is one-sided, by Student's t."
    )
    many = [timed("a", i, 10 + i, 1) for i in range(9)]  # enough for 95%
    assert "by order statistics, of ratios" in remarks(Summary((standing(many, 94.0),), ()), many)[0]


def test_two_runs_have_a_mean_and_a_median_and_a_ratio_its_own_interval():
    runs = [timed("a", i, 400 + 10 * i, 10, 93.9 + i / 10) for i in range(2)]
    words = claim(standing(runs, None))
    assert words.startswith("a: mean 93.95% (n=2, sd 0.07), median 415 s [410, 420] (train 405 s")
    made = against(
        [timed("a", i, s) for i, s in enumerate([9, 9, 10, 10])], [timed("b", i, 9) for i in range(4)]
    )
    low, high = made.counted.interval
    assert low < made.counted.ratio < high
    assert f"{digits(made.counted.ratio)} [{digits(low)}, {digits(high)}] of the seconds" in comparison(made)


def test_what_diverged_is_said_and_leaves_its_cells_empty():
    lost = [timed("a", i, 3.0, 1.0, None) for i in range(3)]
    assert claim(standing(lost[:1], 94.0)) == "a: diverged"
    assert claim(standing(lost[:2], 94.0)) == "a: all 2 runs diverged"
    ran = standing([timed("b", 0, 10.0, 1.0)], None)
    head, *lines = table([standing(lost, None), ran])
    assert head == ("contender", "runs", "diverged", "accuracy", "train s", "eval s", "train + eval s")
    assert lines == [("a", "3", "3", "", "", "", ""), ("b", "1", "", "94.00", "10.0", "1.00", "11.0")]


def test_wall_seconds_and_a_share_of_the_peak_are_told_in_the_table():
    wall = standing([replace(timed("w", i, 20.0, None), clock="wall") for i in range(2)], None)
    fast = standing([timed("f", 0, 1.0)], None, flops=10**12, peak=1.02e12)
    head, *lines = table([wall, fast])
    assert [line[head.index("train s")] for line in lines] == ["20.0 (wall)", "1.00"]
    assert [line[head.index("of peak")] for line in lines] == ["", "98%"]


def test_the_arithmetic_in_words():
    backend = replace(FP32, kernels="convolution", compile=True)
    assert backend.arithmetic == "fp32, channels-last"
    assert backend.in_words == "fp32, channels-last, compiled, own kernels (convolution)"
    assert FP32.in_words == "fp32, channels-last"


def test_numbers_as_people_read_them():
    assert [digits(s) for s in (0.01234, 2.594, 99.95, 412.3, 12345.6)] == [
        "0.0123",
        "2.59",
        "100",
        "412",
        "12,346",
    ]
    assert [units(x) for x in (1.5e15, 2.83e14, 4.1e9, 999.9e9, 12.0)] == [
        "1.50 P",
        "283 T",
        "4.10 G",
        "1.00 T",
        "12.0 ",
    ]


def test_the_picture_names_every_contender_and_is_well_formed():
    summary, runs = made_up()
    root = ElementTree.fromstring(svg_text(draw(summary, runs)))
    assert root.tag.endswith("svg")
    figure = draw(summary, runs)
    dots, beside = figure.axes
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["fast", "slow"]
    assert [len(line.get_xdata()) for line in dots.lines] == [5, 5, 2]  # and the target's line
    assert [t.get_text() for t in beside.get_yticklabels()] == ["/ slow"]
    interval, ratio, one = (line.get_xydata().tolist() for line in beside.lines)
    low, high = summary.against[0].counted.interval
    assert interval == [[low, 0.0], [high, 0.0]]
    assert ratio == [[summary.against[0].counted.ratio, 0.0]]
    assert [x for x, _ in one] == [1.0, 1.0]
    for line, colour in zip(dots.lines, (BLUE, AMBER), strict=False):
        assert line.get_color() == colour
    assert beside.lines[1].get_color() == AMBER  # as the other's dots
    alone = Summary(summary.standings[:1], ())
    assert len(draw(alone, runs[:5]).axes) == 1


def test_the_page_holds_every_run_and_the_recipe(tmp_path):
    bench = Bench([tiny()], tmp_path / "b", data=DATA, command="hotlap bench demo <tiny>")
    bench.go(1, silent)
    files = save(bench, bench.summary())
    assert set(files) == {"summary", "picture", "report"}
    page = files["report"].read_text()
    assert "hotlap bench demo &lt;tiny&gt;" in page
    assert "net.widths = [8, 8, 8]" in page
    assert "<svg" in page
    assert json.loads(files["summary"].read_text())["against"] == []
