"""A record's README, and the list of all records."""

from __future__ import annotations

from collections.abc import Sequence

from keeping.kinds import Kind
from keeping.record import README, RECIPES, SUMMARY, Record, machine, table
from keeping.text import document

COMMAND = "python benchmarks/record.py"


def summary_of(record: Record, kind: Kind) -> str:
    """`summary.json` with its figures made anew."""
    told = {k: v for k, v in record.summary.items() if k != "figures"}
    return document({**told, "figures": kind.figures(record)})


def readme(record: Record, kind: Kind) -> str:
    """What was measured, by which command, on which machine, and what it came to."""
    others = sorted(p.name for p in record.folder.iterdir() if p.name != README)
    note = f" {record['note']}." if record["note"] else ""
    draws = f" Pages and pictures again: `{COMMAND} --draw {record.name}`." if kind.draw else ""
    lines = [
        f"# {record.name}",
        "",
        kind.what(record),
        "",
        *("    " + command for command in record["commands"]),
        "",
        f"On {machine(record['machine'])}.{note}",
        "",
        *(f"- {text}" for text in kind.said(record)),
        "",
        f"Written by `{COMMAND}` from {', '.join(others)}.{draws}",
    ]
    return "\n".join(lines) + "\n"


def index(records: Sequence[Record], kinds: dict[str, Kind]) -> str:
    rows = [(f"[{r.name}]({r.name}/)", kinds[r["kind"]].what(r), machine(r["machine"])) for r in records]
    lines = [
        "# Records",
        "",
        f"What was measured, a folder each: `{README}` (what, command, machine, figures), `{SUMMARY}`,",
        f"and the runs; in [{RECIPES}/]({RECIPES}/) every resolved recipe that was run, as `hotlap train`",
        "takes it. All tables are in [docs/results.md](../docs/results.md). All of this is written by",
        f"`{COMMAND}`; do not edit it. `{COMMAND} NAME FOLDER` keeps",
        f"what hotlap left in a folder, `{COMMAND} --draw NAME` draws a record's pages again.",
        "",
        *table(("record", "what", "machine"), rows),
    ]
    return "\n".join(lines) + "\n"
