"""What scripts of benchmarks/ measure, a JSON file each: kernels, steps, tricks, hotlap beside plain code."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeping.kinds import Files, Given, Kind, head
from keeping.record import SUMMARY, Record, machine, table
from keeping.text import document

Found = dict[str, Any]


@dataclass(frozen=True)
class Script:
    """What is read of a script's file.

    Args:
        has: keys that tell it from the others'.
        what: it measures.
        figures: those to quote.
        said: in a sentence.
        table: head and rows.
    """

    has: tuple[str, ...]
    what: str
    figures: Callable[[Found], dict[str, Any]]
    said: Callable[[Found], str]
    table: Callable[[Found], list[tuple[str, ...]]]


def kernel_rows(found: Found) -> list[tuple[str, ...]]:
    rows = [*found["rows"], {"what": "together", "flops": None, **kernel_figures(found)}]
    sides = ("ms", "pytorch_ms")
    limited = "limit_ms" in found  # records of before 2026-11-28 have none
    return [
        (
            *("operation", "ours, ms", "PyTorch's, ms", "times as fast", "ours, GFLOP/s"),
            *(("PyTorch's, GFLOP/s", "ours, of the limit", "PyTorch's, of the limit") if limited else ()),
        ),
        *(
            (
                r["what"],
                *(f"{r[side]:.1f}" for side in sides),
                f"{r['pytorch_ms'] / r['ms']:.2f}",
                *(
                    f"{r['flops'] / r[side] / 1e6:,.0f}" if r["flops"] else ""
                    for side in sides[: 1 + limited]
                ),
                *(f"{r['limit_ms'] / r[side]:.0%}" for side in sides if limited),
            )
            for r in rows
        ),
    ]


def kernel_figures(found: Found) -> dict[str, Any]:
    return {k: found[k] for k in ("ms", "pytorch_ms", "limit_ms") if k in found}


def speed_figures(found: Found) -> dict[str, Any]:
    medians = {side: statistics.median(rates) for side, rates in found["images_per_s"].items()}
    return {"ratio": found["ratio_median"], "ratios": found["ratios"], "images_per_s": medians}


def speed_rows(found: Found) -> list[tuple[str, ...]]:
    f = speed_figures(found)
    rates = [f"{f['images_per_s'][side]:,.0f}" for side in ("hotlap", "naive")]
    spread = f"{min(f['ratios']):.1f} to {max(f['ratios']):.1f}"
    return [
        ("hotlap, images/s", "naive port, images/s", "ratio", "from, to"),
        (*rates, f"{f['ratio']:.1f}", spread),
    ]


def overhead_figures(found: Found) -> dict[str, Any]:
    return {"ratio": found["ratio_median"], "quartiles": found["ratio_quartiles"], "pairs": found["pairs"]}


def overhead_rows(found: Found) -> list[tuple[str, ...]]:
    rates = [f"{found['images_per_s'][side]:,.0f}" for side in ("hotlap", "flat")]
    low, high = found["ratio_quartiles"]
    return [
        ("hotlap, images/s", "written flat, images/s", "ratio", "quartiles", "pairs"),
        (*rates, f"{found['ratio_median']:.3f}", f"{low:.3f} to {high:.3f}", str(found["pairs"])),
    ]


def trick_rows(found: Found) -> list[tuple[str, ...]]:
    return [
        ("trick", "each seed", "mean", "against plain"),
        *(
            (
                r["kind"],
                ", ".join(f"{a:.2f}" for a in r["accuracies"]),
                f"{statistics.fmean(r['accuracies']):.2f}",
                ""
                if r["kind"] == "plain"
                else f"{r['mean_difference']:+.2f} ± {standard_error(found, r):.2f}",
            )
            for r in found["rows"]
        ),
    ]


def standard_error(found: Found, row: Found) -> float:
    """Of the mean difference to the plain recipe, seed by seed."""
    pairs = zip(row["accuracies"], found["rows"][0]["accuracies"], strict=True)
    differences = [a - b for a, b in pairs]
    return statistics.stdev(differences) / len(differences) ** 0.5


def step_rows(found: Found) -> list[tuple[str, ...]]:
    head = (
        "recipe",
        "data",
        "steps",
        "of",
        "batch",
        "loss, first",
        "last",
        "s",
        "parameters",
        "TFLOP, whole run",
    )
    return [
        head,
        *(
            (
                r["recipe"],
                r["data"],
                str(r["steps"]),
                str(r["steps_of_the_recipe"]),
                str(r["batch_size"]),
                f"{r['first_loss']:.2f}",
                f"{r['last_loss']:.2f}",
                f"{r['seconds']:.0f}",
                f"{r['parameters']:,}",
                f"{r['training_flops'] / 1e12:,.0f}",
            )
            for r in found["runs"]
        ),
    ]


SCRIPTS = (
    Script(
        ("rows", "pytorch_ms"),
        "kernels of our own beside PyTorch's",
        kernel_figures,
        lambda f: (
            f"`{f['recipe']}`'s operations in batches of {f['batch']}: {f['ms']:.0f} ms a step by our"
            f" kernels, {f['pytorch_ms']:.0f} by PyTorch's"
        ),
        kernel_rows,
    ),
    Script(
        ("ratios", "ratio_median"),
        "hotlap beside a naive port",
        speed_figures,
        lambda f: (
            f"`muon94` against the naive port (fp32, contiguous, eager): {f['ratio_median']:.1f} times its"
            f" images per second ({min(f['ratios']):.1f} to {max(f['ratios']):.1f})"
        ),
        speed_rows,
    ),
    Script(
        ("ratio_quartiles", "pairs"),
        "hotlap beside the same step written flat",
        overhead_figures,
        lambda f: (
            f"`muon94` against the same step written flat by hand: {f['ratio_median']:.3f} times its images"
            f" per second (quartiles {f['ratio_quartiles'][0]:.3f} to {f['ratio_quartiles'][1]:.3f})"
        ),
        overhead_rows,
    ),
    Script(
        ("rows", "command"),
        "tricks beside the plain recipe, seed by seed",
        lambda f: {r["kind"]: statistics.fmean(r["accuracies"]) for r in f["rows"]},
        lambda f: "; ".join(f"{row[0]} {row[2]}%" for row in trick_rows(f)[1:]),
        trick_rows,
    ),
    Script(
        ("runs",),
        "the first steps of recipes, whether their losses fall",
        lambda f: {r["recipe"]: {k: r[k] for k in ("first_loss", "last_loss", "seconds")} for r in f["runs"]},
        lambda f: "; ".join(
            f"{r['recipe']} {r['first_loss']:.2f} to {r['last_loss']:.2f}" for r in f["runs"]
        ),
        step_rows,
    ),
)


def script(found: Any) -> Script | None:
    """How a script's file is read; None if it is no script's."""
    return next((s for s in SCRIPTS if isinstance(found, dict) and all(k in found for k in s.has)), None)


def takes(path: Path) -> bool:
    if path.suffix != ".json" or not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    return script(found) is not None and "machine" in found


def collect(folders: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    held = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folders}
    machines = [found.pop("machine") for found in held.values()]
    commands = [f["command"] for f in held.values() if isinstance(f.get("command"), str)]
    if not given.commands and len(commands) < len(held):
        raise SystemExit("these files do not say what made them: give --command")
    files = {name: document(found) for name, found in held.items()}
    return head("scripts", given, commands, machines[0]), files


def parts(record: Record) -> dict[str, tuple[Script, Found]]:
    """A record's files by name, and how each is read."""
    found = {p.stem: record.json(p.name) for p in record.files("*.json") if p.name != SUMMARY}
    read = {name: (script(held), held) for name, held in found.items()}
    return {name: (how, held) for name, (how, held) in read.items() if how is not None}


def figures(record: Record) -> dict[str, Any]:
    return {name: how.figures(found) for name, (how, found) in parts(record).items()}


def what(record: Record) -> str:
    text = "; ".join(how.what for how, _ in parts(record).values())
    return f"{text[0].upper()}{text[1:]}."


def said(record: Record) -> list[str]:
    return [how.said(found) for how, found in parts(record).values()]


def section(records: Sequence[Record]) -> list[str]:
    lines = ["By scripts of [benchmarks/](../benchmarks/)."]
    for record in records:
        commands = ", ".join(f"`{c}`" for c in record["commands"])
        where = f"{machine(record['machine'])}; {commands}{'; ' * bool(record['note'])}{record['note']}"
        lines += ["", f"### [{record.name}](../records/{record.name}/)", "", where]
        for how, found in parts(record).values():
            first, *rows = how.table(found)
            lines += ["", *table(first, rows)]
    return lines


KIND = Kind("scripts", "Scripts", takes, collect, figures, what, said, section)
