"""What README.md shows of records: a race to 94%, and a table of hotlap and the published recipe in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hotlap.measure.standings import Standing
from hotlap.report.page import digits
from keeping.kinds import bench, runs
from keeping.pool import Pool, pools
from keeping.record import RECORDS, ROOT, Record, processor, table

PICTURES, PICTURED = ROOT / "docs" / "pictures", "fast94-race-cpu"


@dataclass(frozen=True)
class Entry:
    """A row: what is reached, and the record whose seconds are quoted; a peer in it ran in turn."""

    task: str
    record: str


ROWS = (
    Entry("94% of CIFAR-10", "fast94-pairs-cpu"),
    Entry("94% of CIFAR-10", "fast94-avx2-cpu"),
    Entry("94% of CIFAR-10", "fast94-pairs-amx-cpu"),
    Entry("95% of CIFAR-10", "fast95-cpu"),
    Entry("96% of CIFAR-10", "fast96-cpu"),
    Entry("75% of CIFAR-100", "fast100-cpu"),
)
# what a phone shows first comes first
HEAD = ("recipe", "to reach", "seconds", "the script's", "ratio", "accuracy", "two cores of")


def picture(folder: Path) -> Path:
    """The race, drawn into `folder`."""
    return runs.beside(Record(RECORDS / PICTURED), folder / runs.RACE)


def comparison(records: Mapping[str, Record], up: str) -> list[str]:
    found = pools(list(records.values()))
    return table(HEAD, [cells(entry, records[entry.record], found, up) for entry in ROWS])


def cells(entry: Entry, record: Record, found: list[Pool], up: str) -> tuple[str, ...]:
    pool = next(p for p in found if p.recipe and record in p.records)
    a = pool.accuracy
    name = f"`{pool.name}`" if pool.today else f"`{pool.name}` as it was"
    if record["kind"] == "runs":
        own, peer, ratio = runs.figures(record)["counted_s"], None, ""
    else:
        summary = bench.summary(record)
        own, *others = (counted(s) for s in summary.standings)
        peer = others[0] if others else None
        ratio = digits(summary.against[0].counted.ratio) if summary.against else ""
    return (
        name,
        entry.task,
        f"[{digits(own)}]({up}records/{record.name}/)",
        "" if peer is None else digits(peer),
        ratio,
        f"{a.mean:.2f}%{'' if a.sd is None else f' ± {a.sd:.2f}'} (n={a.n})",
        processor(record["machine"]),
    )


def counted(s: Standing) -> float:
    assert s.counted is not None, f"{s.name}: every run diverged"
    return s.counted.median
