"""SIGINT and SIGTERM while something runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal and its state was saved; `resume` is the line that goes on."""

    def __init__(self, resume: str):
        super().__init__(resume)
        self.resume = resume


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are noted in, so that the step under way ends first.

    A second SIGINT interrupts at once. Outside the main thread signals are left alone.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        old = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def terminated_as_interrupted(*more: int) -> Iterator[None]:
    """Let SIGTERM, and those named, raise KeyboardInterrupt, so that a peer under way is ended too.

    SIGINT does so by itself, but not in a process that was started in the background, which ignores it.
    Outside the main thread signals are left alone.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, *more)}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def resumable(line: str) -> Iterator[None]:
    """Let SIGINT and SIGTERM end what keeps what it has done by itself, with the line that goes on.

    Raises:
        Interrupted: after one of these.
    """
    try:
        with terminated_as_interrupted(signal.SIGINT):
            yield
    except KeyboardInterrupt:
        raise Interrupted(line) from None
