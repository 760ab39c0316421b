"""What a run tells while it goes."""

from __future__ import annotations

import sys
from typing import Any

from hotlap.engine.clock import Clock
from hotlap.engine.program import Program
from hotlap.runs.run import Run

Row = dict[str, Any]


class Reporter:
    """What a run tells while it goes; this one says nothing. Called between segments only."""

    def decoding(self, done: int, total: int, rate: float) -> None:
        """Images of one's own are being decoded: how many are done, of how many, and how many a second."""

    def looking(self, done: int, total: int, rate: float) -> None:
        """A net with learnt weights looks at images: so many are done, of so many, at a rate."""

    def start(self, run: Run, program: Program) -> None:
        """Everything is loaded and compiled; training starts now."""

    def restart(self, program: Program) -> None:
        """The rest of a timed run goes on in another number of steps."""

    def step(self, step: int, clock: Clock) -> None:
        """A segment is done."""

    def row(self, row: Row) -> None:
        """An epoch is done and evaluated."""

    def note(self, text: str) -> None:
        """A line for the user that belongs to no epoch."""


class PrintRows(Reporter):
    """One plain line an epoch on stderr, and what else there is to say, each once."""

    def __init__(self) -> None:
        self.noted: set[str] = set()

    def note(self, text: str) -> None:
        if text not in self.noted:
            self.noted.add(text)
            print(text, file=sys.stderr)

    def row(self, row: Row) -> None:
        test = "" if row["test_accuracy"] is None else f"  test {row['test_accuracy']:.2f}%"
        print(
            f"epoch {row['epoch']:>3}  loss {row['train_loss']:.3f}{test}  {row['train_s']:.1f} s",
            file=sys.stderr,
        )
