"""Where a run's seconds go: `hotlap profile`. A record may hold several, as with kernels and without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hotlap.measure.profile import RunProfile
from hotlap.measure.profile_page import draw_page, from_json, labels, seconds_table, summary
from keeping.kinds import Files, Given, Kind, head
from keeping.record import Record, table
from keeping.text import document

FILE = "profile.json"


def collect(folders: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    held = {folder.name: json.loads((folder / FILE).read_text(encoding="utf-8")) for folder in folders}
    first = next(iter(held.values()))
    if len({json.dumps(h["machine"]) for h in held.values()}) > 1:
        raise SystemExit("these profiles are of more than one machine")
    names = {name: FILE if len(held) == 1 else f"profile-{name}.json" for name in held}
    files = {names[name]: document(asdict(from_json(h))) for name, h in held.items()}
    return head("profile", given, [f"hotlap profile {first['recipe']}"], first["machine"]), files


def profiles(record: Record) -> dict[str, RunProfile]:
    """A record's profiles by the names of their files, less what all have in common."""
    return {
        path.stem.removeprefix("profile").strip("-"): from_json(record.json(path.name))
        for path in record.files("profile*.json")
    }


def figures(record: Record) -> dict[str, Any]:
    return {
        name or found.recipe: {
            "recipe": found.recipe,
            "arithmetic": found.arithmetic,
            "train_s": found.train_s,
            "eval_s": found.eval_s,
            "looks_s": found.looks_s,
            "flops": found.flops,
            "flop_per_s": found.rate,
            "of_the_fastest_convolution": found.reach,
            "products_done": found.done,
            "step_ms": dict(zip(labels(found), (1e3 * s.step_s for s in found.stretches), strict=True)),
            "kinds_s": {k: v for k, v in found.kinds.items() if v},
        }
        for name, found in profiles(record).items()
    }


def what(record: Record) -> str:
    names = {found.recipe for found in profiles(record).values()}
    return f"Where the seconds of {' and '.join(f'`{n}`' for n in sorted(names))} go."


def said(record: Record) -> list[str]:
    lines = []
    for name, found in profiles(record).items():
        first, rate, *_ = summary(found)
        steps = zip(labels(found), found.stretches, strict=True)
        each = ", ".join(f"{1e3 * s.step_s:,.0f} ms a step ({label})" for label, s in steps)
        lines += [f"{name}: {first}" if name else first, rate, f"{each}."]
    return lines


def section(records: Sequence[Record]) -> list[str]:
    lines = [
        "Seconds are projected from timed steps. Products count whether a kernel does or saves them, so that"
        " a rate can lie above that of the fastest convolution which does them all."
    ]
    for record in records:
        for name, found in profiles(record).items():
            lines += ["", f"### [{record.name}](../records/{record.name}/){f', {name}' if name else ''}", ""]
            top, *rows = seconds_table(found)
            lines += [" ".join(summary(found)), "", *table(top, rows)]
    return lines


def draw(record: Record, folder: Path) -> list[Path]:
    made = []
    for name, found in profiles(record).items():
        made += draw_page(found, folder / name, record["machine"]).values()
    return made


KIND = Kind(
    "profile",
    "Where the seconds go",
    lambda path: (path / FILE).is_file(),
    collect,
    figures,
    what,
    said,
    section,
    draw,
)
