"""Recipes and other programs in turn: `hotlap bench`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hotlap.measure.bench_folder import BenchFolder, Sitting
from hotlap.measure.bench_page import claim, comparison, draw_page, units
from hotlap.measure.standings import Standing, Summary, Timed, against, standing
from hotlap.report.page import digits
from keeping.kinds import Files, Given, Kind, head
from keeping.record import RECIPES, SUMMARY, Record, machine, recipe_file, table
from keeping.text import line

FACTS, RUNS, PEERS = "bench.json", "runs.jsonl", "peers.jsonl"


def collect(folders: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    if len(folders) > 1:
        raise SystemExit("a benchmark is one folder")
    folder = folders[0]
    held = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    runs = [asdict(run) for run in BenchFolder(folder).runs()]
    files = {RUNS: "".join(line({k: v for k, v in run.items() if v not in (None, {}, "")}) for run in runs)}
    contenders = []
    for c, s in zip(held["contenders"], summary["standings"], strict=True):
        if c["kind"] == "recipe":
            file = recipe_file(c["text"])
            files[f"../{RECIPES}/{file}"] = c["text"]
            about = {"recipe": file, "arithmetic": c["arithmetic"], "flops": s["flops"]}
        else:
            about = {"command": c["command"]}
        contenders.append({"name": c["name"], **about, "target": s["target"]})
    said = [last_object(path) for path in sorted(folder.glob("peers/*.out"))]
    if said:
        files[PEERS] = "".join(line(s) for s in said if s)
    command = re.sub(r" --out \S+", "", held["command"])
    facts = head("bench", given, [command], held["facts"])
    about = {k: held[k] for k in ("data", "seed", "device", "peaks")}
    return {**facts, **about, "guessing": summary.get("guessing", 0.0), "contenders": contenders}, files


def last_object(path: Path) -> dict[str, Any] | None:
    """What a peer said of its run: the last line that is a JSON object."""
    for text in reversed(path.read_text(encoding="utf-8").splitlines()):
        if text.startswith("{"):
            return dict(json.loads(text))
    return None


def runs(record: Record) -> list[Timed]:
    known = {"accuracy": None, "eval_s": None}
    return [Timed(**{**known, **run}) for run in record.lines(RUNS)]


def summary(record: Record) -> Summary:
    """The statistics of a record's runs."""
    every = runs(record)
    of = {c["name"]: [r for r in every if r.contender == c["name"]] for c in record["contenders"]}
    standings = []
    for c in record["contenders"]:
        how = c.get("arithmetic", "")
        peak = next((rate for name, rate in record["peaks"].items() if how.startswith(name)), None)
        standings.append(standing(of[c["name"]], c["target"], how, c.get("flops"), peak))
    first, *others = (of[c["name"]] for c in record["contenders"])
    ratios = [against(first, other) for other in others]
    return Summary(tuple(standings), tuple(r for r in ratios if r is not None), record["guessing"])


def figures(record: Record) -> dict[str, Any]:
    found = asdict(summary(record))
    return {k: found[k] for k in ("standings", "against")}


def what(record: Record) -> str:
    names = [f"`{c['name']}`" for c in record["contenders"]]
    rounds = len({r.round for r in runs(record)})
    turns = " in turn" if len(names) > 1 else ""
    ways = " and ".join(dict.fromkeys(c["arithmetic"] for c in record["contenders"] if "arithmetic" in c))
    return (
        f"{' and '.join(names)}{turns} on {record['data']}: {rounds} rounds, seeds from {record['seed']} on;"
        f" hotlap in {ways}."
    )


def said(record: Record) -> list[str]:
    found = summary(record)
    return [*map(claim, found.standings), *map(comparison, found.against)]


def row(record: Record, s: Standing) -> tuple[str, ...]:
    sd = "" if s.accuracy is None or s.accuracy.sd is None else f" ± {s.accuracy.sd:.2f}"
    share = "" if s.peak_share is None else f" ({100 * s.peak_share:.0f}%)"
    return (
        f"[{record.name}](../records/{record.name}/)",
        s.name,
        f"{record['data']}",
        f"{s.runs}",
        "diverged" if s.accuracy is None else f"{s.accuracy.mean:.2f}{sd}",
        f"{s.at_target.k} of {s.at_target.n} at {s.target:g}" if s.at_target else "",
        "" if s.train is None else digits(s.train.median) + (" (wall)" if "wall" in s.clock else ""),
        "" if s.eval is None else digits(s.eval.median),
        "" if s.flop_per_s is None else units(s.flop_per_s).strip() + share,
        "; ".join(part for part in (machine(record["machine"]), s.arithmetic) if part),
    )


HEAD = ("record", "contender", "data", "runs", "accuracy ± sd", "target", "train s", "eval s", "FLOP/s")


def section(records: Sequence[Record]) -> list[str]:
    lines = table((*HEAD, "machine"), [row(r, s) for r in records for s in summary(r).standings])
    ratios = [f"- {r.name}: {comparison(a)}" for r in records for a in summary(r).against]
    intro = (
        "Contenders in one sitting, in turn (ABBA). Seconds are medians over every run; FLOP/s are of"
        " training, with their share of the fastest convolution's on that machine. A contender is called as"
        " its recipe was then."
    )
    return [intro, "", *lines, "", *ratios]


def draw(record: Record, folder: Path) -> list[Path]:
    texts = {
        c["name"]: record.recipe(c["recipe"]) if "recipe" in c else c["command"] for c in record["contenders"]
    }
    about = (record[k] for k in ("data", "seed", "device"))
    sitting = Sitting(texts, *about, record["commands"][0], record["peaks"], record["machine"])
    return list(draw_page(sitting, runs(record), summary(record), folder).values())


KIND = Kind(
    "bench",
    "In turn",
    lambda path: (path / FACTS).is_file(),
    collect,
    figures,
    what,
    said,
    section,
    draw,
)
