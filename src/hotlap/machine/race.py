"""Which of several ways to do the same is fastest, in little time: on a few images first, then on more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

K = TypeVar("K")
Run = Callable[[], object]

TOTAL_S = 3.0  # for all that is measured of a machine
SHARE_S = TOTAL_S / 3  # of each: arithmetic, kernels, nets for photographs
NEAR = 2.0  # times the best: who is slower than this is not tried on more images
FAR, LONG_S = 8.0, 0.3  # whose first call takes that many times the best, and so long, is not called again
CALLS = 3  # of each that are timed, at most


def seconds(run: Run) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def race(
    entrants: Mapping[K, Callable[[int], Run]],
    sizes: Sequence[int],
    budget_s: float,
    timer: Callable[[Run], float] = seconds,
    alone: bool = False,
) -> dict[K, float]:
    """Seconds of each entrant on `sizes[-1]` images, its best; in proportion where it ran on fewer.

    All run in turn, so that a busy moment does not decide against one of them. The first call of each, in
    which a library makes itself ready, is not counted, unless it is so slow that there is no second. The
    first of several sizes is run on one thread: on so few images threads would wait for each other more
    than they work, on a busy machine above all.

    Args:
        entrants: by name, the likeliest first: for a number of images, what does the work on them.
        sizes: numbers of images, growing; the next is tried by those near each other, if there is time.
        budget_s: no call starts after this, but the first of two entrants. Who had none has no result.
        timer: times a call.
        alone: whether one that has no rival left goes on, for its time to be known better.
    """
    until = time.perf_counter() + budget_s
    threads = torch.get_num_threads() if len(sizes) > 1 else 1
    best: dict[K, float] = {}  # of those still running: seconds an image
    behind: dict[K, float] = {}  # the others: how many times slower than the best they were when they ended
    for i, size in enumerate(sizes):
        running, last = list(best or entrants), size == sizes[-1]
        if i:
            ahead = size * sum(best.values()) / (threads if i == 1 else 1)
            if (len(running) == 1 and not alone) or time.perf_counter() + ahead > until:
                break
        with one_thread():
            runs = {k: entrants[k](size) for k in running}
            took = in_turn(runs, until, timer, 2) if i == 0 and not last else {}
        took = took or in_turn(runs, until, timer, 1 if i else 2)
        if best and len(took) < len(running):  # cut off: what was found on fewer images stands
            break
        best = {k: min(s / size, best.get(k, math.inf)) for k, s in took.items()}
        least = min(best.values())
        behind |= {k: s / least for k, s in best.items() if s > NEAR * least}
        best = {k: s for k, s in best.items() if k not in behind}
    least = min(best.values())
    found = best | {k: times * least for k, times in behind.items()}
    return {k: sizes[-1] * found[k] for k in entrants if k in found}


def in_turn(runs: Mapping[K, Run], until: float, timer: Callable[[Run], float], sure: int) -> dict[K, float]:
    """Seconds of each, the best of some calls after a first one, or of those there is time for; of the first
    `sure` ones in any case."""
    best: dict[K, float] = {}
    again: list[K] = []
    for k, run in runs.items():
        if len(best) >= sure and time.perf_counter() > until:
            return best
        best[k] = timer(run)
        if not (best[k] > LONG_S and best[k] > FAR * min(best.values())):
            again.append(k)
            if len(best) <= sure or time.perf_counter() < until:
                best[k] = timer(run)
    for _ in range(CALLS - 1):
        for k in again:
            if time.perf_counter() + best[k] < until:
                best[k] = min(best[k], timer(runs[k]))
    return best


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
