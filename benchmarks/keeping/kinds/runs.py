"""Full runs of one recipe on one data set, each with another seed: `hotlap train`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hotlap.measure.stats import mean_of
from hotlap.recipes import BUILTIN
from hotlap.report.curve import save_curve
from hotlap.report.page import digits
from keeping.kinds import Files, Given, Kind, head
from keeping.record import RECIPES, SUMMARY, Record, machine, recipe_file, table
from keeping.text import line, rounded

RECIPE, RUNS = "recipe.toml", "runs.jsonl"
SHARED = ("recipe", "data", "target", "views", "view_share", "precision", "memory_format", "kernels")
SHARED = (*SHARED, "epochs", "steps", "parameters", "device", "compile")
OWN = ("seed", "accuracy", "single_view_accuracy", "test_loss", "seconds")
CURVE = ("epoch", "step", "train_loss", "train_accuracy", "test_accuracy", "train_s")


def collect(folders: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    runs = []
    for folder in folders:
        run = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        history = [json.loads(t) for t in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        run["history"], run["timed"] = history, folder in given.timed
        runs.append(run)
    texts = {(folder / RECIPE).read_text(encoding="utf-8") for folder in folders}
    if len(texts) > 1 or len({r["data"] for r in runs}) > 1:
        raise SystemExit("these runs are of more than one recipe or data set")
    return kept(runs, texts.pop(), given)


def kept(runs: Sequence[dict[str, Any]], recipe: str, given: Given) -> tuple[dict[str, Any], Files]:
    """Of runs with their `history` and whether their seconds count (`timed`)."""
    first = runs[0]
    asked = changed(first["recipe"], recipe)
    command = f"hotlap train {first['recipe']} --data {first['data']} --seed SEED{asked}"
    lines = []
    for run in runs:
        curve = {k: [rounded(row.get(k), 5) for row in run["history"]] for k in CURVE}
        lines.append(line({**{k: run[k] for k in OWN}, "timed": run["timed"], "history": curve}))
    shared = {k: first[k] for k in SHARED if k in first}
    file = recipe_file(recipe)
    files = {f"../{RECIPES}/{file}": recipe, RUNS: "".join(lines)}
    return {**head("runs", given, [command], first["machine"]), **shared, "resolved": file}, files


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
    return {
        "runs": found.n,
        "accuracy": {"mean": found.mean, "sd": found.sd, "interval": found.interval},
        "at_target": None if target is None else sum(a >= target for a in accuracies),
        "single_view": statistics.fmean(r["single_view_accuracy"] for r in runs),
        "timed": len(quiet),
        "train_s": statistics.median(s["train"] for s in quiet) if quiet else None,
        "eval_s": statistics.median(s["eval"] for s in quiet) if quiet else None,
        "counted_s": statistics.median(s["train"] + s["eval"] for s in quiet) if quiet else None,
    }


def arithmetic(record: Record) -> str:
    """As `hotlap bench` says it."""
    own = record.summary.get("kernels", "none")
    words = [record["precision"], record["memory_format"].replace("_", "-")]
    return ", ".join(words + ([] if own == "none" else [f"own kernels ({own})"]))


def what(record: Record) -> str:
    seeds = ", ".join(str(r["seed"]) for r in record.lines(RUNS))
    count = record["figures"]["runs"]
    return (
        f"`{record['recipe']}` on {record['data']}, {'seed' if count == 1 else 'seeds'} {seeds};"
        f" in {arithmetic(record)}."
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
    return lines


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
        columns = run["history"]
        history = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        about = {**record.summary, **run}
        made.append(save_curve(about, history, folder / f"curve-s{run['seed']}.svg"))
    return [path for path in made if path is not None]


KIND = Kind(
    "runs",
    "Runs of one recipe",
    lambda path: (path / "metrics.jsonl").is_file(),
    collect,
    figures,
    what,
    said,
    section,
    draw,
)
