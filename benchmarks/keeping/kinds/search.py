"""Changes to a recipe, tried on training images that are held out: benchmarks/search/search.py."""

from __future__ import annotations

import json
import statistics
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hotlap.plan.flat import from_nested
from keeping.kinds import Files, Given, Kind, head
from keeping.record import RECIPES, Record, recipe_file, table
from keeping.text import line

RUNS = "runs.jsonl"
OWN = ("name", "seed", "flops", "steps", "accuracy", "one_view", "train_s", "eval_s", "diverged")


def takes(path: Path) -> bool:
    runs = path / RUNS
    if not runs.is_file():
        return False
    first = json.loads(runs.read_text(encoding="utf-8").partition("\n")[0])
    return "one_view" in first and "recipe" in first


def collect(folders: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    if len(folders) > 1 or not given.commands:
        raise SystemExit("a search is one folder, and --command says which space it searched")
    texts = (folders[0] / RUNS).read_text(encoding="utf-8").splitlines()
    runs = [json.loads(text) for text in texts]
    base = runs[0]["recipe"]
    lines = [line({k: run[k] for k in OWN if k in run}, changes=changes(base, run["recipe"])) for run in runs]
    file = recipe_file(base)
    facts = {**head("search", given, (), runs[0]["machine"]), "base": file}
    return facts, {f"../{RECIPES}/{file}": base, RUNS: "".join(lines)}


def changes(base: str, text: str) -> dict[str, Any]:
    """What a try's plan has otherwise than the first one's; None where it has no such key."""
    old, new = (from_nested(tomllib.loads(t)) for t in (base, text))
    return {k: new.get(k) for k in sorted({*old, *new}) if k != "name" and old.get(k) != new.get(k)}


def tries(record: Record) -> list[dict[str, Any]]:
    """What each try came to, by its arithmetic."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in record.lines(RUNS):
        found.setdefault(run["name"], []).append(run)
    made = []
    for name, runs in found.items():
        good = [r for r in runs if r["accuracy"] is not None]
        made.append(
            {
                "name": name,
                "flops": runs[0]["flops"],
                "steps": runs[0]["steps"],
                "seeds": len(runs),
                "views": statistics.fmean(r["accuracy"] for r in good) if good else None,
                "one_view": statistics.fmean(r["one_view"] for r in good) if good else None,
                "train_s": statistics.fmean(r["train_s"] for r in runs),
            }
        )
    return sorted(made, key=lambda t: t["flops"])


def figures(record: Record) -> list[dict[str, Any]]:
    return tries(record)


def what(record: Record) -> str:
    return f"{len(tries(record))} tries on 5,000 training images held out, {len(record.lines(RUNS))} runs."


def said(record: Record) -> list[str]:
    best = max(tries(record), key=lambda t: t["views"] or 0.0)
    return [f"best: {best['name']}, {best['views']:.2f}% at {best['flops'] / 1e12:.1f} TFLOP"]


def section(records: Sequence[Record]) -> list[str]:
    lines = [
        "Accuracies are on 5,000 training images that were held out, means over the seeds: with the recipe's"
        " views, and from one view. FLOPs count all products of training."
    ]
    for record in records:
        lines += ["", f"### [{record.name}](../records/{record.name}/)", ""]
        lines += ["; ".join(part for part in (f"`{record['commands'][0]}`", record["note"]) if part), ""]
        head = ("try", "seeds", "TFLOP", "steps", "views %", "one view %", "train s")
        lines += table(head, [row(t) for t in tries(record)])
    return lines


def row(t: dict[str, Any]) -> tuple[str, ...]:
    reached = ("diverged", "") if t["views"] is None else (f"{t['views']:.2f}", f"{t['one_view']:.2f}")
    return (
        t["name"],
        str(t["seeds"]),
        f"{t['flops'] / 1e12:.1f}",
        str(t["steps"]),
        *reached,
        f"{t['train_s']:.1f}",
    )


KIND = Kind("search", "Searches", takes, collect, figures, what, said, section)
