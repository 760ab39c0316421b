"""Full runs of one recipe on one data set, each with another seed: `hotlap train`.

Beside them a record may hold runs of other programs that say their test accuracy after each epoch, as
benchmarks/muon_port.py --watch does in a JSON file: `peers.jsonl`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hotlap.data.cifar import SETS
from hotlap.measure.stats import mean_of
from hotlap.recipes import BUILTIN
from hotlap.report.curve import save_curve
from hotlap.report.page import digits
from hotlap.report.plots import save_figure
from keeping.kinds import Files, Given, Kind, head
from keeping.race import Curve, race
from keeping.record import RECIPES, SUMMARY, Record, machine, processor, recipe_file, table
from keeping.text import line, rounded

RECIPE, RUNS, PEERS, RACE = "recipe.toml", "runs.jsonl", "peers.jsonl", "race.svg"
SHARED = ("recipe", "data", "target", "views", "view_share", "precision", "memory_format", "kernels")
SHARED = (*SHARED, "epochs", "steps", "parameters", "device", "compile")
OWN = ("seed", "accuracy", "single_view_accuracy", "test_loss", "seconds")
TOLD = ("seed", "accuracy", "train_s", "eval_s")  # of another program's run
CURVE = ("epoch", "step", "train_loss", "train_accuracy", "test_accuracy", "train_s")


def takes(path: Path) -> bool:
    return (path / "metrics.jsonl").is_file() or is_peer(path)


def is_peer(path: Path) -> bool:
    """Whether a file is what another program said of a run, its accuracy after each epoch among it."""
    if path.suffix != ".json" or not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    return isinstance(found, dict) and all(key in found for key in ("command", "history", *TOLD))


def collect(paths: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    peers = [path for path in paths if is_peer(path)]
    folders = [path for path in paths if path not in peers]
    if not folders:
        raise SystemExit(f"{peers[0]}: a run of another program is kept beside those of a recipe")
    runs = [json.loads((folder / SUMMARY).read_text(encoding="utf-8")) for folder in folders]
    texts = {(folder / RECIPE).read_text(encoding="utf-8") for folder in folders}
    if len(texts) > 1 or len({r["data"] for r in runs}) > 1:
        raise SystemExit("these runs are of more than one recipe or data set")
    recipe, first = texts.pop(), runs[0]
    file = recipe_file(recipe)
    files = {f"../{RECIPES}/{file}": recipe, RUNS: ""}
    for folder, run in zip(folders, runs, strict=True):
        rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        own = {**{k: run[k] for k in OWN}, "timed": folder in given.timed}
        files[RUNS] += line({**own, "history": columns([json.loads(t) for t in rows])})
    asked = changed(first["recipe"], recipe)
    commands = [f"hotlap train {first['recipe']} --data {first['data']} --seed SEED{asked}"]
    for path in peers:
        told = json.loads(path.read_text(encoding="utf-8"))
        commands.append(told["command"])
        own = {"name": path.stem, **told, "timed": path in given.timed}
        files[PEERS] = files.get(PEERS, "") + line({**own, "history": columns(told["history"])})
    shared = {k: first[k] for k in SHARED if k in first}
    return {**head("runs", given, commands, first["machine"]), **shared, "resolved": file}, files


def columns(history: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """What is kept of a run's rows, by what it is."""
    return {k: [rounded(row.get(k), 5) for row in history] for k in CURVE if k in history[0]}


def as_asked(peer: dict[str, Any]) -> str:
    """The command of another program's run as `hotlap bench` has it: whatever the seed, watched or not."""
    command = str(peer["command"]).replace(" --watch", "")
    return command.replace(f"--seed {peer['seed']}", "--seed {seed}")


def peers(record: Record) -> list[dict[str, Any]]:
    """The runs of other programs."""
    return record.lines(PEERS) if (record.folder / PEERS).exists() else []


def changed(name: str, text: str) -> str:
    """What was set on the command line: where the run's resolved text differs from the recipe's."""
    if name not in BUILTIN:
        return ""
    ours, theirs = (set(t.splitlines()) for t in (text, BUILTIN[name].text()))
    return "".join(f" --set {t.replace(' = ', '=')}" for t in sorted(ours - theirs))


def figures(record: Record) -> dict[str, Any]:
    runs = record.lines(RUNS)
    accuracies, target = [r["accuracy"] for r in runs], record["target"]
    found = mean_of(accuracies)
    quiet = [r["seconds"] for r in runs if r["timed"]]
    others = {p["name"]: {k: p[k] for k in ("accuracy", "train_s", "eval_s")} for p in peers(record)}
    return {
        "runs": found.n,
        "accuracy": {"mean": found.mean, "sd": found.sd, "interval": found.interval},
        "at_target": None if target is None else sum(a >= target for a in accuracies),
        "single_view": statistics.fmean(r["single_view_accuracy"] for r in runs),
        "timed": len(quiet),
        "train_s": statistics.median(s["train"] for s in quiet) if quiet else None,
        "eval_s": statistics.median(s["eval"] for s in quiet) if quiet else None,
        "counted_s": statistics.median(s["train"] + s["eval"] for s in quiet) if quiet else None,
        **({"peers": others} if others else {}),
    }


