"""What hotlap leaves of each kind, taken in as a record: no figure is lost, and its page is drawn again."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from pathlib import Path

import pytest
from markupsafe import escape

from conftest import TINY, run_main
from helpers import program
from hotlap.measure import bench as benches
from hotlap.measure import ladder_page, profile, profile_page
from hotlap.measure.bench import Bench
from hotlap.measure.bench_page import claim, comparison, save
from hotlap.measure.ladder import compare
from hotlap.recipes import BUILTIN
from keeping import store
from keeping.kinds import Given, bench, discover, ladder, runs, search
from keeping.pool import pools, today
from keeping.race import Curve, height, race
from keeping.record import README, RECIPES, RECORDS, Record, all_records
from keeping.text import FILL, document, line
from measure.test_bench import DATA, SAYS, script, tiny
from measure.test_ladder import rung
from measure.test_profile import DATA as NOISE
from measure.test_profile import PEAKS, clocked, small

MACHINE = Record(RECORDS / "cpu-engine")["machine"]


def page(folder: Path) -> str:
    """The page in a folder; clip paths are called by where they are, to the last digit."""
    return re.sub(r"p[0-9a-f]{10}", "p", (folder / "report.html").read_text())


@pytest.fixture
def root(tmp_path) -> Path:
    """A repository without records."""
    (tmp_path / README).write_text("# hotlap\n")
    return tmp_path


def kept(root: Path, folders: list[Path], **given):
    record = store.keep("it", folders, Given(**given), root)
    store.write(root)
    assert store.stale(root) == []
    return record


def test_a_benchmark_keeps_its_statistics_and_its_page(root, tmp_path, monkeypatch):
    monkeypatch.setattr(benches, "convolution_peak", lambda backend: 1e12)
    made = Bench([tiny(), script(SAYS)], tmp_path / "b", seed=3, data=DATA, command="hotlap bench --out b")
    made.go(2, lambda *_: None)
    summary, recipe = made.summary(), made.recipes[0].text()
    save(made, summary)
    record = kept(root, [tmp_path / "b"], note="Beside nothing")
    assert record["commands"] == ["hotlap bench"]
    told = (record.folder / README).read_text()
    for text in (*map(claim, summary.standings), *map(comparison, summary.against), "Beside nothing."):
        assert text in told
    assert [r.seed for r in bench.runs(record)] == [3, 3, 4, 4]
    assert [s["seed"] if "seed" in s else s["accuracy"] for s in record.lines(bench.PEERS)] == [93, 94]
    contender, peer = record["contenders"]
    assert (record.recipe(contender["recipe"]), peer["target"]) == (recipe, summary.standings[1].target)
    again = root / "again"
    bench.KIND.draw(record, again)
    assert page(again) == page(tmp_path / "b").replace("hotlap bench --out b", "hotlap bench")


def test_seeds_of_one_recipe_are_taken_together(root, tmp_path, monkeypatch):
    monkeypatch.setattr(benches, "convolution_peak", lambda backend: 1e12)
    accuracies = []
    for name, seed in (("a", 3), ("b", 7)):
        made = Bench([tiny(), script(SAYS)], tmp_path / name, seed=seed, data=DATA)
        accuracies += [r.accuracy for r in made.go(2, lambda *_: None) if r.contender == "demo"]
        save(made, made.summary())
        store.keep(name, [tmp_path / name], Given(), root)
    diverged = root / "records" / "b" / bench.RUNS
    text = diverged.read_text().replace(f'"accuracy": {accuracies[-1]}, ', "", 1)
    diverged.write_text(text)
    ours, peer = pools(all_records(root / "records"))
    assert (ours.name, ours.today, [r.seed for r in ours.runs]) == ("demo", False, [3, 4, 7, 8])
    assert ours.accuracy.n == 3
    assert ours.accuracy.mean == pytest.approx(statistics.fmean(accuracies[:3]))
    assert (peer.name, peer.recipe, peer.accuracy.mean) == ("peer", "", 90 + (3 + 4 + 7 + 8) / 4)
    assert peer.seconds("train_s") == 2 + (4 + 7) / 2
    built_in = BUILTIN["fast94"]
    assert today("old name", built_in.text()) == "fast94"
    assert today("fast94", built_in.text().replace("epochs = ", "epochs = 1")) is None
    shorter = [t for t in built_in.text().splitlines() if not t.startswith(("start.", "name ="))]
    assert today("fast94", "\n".join(shorter)) == "fast94"


def test_a_text_from_before_a_key_was_there_counts_for_todays_recipe(root):
    """As the built-in fast95 trains today, in one record with fewer keys."""
    text = BUILTIN["fast95"].text()
    (root / "records" / RECIPES).mkdir(parents=True)
    fewer = "".join(t for t in text.splitlines(keepends=True) if not t.startswith("start."))
    longer = text.replace("epochs = ", "epochs = 1")
    for name, said in (("whole", text), ("fewer", fewer), ("longer", longer)):
        folder = root / "records" / name
        shutil.copytree(RECORDS / "fast95-seed-cpu", folder)
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(summary | {"resolved": f"{name}.toml"}))
        (root / "records" / RECIPES / f"{name}.toml").write_text(said)
    found = {tuple(r.record.name for r in p.runs): p.today for p in pools(all_records(root / "records"))}
    assert found == {("fewer", "whole"): True, ("longer",): False}


def test_peers_of_one_name_and_other_commands_stay_apart(root):
    (root / "records").mkdir()
    shutil.copytree(RECORDS / RECIPES, root / "records" / RECIPES)
    for name, more in (("a", ""), ("b", ""), ("c", " --epochs 4")):
        folder = root / "records" / name
        shutil.copytree(RECORDS / "fast94-pairs-cpu", folder)
        text = (folder / "summary.json").read_text()
        (folder / "summary.json").write_text(
            text.replace("muon_port.py --seed", f"muon_port.py{more} --seed")
        )
    found = [[r.name for r in p.records] for p in pools(all_records(root / "records")) if not p.recipe]
    assert found == [["a", "b"], ["c"]]


def test_runs_keep_accuracies_and_the_seconds_of_those_that_were_timed(root, tmp_path, trained):
    other = tmp_path / "other"
    assert run_main(("train", *TINY, "--seed", "1", "--out", other)) == 0
    told = [json.loads((folder / "summary.json").read_text()) for folder in (trained, other)]
    record = kept(root, [trained, other], timed=(other,))
    f = record["figures"]
    assert f["accuracy"]["mean"] == pytest.approx(statistics.fmean(t["accuracy"] for t in told))
    assert (f["runs"], f["timed"]) == (2, 1)
    assert f["train_s"] == pytest.approx(told[1]["seconds"]["train"], rel=1e-6)
    assert "--seed SEED --set" in record["commands"][0]
    assert "--set net.widths=[8, 8, 8]" in record["commands"][0]
    (curve, _), (history, _) = (
        runs.KIND.draw(record, root / "again"),
        [r["history"] for r in record.lines(runs.RUNS)],
    )
    assert curve.stat().st_size < 40_000
    assert history["epoch"] == [1, 2]
    shutil.copytree(other, tmp_path / "third")
    (tmp_path / "third" / "recipe.toml").write_text((other / "recipe.toml").read_text() + "\n")
    with pytest.raises(SystemExit, match="more than one recipe"):
        store.keep("it", [other, tmp_path / "third"], Given(), root)


WATCHED = {
    "train_s": 90.0,
    "eval_s": 8.0,
    "accuracy": 94.03,
    "seed": 7,
    "history": [{"epoch": i + 1, "train_s": 45.0 * (i + 1), "test_accuracy": 80.0 + 6 * i} for i in range(2)],
    "command": "python port.py --watch --seed 7",
}


def test_a_run_of_another_program_is_kept_beside_and_drawn(root, tmp_path, trained):
    port = tmp_path / "port.json"
    port.write_text(json.dumps(WATCHED))
    record = kept(root, [trained, port], timed=(port,))
    assert record["commands"][1] == "python port.py --watch --seed 7"
    assert record["figures"]["peers"] == {"port": {"accuracy": 94.03, "train_s": 90, "eval_s": 8}}
    told = (record.folder / README).read_text()
    assert "beside it `port`, seed 7." in told
    assert "- port: 94.03%; 90.0 s of training, 8.00 s of evaluation\n" in told
    assert "| 94.03 |  | 90 (n=1) | 8 |" in (root / "docs" / "results.md").read_text()
    ours, peer = pools([record])
    assert (peer.name, peer.accuracy.mean, peer.seconds("train_s")) == ("port", 94.03, 90)
    assert runs.as_asked(runs.peers(record)[0]) == "python port.py --seed {seed}"
    picture = runs.KIND.draw(record, root / "again")[-1]
    words = picture.read_text()
    assert "94.03% after 90.0 s" in words
    assert f">patterns:200,50, {record['machine']['cores']} cores of" in words
    assert f"{ours.accuracy.mean:.2f}% after" in words
    assert picture.stat().st_size < 40_000
    with pytest.raises(SystemExit, match=r"port\.json: a run of another program"):
        store.keep("it", [port], Given(), root)


def test_the_race_shows_every_epoch_and_where_each_ends():
    slow = Curve("port", ((40.0, 75.0), (80.0, 90.0)), 80.0, 94.0)
    fast = Curve.of("ours", {"train_s": [10, 20, 30], "test_accuracy": [70.0, None, 93.0]}, 31.0, 94.26)
    assert fast.points == ((10, 70.0), (30, 93.0))
    (ax,) = race([fast, slow], 94.0, "two").axes
    drawn = {tuple(line.get_xdata()): list(line.get_ydata()) for line in ax.lines}
    assert drawn[10, 30, 31] == [height(70), height(93), height(94.26)]
    assert drawn[40, 80, 80] == [height(75), height(90), height(94)]
    assert drawn[0, 1] == [height(94)] * 2
    assert {text.get_text() for text in ax.texts} == {
        "ours\n94.26% after 31.0 s",
        "the Muon recipe\n94.00% after 80.0 s",
        "94%",
    }
    assert ax.get_title(loc="left") == "two"
    low, high = ax.get_ylim()
    assert low < height(70)
    assert high > height(94.26)
    assert height(80) - height(60) == pytest.approx(height(90) - height(80))


def test_experiments_come_to_the_same_from_what_is_kept(root, tmp_path):
    old = Record(RECORDS / "explain-cpu")
    topics = ("ghost-norm", "weight-norms")
    for topic in topics:
        told = {"topic": topic, **old["topics"][topic], "machine": old["machine"]}
        (tmp_path / topic).mkdir()
        (tmp_path / topic / "results.json").write_text(
            json.dumps({**told, "answer": "", "results": old.json(f"{topic}.json")})
        )
    record = kept(root, [tmp_path / topic for topic in topics])
    assert record["commands"] == [f"hotlap explain {topic}" for topic in topics]
    discover()["explain"].draw(record, root / "again")
    for topic in topics:
        assert record.json(f"{topic}.json") == old.json(f"{topic}.json")
        assert record["figures"][topic] == old["figures"][topic]
        assert old["figures"][topic] in (root / "docs" / "results.md").read_text()
        assert str(escape(old["figures"][topic])) in (root / "again" / topic / "report.html").read_text()


def test_a_profile_comes_to_the_same_from_what_is_kept(root, tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "measure_peaks", lambda _: PEAKS)
    found = clocked(program(small("muon94"), NOISE))
    profile_page.save(found, tmp_path / "p", MACHINE)
    record = kept(root, [tmp_path / "p"])
    assert record["commands"] == ["hotlap profile mine"]
    assert record["figures"]["mine"]["flop_per_s"] == pytest.approx(found.rate, rel=1e-7)
    assert profile_page.summary(found)[0] in (record.folder / README).read_text()
    discover()["profile"].draw(record, root / "again")
    assert page(root / "again") == page(tmp_path / "p")


def test_a_ladder_comes_to_the_same_from_what_is_kept(root, tmp_path):
    rows = compare([rung("page/09-batch-768", 200.0), rung("page/10-resnet9", 90.0)])
    told = {"depth": "projected", "machine": MACHINE, "rungs": [ladder_page.as_json(row) for row in rows]}
    (tmp_path / "l.json").write_text(json.dumps(told))
    record = kept(root, [tmp_path / "l.json"], commands=("hotlap ladder page/09-batch-768 page/10-resnet9",))
    assert ladder.rows(record) == rows
    assert record["figures"]["seconds"] == {"page/09-batch-768": 200.0, "page/10-resnet9": 90.0}
    assert (
        "| `page/10-resnet9` | 1 | 1 | 1 | 0% | ~90 | 110 | 55% | 79 | 75 | 94.08 |"
        in (root / "docs" / "results.md").read_text()
    )
    ladder_page.draw_page(rows, MACHINE, "cpu", tmp_path / "l")
    discover()["ladder"].draw(record, root / "again")
    assert page(root / "again") == page(tmp_path / "l")
    with pytest.raises(SystemExit, match="--command says which"):
        store.keep("it", [tmp_path / "l.json"], Given(), root)


def test_a_search_keeps_each_try_as_what_it_changed(root, tmp_path):
    base = tiny().text()
    other = tiny(**{"loss.smoothing": 1 / 3}).text().replace('name = "demo"', 'name = "other"')
    rows = [("demo", base, 0, 80.0), ("other", other, 0, 90.0), ("other", other, 1, 91.0)]
    (tmp_path / "s").mkdir()
    with (tmp_path / "s" / "runs.jsonl").open("w") as file:
        for name, text, seed, accuracy in rows:
            run = {"name": name, "seed": seed, "flops": 10**12, "steps": 5, "accuracy": accuracy}
            run |= {
                "one_view": accuracy - 1,
                "train_s": 2.0,
                "eval_s": 1.0,
                "machine": MACHINE,
                "recipe": text,
            }
            file.write(json.dumps(run) + "\n")
    record = kept(root, [tmp_path / "s"], commands=("python benchmarks/search/search.py it.toml",))
    assert record.recipe(record["base"]) == base
    assert [run["changes"] for run in record.lines(search.RUNS)] == [{}, *[{"loss.smoothing": 1 / 3}] * 2]
    assert "| other | 2 | 1.0 | 5 | 90.50 | 89.50 | 2.0 |" in (root / "docs" / "results.md").read_text()


def test_a_script_has_to_say_what_made_it(root, tmp_path):
    held = Record(RECORDS / "cpu-engine").json("cpu_speed.json")
    (tmp_path / "cpu_speed.json").write_text(json.dumps({**held, "machine": {"cpu": "x"}, "command": None}))
    with pytest.raises(SystemExit, match="give --command"):
        store.keep("it", [tmp_path / "cpu_speed.json"], Given(), root)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"other\.json: none of what hotlap measures"):
        store.keep("it", [tmp_path / "other.json"], Given(), root)


def test_a_recipe_goes_with_the_last_record_that_names_it(root, trained):
    record = kept(root, [trained])
    (recipe,) = (root / "records" / RECIPES).iterdir()
    assert recipe.name == record["resolved"]
    shutil.rmtree(record.folder)
    store.write(root)
    assert not list((root / "records" / RECIPES).iterdir())


def test_json_is_laid_out_to_be_read_and_loses_nothing_that_counts():
    value = {
        "seconds": 229.2071229374924,
        "flops": 205523453214720,
        "row": [{"x": [768, 24, 17, 17], "name": "a" * 60, "ms": [1 / 3] * 4, "more": "b" * 40}] * 2,
        "curve": [i / 7 for i in range(200)],
        "empty": [],
    }
    text = document(value)
    read = json.loads(text)
    assert read["flops"] == value["flops"]
    assert read["seconds"] == pytest.approx(value["seconds"], rel=1e-7)
    assert read["curve"] == pytest.approx(value["curve"], rel=1e-7, abs=1e-9)
    rows = text.splitlines()
    assert sum("aaaa" in row for row in rows) == 2
    assert all(len(row) <= FILL for row in rows if "aaaa" not in row)
    assert len(rows) < 40
    assert line(value).count("\n") == 1
