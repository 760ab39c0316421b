"""How long a run would take, from a few of its steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from hotlap.engine.clock import wait_for
from hotlap.engine.program import Program
from hotlap.engine.structure import Structure
from hotlap.engine.views import VIEWS, together, view_logits

Now = Callable[[], float]
Block = tuple[int, int]  # steps, the second exclusive


@dataclass(frozen=True)
class Projection:
    """A run's time, projected from measured parts.

    Attributes:
        begin_s: before the first step: whitening, preprocessing the set on the host, and the projected time
            of a proxy net that is trained first.
        epoch_s: at the start of each epoch: drawing, starting loader processes, filling their queues.
        step_s: one step, averaged over the run's kinds of steps; each kind is the median of those timed.
        spread: half the distance between the quartiles of the timed steps, as a share of their median.
        wait_share: of the timed steps, spent waiting for batches from the host.
        timed_steps: how many steps were timed.
        steps, epochs: of the whole run; epochs that were begun.
        images_per_s: at that step time.
        train_s: begin_s + epochs * epoch_s + steps * step_s.
        eval_s: the final evaluation with its views, from one batch of test images.
        scale_s: seconds of a step by the scale of its images, the mean over its kinds.
    """

    begin_s: float
    epoch_s: float
    step_s: float
    spread: float
    wait_share: float
    timed_steps: int
    steps: int
    epochs: int
    images_per_s: float
    train_s: float
    eval_s: float
    scale_s: tuple[tuple[float, float], ...] = ()


def project(program: Program, measure_s: float, now: Now = time.perf_counter) -> Projection:
    """Time some steps of each kind that the run has, and project its whole.

    Steps are of one kind if the same parameters learn at the same resolution. The program is left in the
    middle of a run; `begin` starts it anew.

    Args:
        program: compiled and uploaded.
        measure_s: seconds to spend on timing steps; every kind gets at least two steps.
    """
    begin_s = time_begin(program, measure_s / 2, now)
    kinds = kinds_of_step(program)
    run = program.run
    timed(program, lambda: run(0, 1), now)  # the very first step also makes kernels and buffers
    waited, start = program.feed.wait_s, now()
    times = {
        kind: time_steps(program, steps, measure_s * len(steps) / program.steps, now)
        for kind, steps in kinds.items()
    }
    wait_share = (program.feed.wait_s - waited) / max(now() - start, 1e-9)
    medians = {kind: statistics.median(t) for kind, t in times.items()}
    step_s = sum(medians[kind] * len(steps) for kind, steps in kinds.items()) / program.steps
    epochs = -(-program.steps // program.steps_per_epoch)
    epoch_s = time_epoch_start(program, now) if epochs > 1 else 0.0
    relative = sorted(t / medians[kind] for kind, ts in times.items() for t in ts)
    return Projection(
        begin_s,
        epoch_s,
        step_s,
        spread=(relative[-1 - len(relative) // 4] - relative[len(relative) // 4]) / 2,
        wait_share=wait_share,
        timed_steps=len(relative),
        steps=program.steps,
        epochs=epochs,
        images_per_s=program.plan.batch_size / step_s,
        train_s=begin_s + epochs * epoch_s + program.steps * step_s,
        eval_s=time_evaluation(program, now),
        scale_s=by_scale(medians, kinds),
    )


def by_scale(
    medians: dict[tuple[object, ...], float], kinds: dict[tuple[object, ...], list[int]]
) -> tuple[tuple[float, float], ...]:
    """Seconds of a step by the scale of its images, from the medians of the kinds of steps."""
    sums: dict[float, tuple[float, int]] = {}
    for kind, steps in kinds.items():
        scale = float(str(kind[0]))
        total, count = sums.get(scale, (0.0, 0))
        sums[scale] = total + medians[kind] * len(steps), count + len(steps)
    return tuple((scale, total / count) for scale, (total, count) in sorted(sums.items()))


def time_begin(program: Program, measure_s: float, now: Now) -> float:
    """Seconds before the first step: what is computed from the images, and a proxy net's projected run."""
    before = 0.0
    if isinstance(prelude := program.feed.prelude, Program):
        before = project(prelude, measure_s, now).train_s
        program.feed.assume_prelude()
    return before + timed(program, lambda: program.begin(0), now)


