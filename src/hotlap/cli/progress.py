"""What `hotlap train` shows while it runs: one row an epoch, and a bar between rows on a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hotlap.cli.decoding import Decoding
from hotlap.cli.output import Output
from hotlap.engine.clock import Clock
from hotlap.engine.program import Program
from hotlap.machine.backend import Backend
from hotlap.plan.start import FittedHead
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.run import Run

HEAD = "epoch   train loss   train acc   test acc   seconds   images/s"
PLAIN_EVERY_S = 30.0  # without a terminal, a line at most this often between rows


class TerminalReporter(Reporter):
    """Rows and a bar on a terminal, plain throttled lines elsewhere. A context manager."""

    def __init__(self, out: Output):
        self.out = out
        self.console = out.console()
        self.images = Decoding(out)
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.batch = self.total = 0
        self.said = time.monotonic()

    def __enter__(self) -> TerminalReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.images.close()
        if self.bar:
            self.bar.stop()

    def decoding(self, done: int, total: int, rate: float) -> None:
        self.images.tell(done, total, rate)

    def start(self, run: Run, program: Program) -> None:
        self.batch, self.total = program.plan.batch_size, program.steps
        spec, backend = program.dataset.spec, program.backend
        parameters = sum(p.numel() for p in program.model.parameters() if p.requires_grad)
        self.out.say(
            f"{run.recipe.name} on {run.data} ({spec.train_count:,} + {spec.test_count:,} images),"
            f" seed {run.seed}: {parameters:,} parameters, {self._work(run)}"
        )
        self.out.say(describe_backend(backend))
        self.out.say(f"run folder: {run.folder}")
        self.out.say()
        self.out.say(HEAD)
        if self.console.is_terminal:
            columns = (
                BarColumn(40),
                TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=2)
            self.task = self.bar.add_task("train", total=self.total)
            self.bar.start()

    def _work(self, run: Run) -> str:
        if isinstance(run.recipe.plan().head, FittedHead):
            return "features once, then a classifier fitted on them"
        return f"{self.total} steps of {self.batch}"

    def looking(self, done: int, total: int, rate: float) -> None:
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, total=total)
        elif time.monotonic() - self.said > PLAIN_EVERY_S:
            self._line(f"  looked at {done:,} of {total:,} images, {rate:.0f} images/s")

    def restart(self, program: Program) -> None:
        self.total = program.steps
        if self.bar and self.task is not None:
            self.bar.update(self.task, total=self.total)

    def step(self, step: int, clock: Clock) -> None:
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=step)
        elif time.monotonic() - self.said > PLAIN_EVERY_S:
            rate = step * self.batch / clock.seconds["train"]
            self._line(f"  step {step} of {self.total}, {clock.seconds['train']:.0f} s, {rate:.0f} images/s")

    def row(self, row: Row) -> None:
        self._line(format_row(row))

    def note(self, text: str) -> None:
        self.out.note(text)

    def _line(self, text: str) -> None:
        self.said = time.monotonic()
        if self.bar:
            self.bar.console.print(text)
        else:
            self.out.say(text)


def format_row(row: dict[str, Any]) -> str:
    test = "" if row["test_accuracy"] is None else f"{row['test_accuracy']:.2f}%"
    return (
        f"{row['epoch']:>5}   {row['train_loss']:>10.4f}   {row['train_accuracy']:>8.2f}%   {test:>8}"
        f"   {row['train_s']:>7.1f}   {row['images_per_s']:>8.0f}"
    )


def describe_backend(backend: Backend) -> str:
    return f"on {backend.device} in {backend.in_words} ({backend.why})"
