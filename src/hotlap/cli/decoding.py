"""What is shown while images of one's own are decoded: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hotlap.cli.output import Output

PLAIN_EVERY_S = 10.0


class Decoding:
    """Told how far decoding is; `tell` is `hotlap.data.load`'s `progress`. A context manager."""

    def __init__(self, out: Output):
        self.out = out
        self.console = out.console()
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.said = time.monotonic()

    def __enter__(self) -> Decoding:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar, if there is one."""
        if self.bar:
            self.bar.stop()
            self.bar = self.task = None

    def tell(self, done: int, total: int, rate: float) -> None:
        """So many images of so many are done; so many a second are decoded."""
        if self.console.is_terminal:
            if self.bar is None:
                columns = (
                    TextColumn("decoding"),
                    BarColumn(40),
                    TextColumn("{task.completed:,.0f}/{task.total:,.0f} images, {task.fields[rate]:,.0f}/s"),
                    TimeRemainingColumn(),
                )
                self.bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=4)
                self.task = self.bar.add_task("decoding", total=total, rate=rate)
                self.bar.start()
            assert self.task is not None
            self.bar.update(self.task, completed=done, rate=rate)
            if done >= total:
                self.close()
        elif time.monotonic() - self.said > PLAIN_EVERY_S:
            self.said = time.monotonic()
            self.out.note(f"decoded {done:,} of {total:,} images, {rate:,.0f} images/s")
