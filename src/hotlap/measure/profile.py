"""Where the seconds of a run go: each kind of its steps looked into, and put together as the run has them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from hotlap.data.loading import sides
from hotlap.engine.program import Program
from hotlap.inspect.cost import step_flops
from hotlap.inspect.operations import KINDS, StepProfile, profile_steps
from hotlap.inspect.roofline import (
    Convolution,
    Peaks,
    TimedConvolution,
    convolutions,
    measure_peaks,
    time_convolution,
)
from hotlap.inspect.throughput import (
    Now,
    blocks,
    kinds_of_step,
    time_begin,
    time_epoch_start,
    time_evaluation,
    time_steps,
)
from hotlap.nets.build import build_net

OUTSIDE = "Python and gaps"
WATCHED = 3  # steps that the profiler looks at, of each kind


@dataclass(frozen=True)
class Stretch:
    """The steps of a run that are of one kind: the same parameters learn, at the same resolution.

    Args:
        steps: how many of them a run has.
        height, width: of the images, pixels.
        learning: how many parameters learn.
        step_s: the clock's mean seconds a step, in the run's own way of running it.
        profile: what the operations of a step take.
        flops: of a step.
        convolutions: each of a step's convolutions, timed by itself.
    """

    steps: int
    height: int
    width: int
    learning: int
    step_s: float
    profile: StepProfile
    flops: int
    convolutions: tuple[TimedConvolution, ...]

    @property
    def seconds(self) -> float:
        """Of the run."""
        return self.steps * self.step_s

    def spread(self, ms: float) -> float:
        """Seconds of the run for so many milliseconds of a profiled step, so that all come to `seconds`."""
        return self.seconds * ms / max(self.inside_ms, 1e3 * self.step_s)

    @property
    def inside_ms(self) -> float:
        """Of a profiled step, within operations."""
        return sum(self.profile.kinds.values())

    @property
    def kinds(self) -> dict[str, float]:
        """Seconds of the run by kind of operation, and outside of them."""
        found = {kind: self.spread(ms) for kind, ms in self.profile.kinds.items()}
        return {**found, OUTSIDE: self.spread(max(0.0, 1e3 * self.step_s - self.inside_ms))}


@dataclass(frozen=True)
class RunProfile:
    """Where the seconds of a run go.

    Args:
        recipe, arithmetic: its name; precision, layout and own kernels.
        itemsize: bytes of a number of the activations.
        stretches: in the order in which a run comes to them.
        looks_s: of all steps, by each of the looks at the clock that their `step_s` are the means of; how far
            they differ is how far the machine's speed drifted.
        begin_s, epoch_s, epochs: before the first step; at the start of each epoch; how many begin.
        eval_s: the final evaluation, projected from one batch.
        batch_size: images a step.
        peaks: of the machine.
    """

    recipe: str
    arithmetic: str
    itemsize: int
    stretches: tuple[Stretch, ...]
    looks_s: tuple[float, ...]
    begin_s: float
    epoch_s: float
    epochs: int
    eval_s: float
    batch_size: int
    peaks: Peaks

    @property
    def train_s(self) -> float:
        """Of training, projected."""
        return self.begin_s + self.epochs * self.epoch_s + self.steps_s

    @property
    def steps_s(self) -> float:
        """Of all steps, projected."""
        return sum(s.seconds for s in self.stretches)

    @property
    def flops(self) -> int:
        """Of all steps."""
        return sum(s.steps * s.flops for s in self.stretches)

    @property
    def rate(self) -> float:
        """FLOP/s over all steps."""
        return self.flops / self.steps_s

    @property
    def reach(self) -> float:
        """`rate` as a share of the convolution peak. All products count, so where convolutions save some
        (`done`) this can be more than 1."""
        return self.rate / self.peaks.convolution

    @property
    def done(self) -> float:
        """Of the convolutions' products, the share that is really done."""
        timed = [(s.steps, t) for s in self.stretches for t in s.convolutions]
        return sum(n * t.done for n, t in timed) / max(1, sum(n * t.convolution.flops for n, t in timed))

    @property
    def kinds(self) -> dict[str, float]:
        """Seconds of training by kind of operation, outside of them, and around the steps."""
        found = {k: sum(s.kinds[k] for s in self.stretches) for k in (*KINDS, OUTSIDE)}
        return {
            **found,
            "before the first step": self.begin_s,
            "starts of epochs": self.epochs * self.epoch_s,
        }

    @property
    def parts(self) -> dict[str, dict[str, float]]:
        """Seconds of the steps by part of the net and, in it, by kind of operation."""
        found: dict[str, dict[str, float]] = {}
        for stretch in self.stretches:
            for part, kinds in stretch.profile.parts.items():
                held = found.setdefault(part, dict.fromkeys(KINDS, 0.0))
                for kind, ms in kinds.items():
                    held[kind] += stretch.spread(ms)
        return found


