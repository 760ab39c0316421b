"""Where time is counted. The intervals never overlap and are never mixed.

=========  ==============================================================================================
interval   what
=========  ==============================================================================================
`cold`     process start (from Python: the call) to the first step, less `load` and `compile`
`load`     reading the data set from disk and moving it to the device
`compile`  measuring and building what a machine lacks yet; compile, capture and warm-up, on dummy data
`train`    from uint8 data on the device to the final weights
`eval`     the final evaluation with its views
`watch`    evaluations, checkpoints and logs between epochs, which no claim counts
=========  ==============================================================================================
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Interval = Literal["load", "compile", "train", "eval", "watch"]


class Clock:
    """Seconds by interval, on a wall clock that waits for the device before it reads.

    On CUDA each stretch is also timed by device events; `drift` keeps the largest disagreement.

    Args:
        device: what to wait for.
        age_s: seconds already spent that count as `cold`; see `process_age`.
    """

    def __init__(self, device: torch.device, age_s: float = 0.0):
        self.device = device
        self.seconds: dict[str, float] = dict.fromkeys(("load", "compile", "train", "eval", "watch"), 0.0)
        self.drift = 0.0
        self._started = time.perf_counter()
        self._before = age_s
        self._running: str | None = None
        self.cold: float | None = None

    @contextmanager
    def measure(self, interval: Interval) -> Iterator[None]:
        """Count the time inside as `interval`. Intervals do not nest."""
        if self._running is not None:
            raise RuntimeError(f"the clock counts {self._running} already; {interval} cannot start inside it")
        if interval == "train" and self.cold is None:
            spent = self.seconds["load"] + self.seconds["compile"] + self.seconds["watch"]
            self.cold = self._before + time.perf_counter() - self._started - spent
        self._running = interval
        events = self._events()
        self._wait()
        start = time.perf_counter()
        if events:
            events[0].record()
        try:
            yield
        finally:
            if events:
                events[1].record()
            self._wait()
            elapsed = time.perf_counter() - start
            self.seconds[interval] += elapsed
            self._running = None
            if events:
                self.drift = max(self.drift, abs(elapsed - events[0].elapsed_time(events[1]) / 1e3))

    def _wait(self) -> None:
        wait_for(self.device)

    def _events(self) -> list[torch.cuda.Event] | None:
        if self.device.type != "cuda":
            return None
        return [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def summary(self) -> dict[str, float]:
        """All intervals in seconds, `cold` first, and `train_and_eval`, airbench's clock."""
        both = self.seconds["train"] + self.seconds["eval"]
        return {"cold": self.cold or 0.0, **self.seconds, "train_and_eval": both}


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def process_age() -> float:
    """Seconds since this process started, as the kernel counts them; 0 where it does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as f:
            ticks = int(f.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
