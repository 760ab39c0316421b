"""The experiments behind ideas: `hotlap explain TOPIC`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hotlap.cli.explain import save
from hotlap.explain import Outcome, discover
from keeping.kinds import Files, Given, Kind, head
from keeping.record import Record, table
from keeping.text import document

FILE = "results.json"
FACTS = ("question", "chapter", "data", "seeds", "quick", "seconds", "backend")


def collect(folders: Sequence[Path], given: Given) -> tuple[dict[str, Any], Files]:
    found = [json.loads((folder / FILE).read_text(encoding="utf-8")) for folder in folders]
    if len({json.dumps(f["machine"]) for f in found}) > 1:
        raise SystemExit("these experiments ran on more than one machine")
    commands = [f"hotlap explain {f['topic']}" for f in found]
    topics = {f["topic"]: {k: f[k] for k in FACTS} for f in found}
    files = {f"{f['topic']}.json": document(f["results"], digits=6) for f in found}
    return {**head("explain", given, commands, found[0]["machine"]), "topics": topics}, files


def outcomes(record: Record) -> dict[str, Outcome]:
    """What each topic's numbers come to, and its pictures."""
    texts = {name: (record.folder / f"{name}.json").read_text(encoding="utf-8") for name in record["topics"]}
    return {name: concluded(name, text) for name, text in texts.items()}


@cache
def concluded(topic: str, results: str) -> Outcome:
    return discover()[topic].conclude(json.loads(results))


def figures(record: Record) -> dict[str, str]:
    return {name: found.answer for name, found in outcomes(record).items()}


def what(record: Record) -> str:
    return f"The handbook's experiments: {', '.join(record['topics'])}."


def said(record: Record) -> list[str]:
    return [f"{name}: {text}" for name, text in record["figures"].items()]


def section(records: Sequence[Record]) -> list[str]:
    lines = ["The [handbook](handbook/README.md) tells what they mean."]
    for record in records:
        for name, found in outcomes(record).items():
            about = record["topics"][name]
            lines += ["", f"### {name}: {about['question']}", ""]
            lines += [f"[{record.name}](../records/{record.name}/), `hotlap explain {name}`. {found.answer}"]
            for titled in found.tables:
                lines += ["", f"{titled.title[0].upper()}{titled.title[1:]}:", ""]
                lines += table(titled.table.head, titled.table.rows)
    return lines


def draw(record: Record, folder: Path) -> list[Path]:
    made, known = [], discover()
    for name, found in outcomes(record).items():
        facts = {"topic": name, **record["topics"][name], "machine": record["machine"]}
        made += save(known[name], found, facts, folder / name)
    return made


KIND = Kind(
    "explain",
    "Experiments",
    lambda path: (path / FILE).is_file(),
    collect,
    figures,
    what,
    said,
    section,
    draw,
)