def profile_run(
    program: Program,
    name: str,
    measure_s: float,
    tell: Callable[[str], None] = lambda _: None,
    now: Now = time.perf_counter,
) -> RunProfile:
    """Look into every kind of step that a run has, and time what is around them.

    Args:
        program: uploaded and not yet compiled, so that the profiler sees each operation; it is compiled here
            before steps are timed.
        name: the recipe's.
        measure_s: seconds to spend on timing steps, as `project` does.
        tell: told what is being done.
    """
    backend, plan = program.backend, program.plan
    tell("the machine's peaks")
    peaks = measure_peaks(backend)
    program.feed.assume_prelude()
    program.begin(0)
    kinds = list(kinds_of_step(program).values())
    seen = []
    for steps in kinds:
        start, stop = max(blocks(steps, WATCHED, program.steps_per_epoch), key=lambda b: b[1] - b[0])
        tell(f"steps {start + 1} to {stop} of {program.steps}, one operation at a time")
        seen.append(profile_steps(program, start, stop))
    tell("the clock's seconds a step, and each convolution by itself, in turn")
    program.compile()
    program.upload()
    begin_s = time_begin(program, measure_s / 2, now)
    program.run(0, 1)  # the very first step also makes kernels and buffers
    epochs = -(-program.steps // program.steps_per_epoch)
    epoch_s = time_epoch_start(program, now) if epochs > 1 else 0.0
    # a machine has fast and slow minutes, and a run its share of both: hence several looks, and their mean
    look = partial(seconds_a_step, program, kinds, measure_s / (1 + len(kinds)), now)
    looks = [look()]
    alone: dict[Convolution, TimedConvolution] = {}
    convolved = [convolutions_of(program, steps) for steps in kinds]
    for found in convolved:
        for convolution in found:
            key = replace(convolution, part="")
            if key not in alone:
                alone[key] = time_convolution(convolution, backend)
        looks.append(look())
    eval_s = time_evaluation(program, now)
    stretches = tuple(
        look_into(
            program,
            steps,
            statistics.fmean(step_s),
            profile,
            tuple(replace(alone[replace(c, part="")], convolution=c) for c in found),
        )
        for steps, profile, found, *step_s in zip(kinds, seen, convolved, *looks, strict=True)
    )
    counts = [len(steps) for steps in kinds]
    return RunProfile(
        name,
        backend.in_words,
        backend.dtype.itemsize,
        stretches,
        tuple(sum(n * s for n, s in zip(counts, step_s, strict=True)) for step_s in looks),
        begin_s,
        epoch_s,
        epochs,
        eval_s,
        plan.batch_size,
        peaks,
    )


def seconds_a_step(program: Program, kinds: list[list[int]], measure_s: float, now: Now) -> list[float]:
    """A look at the clock: mean seconds a step of each kind, each timed for its share of `measure_s`."""
    return [
        statistics.fmean(time_steps(program, steps, measure_s * len(steps) / program.steps, now))
        for steps in kinds
    ]


def scale_and_learning(program: Program, steps: list[int]) -> tuple[float, frozenset[str]]:
    """At what share of the images' side `steps` are taken, and the names of the parameters that learn."""
    structure = next(s.structure for s in program.spans if s.start <= steps[0] < s.stop)
    phases = zip(program.groups, structure.phases, strict=True)
    return structure.scale, frozenset(n for group, phase in phases if phase is not None for n in group.names)


def convolutions_of(program: Program, steps: list[int]) -> list[Convolution]:
    """The convolutions of each of `steps`, in the order in which it comes to them."""
    plan, spec = program.plan, program.dataset.spec
    scale, learning = scale_and_learning(program, steps)
    model = build_net(plan.net, spec).to("meta")
    shape = spec.channels, *sides(spec.height, spec.width, scale)
    return convolutions(model, shape, plan.batch_size, learning, program.backend.dtype)


def look_into(
    program: Program,
    steps: list[int],
    step_s: float,
    profile: StepProfile,
    timed: tuple[TimedConvolution, ...],
) -> Stretch:
    """The stretch of `steps`, with its arithmetic counted."""
    plan, spec = program.plan, program.dataset.spec
    scale, learning = scale_and_learning(program, steps)
    height, width = sides(spec.height, spec.width, scale)
    sizes = {n: p.numel() for n, p in program.model.named_parameters()}
    return Stretch(
        len(steps),
        height,
        width,
        sum(sizes[n] for n in learning),
        step_s,
        profile,
        step_flops(build_net(plan.net, spec).to("meta"), spec, plan.batch_size, learning, scale),
        timed,
    )
