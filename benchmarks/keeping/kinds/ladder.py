"""The rungs of a ladder, timed and projected or trained: `hotlap ladder ... --json > FILE`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hotlap.measure.ladder import Row
from hotlap.measure.ladder_page import draw_page, from_json
from hotlap.measure.ladder_page import table as rung_table
from keeping.kinds import Files, Given, Kind, head
from keeping.record import Record, table
from keeping.text import line

RUNGS = "rungs.jsonl"
KEPT = ("name", "epochs", "batch_size", "arithmetic", "projection", "runs", "diverged")


def held(path: Path) -> dict[str, Any]:
    """What the verb said; nothing if the file is no such thing."""
    if path.suffix != ".json" or not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) and "rungs" in found else {}


def collect(folders: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    if len(folders) > 1 or not given.commands:
        raise SystemExit("a ladder is one file of `hotlap ladder ... --json`, and --command says which")
    found = held(folders[0])
    files = {RUNGS: "".join(line({k: rung[k] for k in KEPT if k in rung}) for rung in found["rungs"])}
    return {**head("ladder", given, (), found["machine"]), "depth": found["depth"]}, files


def rows(record: Record) -> list[Row]:
    return from_json(record.lines(RUNGS))


def figures(record: Record) -> dict[str, Any]:
    return {
        "rungs": len(rows(record)),
        "seconds": {row.rung.name: row.rung.seconds for row in rows(record)},
    }


def what(record: Record) -> str:
    return f"{len(rows(record))} rungs of the ladder, {record['depth']}."


def said(record: Record) -> list[str]:
    story = [row.rung for row in rows(record) if not row.aside]
    ends = (story[0], min(story, key=lambda rung: rung.seconds))
    slow, fast = (f"`{rung.name}` {rung.seconds:,.0f} s" for rung in ends)
    return [f"from {slow} to {fast}", "each rung beside Page's: docs/results.md and the handbook"]


def section(records: Sequence[Record]) -> list[str]:
    lines = [
        "`~` is projected, not trained; accuracies are the published ones. What a rung buys is in seconds,"
        " and as a share of the rung it follows."
    ]
    for record in records:
        (first, *others), found = rung_table(rows(record)), record.name
        lines += ["", f"### [{found}](../records/{found}/): `{record['commands'][0]}`", ""]
        lines += table(first, [(f"`{name}`", *rest) for name, *rest in others])
    return lines


def draw(record: Record, folder: Path) -> list[Path]:
    return list(draw_page(rows(record), record["machine"], "cpu", folder).values())


KIND = Kind(
    "ladder", "The ladder", lambda path: bool(held(path)), collect, figures, what, said, section, draw
)
