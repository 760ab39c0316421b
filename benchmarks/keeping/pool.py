"""Runs of the same recipe on the same kind of processor, together, from whichever records they are in."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from hotlap.measure.stats import Mean, mean_of
from hotlap.recipes import BUILTIN
from keeping.kinds import bench, runs
from keeping.record import Record, processor


@dataclass(frozen=True)
class Run:
    """One run: its record, seed, test accuracy in percent, None where it diverged; seconds, None where they
    are not to be quoted."""

    record: Record
    seed: int
    accuracy: float | None
    train_s: float | None
    eval_s: float | None


@dataclass(frozen=True)
class Pool:
    """Runs that differ in their seeds alone.

    Args:
        name: the built-in recipe that trains so today, or what it was called; a peer's name.
        today: whether the built-in recipe of that name still trains so.
        recipe: its file in records/recipes; empty for a peer.
        processor, arithmetic: what they ran on and in.
        target: percent; None where there is none.
    """

    name: str
    today: bool
    recipe: str
    data: str
    processor: str
    arithmetic: str
    target: float | None
    runs: list[Run] = field(default_factory=list)

    @property
    def accuracy(self) -> Mean:
        return mean_of([r.accuracy for r in self.runs if r.accuracy is not None])

    @property
    def at_target(self) -> int:
        reached = [r.accuracy for r in self.runs if r.accuracy is not None]
        return sum(self.target is not None and accuracy >= self.target for accuracy in reached)

    @property
    def records(self) -> list[Record]:
        return list(dict.fromkeys(r.record for r in self.runs))

    def seconds(self, of: str) -> float | None:
        """The median of `train_s` or `eval_s` over the runs that were timed."""
        found = [getattr(r, of) for r in self.runs if getattr(r, of) is not None]
        return statistics.median(found) if found else None


def essence(text: str) -> frozenset[str]:
    """A resolved recipe's lines, but for its name, its data and the numerics a machine may choose."""
    return frozenset(t for t in text.splitlines() if not t.startswith(("name =", "data =", "numerics.")))


@cache
def builtin() -> dict[str, frozenset[str]]:
    return {name: essence(recipe.text()) for name, recipe in BUILTIN.items()}


def today(name: str, text: str) -> str | None:
    """The built-in recipe that trains so today. A text from before some keys were there says less; what it
    says has to be so."""
    lines = essence(text)
    found = [known for known, has in builtin().items() if lines <= has]
    return name if name in found else next(iter(found), None)


def pools(records: Sequence[Record]) -> list[Pool]:
    """All runs of records of runs and of benchmarks, by recipe, data and processor."""
    found: dict[tuple[object, ...], Pool] = {}

    def pool(record: Record, name: str, text: str, file: str, how: str, target: float | None) -> Pool:
        where = processor(record["machine"])
        known = today(name, text) if file else None
        key = (known or essence(text), record["data"], where, how)
        if key not in found:
            now = known is not None or not file
            found[key] = Pool(known or name, now, file, record["data"], where, how, target)
        return found[key]

    for record in records:
        if record["kind"] == "runs":
            how, target, file = runs.arithmetic(record), record["target"], record["resolved"]
            held = pool(record, record["recipe"], record.recipe(file), file, how, target)
            for r in record.lines(runs.RUNS):
                quiet = r["seconds"] if r["timed"] else {}
                run = Run(record, r["seed"], r["accuracy"], quiet.get("train"), quiet.get("eval"))
                held.runs.append(run)
            for p in runs.peers(record):
                seconds = (p["train_s"], p["eval_s"]) if p["timed"] else (None, None)
                held = pool(record, p["name"], runs.as_asked(p), "", "", target)
                held.runs.append(Run(record, p["seed"], p["accuracy"], *seconds))
        if record["kind"] == "bench":
            every = bench.runs(record)
            for c in record["contenders"]:
                file = c.get("recipe", "")
                text = record.recipe(file) if file else c["command"]
                held = pool(record, c["name"], text, file, c.get("arithmetic", ""), c["target"])
                for r in every:
                    if r.contender == c["name"]:
                        seconds = (None, None) if r.accuracy is None else (r.train_s, r.eval_s)
                        held.runs.append(Run(record, r.seed, r.accuracy, *seconds))
    return [p for p in found.values() if any(r.accuracy is not None for r in p.runs)]