def timed(program: Program, do: Callable[[], object], now: Now) -> float:
    """Seconds that `do` takes until the device is done with it."""
    wait_for(program.backend.device)
    start = now()
    do()
    wait_for(program.backend.device)
    return now() - start


def kinds_of_step(program: Program) -> dict[tuple[object, ...], list[int]]:
    """The steps of each kind: by resolution and by which groups of parameters learn."""

    def kind(structure: Structure) -> tuple[object, ...]:
        return structure.scale, *(phase is not None for phase in structure.phases)

    kinds: dict[tuple[object, ...], list[int]] = {}
    for span in program.spans:
        kinds.setdefault(kind(span.structure), []).extend(range(span.start, span.stop))
    return kinds


def time_steps(program: Program, steps: list[int], measure_s: float, now: Now) -> list[float]:
    """Seconds a step, of the first of `steps`, one after another until the time is used up.

    On CUDA several steps are timed together, so that they queue up as they do in a run.
    """
    size = 16 if program.backend.device.type == "cuda" else 1
    found: list[float] = []
    spent = 0.0
    steps = [s for s in steps if s % program.steps_per_epoch] or steps  # an epoch's start is timed by itself
    for n, (start, stop) in enumerate(blocks(steps, size, program.steps_per_epoch)):
        seconds = timed(program, lambda start=start, stop=stop: program.run(start, stop), now)  # type: ignore[misc]
        if n == 0:
            continue  # new shapes make new kernels and buffers
        found.append(seconds / (stop - start))
        spent += seconds
        if spent >= measure_s:
            break
    return found or [seconds / (stop - start)]


def blocks(steps: list[int], size: int, per_epoch: int) -> Iterable[Block]:
    """Stretches of up to `size` consecutive steps that do not cross an epoch."""
    first = steps[0]
    for before, step in zip(steps, [*steps[1:], None], strict=True):
        joined = step == before + 1 and step % per_epoch != 0 and step - first < size
        if not joined:
            yield first, before + 1
            first = -1 if step is None else step


def time_epoch_start(program: Program, now: Now) -> float:
    """What the first step of an epoch takes beyond the next one."""
    first = program.steps_per_epoch
    seconds = [timed(program, lambda i=i: program.run(i, i + 1), now) for i in (first, first + 1)]  # type: ignore[misc]
    return max(0.0, seconds[0] - seconds[1])


@torch.no_grad()
def time_evaluation(program: Program, now: Now) -> float:
    """Seconds of the final evaluation, from one batch of the test images, the second of two."""
    plan, images = program.plan.evaluation, program.test_set
    count = min(together(images), len(images))
    index = torch.arange(count, device=images.labels.device)
    weights = program.evaluation_weights()
    program.model.eval()
    one = [
        timed(program, lambda: view_logits(program.model, weights, images, index, "none"), now)
        for _ in range(2)
    ][1]
    program.model.train()
    views = len(VIEWS[plan.tta])
    looks = views if plan.share == 1 or views == 1 else 1 + plan.share * views
    return one * looks * len(images) / count


def warm_up(program: Program) -> None:
    """One step of each kind on random images, so that the first run finds the kernels and buffers that later
    ones find. `begin` starts anew. On CUDA compiling has done it."""
    if program.backend.device.type == "cuda":
        return
    program.train_set.images.random_(256)
    program.feed.assume_prelude()
    program.begin(0)
    for steps in kinds_of_step(program).values():
        program.run(steps[0], steps[0] + 1)