def arithmetic(record: Record) -> str:
    """As `hotlap bench` says it."""
    own = record.summary.get("kernels", "none")
    words = [record["precision"], record["memory_format"].replace("_", "-")]
    return ", ".join(words + ([] if own == "none" else [f"own kernels ({own})"]))


def what(record: Record) -> str:
    seeds = ", ".join(str(r["seed"]) for r in record.lines(RUNS))
    count = record["figures"]["runs"]
    beside = "".join(f", beside it `{p['name']}`, seed {p['seed']}" for p in peers(record))
    return (
        f"`{record['recipe']}` on {record['data']}, {'seed' if count == 1 else 'seeds'} {seeds};"
        f" in {arithmetic(record)}{beside}."
    )


def said(record: Record) -> list[str]:
    f, runs = figures(record), record.lines(RUNS)
    a = f["accuracy"]
    spread = "" if a["sd"] is None else f" (sd {a['sd']:.2f}; {each(record)})"
    target = "" if record["target"] is None else f", {f['at_target']} of {f['runs']} at {record['target']:g}"
    views = f"{record['views']} views" if record["views"] > 1 else "one view"
    lines = [f"{a['mean']:.2f}%{spread} from {views}{target}; {f['single_view']:.2f}% from one view"]
    if record["views"] == 1:
        lines = [f"{a['mean']:.2f}%{spread} from one view{target}"]
    if f["timed"]:
        lines.append(f"{digits(f['train_s'])} s of training, {digits(f['eval_s'])} s of evaluation{of(f)}")
    else:
        every = [r["seconds"]["train"] for r in runs]
        lines.append(f"{digits(statistics.median(every))} s of training beside other work: not to be quoted")
    return lines + [
        f"{p['name']}: {p['accuracy']:.2f}%; {digits(p['train_s'])} s of training, {digits(p['eval_s'])} s of"
        f" evaluation{'' if p['timed'] else ', beside other work: not to be quoted'}"
        for p in peers(record)
    ]


def each(record: Record) -> str:
    return ", ".join(f"{r['accuracy']:.2f}" for r in record.lines(RUNS))


def of(f: dict[str, Any]) -> str:
    if f["runs"] == f["timed"] == 1:
        return ""
    return f" (median of {f['timed']})" if f["timed"] > 1 else " (the one run that was timed)"


def section(records: Sequence[Record]) -> list[str]:
    rows = []
    for record in records:
        f = figures(record)
        a, target = f["accuracy"], record["target"]
        sd = "" if a["sd"] is None else f" ± {a['sd']:.2f}"
        rows.append(
            (
                f"[{record.name}](../records/{record.name}/)",
                f"`{record['commands'][0]}`",
                f"{a['mean']:.2f}{sd} ({each(record)})",
                "" if target is None else f"{f['at_target']} of {f['runs']} at {target:g}",
                f"{f['train_s']:.0f} (n={f['timed']})" if f["timed"] else "not timed",
                f"{f['eval_s']:.0f}" if f["timed"] else "",
                f"{machine(record['machine'])}; {arithmetic(record)}",
            )
        )
        rows += [
            (
                f"[{record.name}](../records/{record.name}/)",
                f"`{p['command']}`",
                f"{p['accuracy']:.2f}",
                "",
                f"{p['train_s']:.0f} (n=1)" if p["timed"] else "not timed",
                f"{p['eval_s']:.0f}" if p["timed"] else "",
                machine(record["machine"]),
            )
            for p in peers(record)
        ]
    intro = (
        "Test accuracies in percent with the recipe's own views, every run counted. Seconds are medians over"
        " the runs that had the machine to themselves."
    )
    names = ("record", "command", "mean ± sd (each run)", "target", "train s", "eval s", "machine")
    return [intro, "", *table(names, rows)]


def draw(record: Record, folder: Path) -> list[Path]:
    made = []
    folder.mkdir(parents=True, exist_ok=True)
    for run in record.lines(RUNS):
        kept = run["history"]
        history = [dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)]
        about = {**record.summary, **run}
        made.append(save_curve(about, history, folder / f"curve-s{run['seed']}.svg"))
    if peers(record):
        made.append(beside(record, folder / RACE))
    return [path for path in made if path is not None]


def beside(record: Record, path: Path) -> Path:
    """The first run, and those of other programs, in one picture."""
    first, *_ = record.lines(RUNS)
    ours = Curve.of(record["recipe"], first["history"], first["seconds"]["train"], first["accuracy"])
    others = [Curve.of(p["name"], p["history"], p["train_s"], p["accuracy"]) for p in peers(record)]
    data = SETS[record["data"]].title if record["data"] in SETS else record["data"]
    where = f"{data}, {record['machine']['cores']} cores of {processor(record['machine'])}"
    return save_figure(race([ours, *others], record["target"], where), path)


KIND = Kind("runs", "Runs of one recipe", takes, collect, figures, what, said, section, draw)
