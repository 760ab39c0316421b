"""A run that is to end at a given time: epochs and resolution chosen before it starts, and again on the way.

A machine that others use is now faster and now slower, by more than a tenth. So a run looks at the clock
after each tenth of its way, and where it would end too early or too late the rest of it is made longer or
shorter: the same share of the schedule is left, in more or fewer steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.data.loading import Resolution
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.errors import UserError
from hotlap.inspect.throughput import Projection, project
from hotlap.machine.backend import Backend
from hotlap.plan import Plan
from hotlap.plan.recipe import Recipe, Set

MEASURE_S = 1.5  # to time steps in, and at most a hundredth of the time there is
LEAST_STEPS = 10  # after a classifier was fitted; fewer would change nothing
LEAST_EPOCHS = 5.0  # with fewer, more of the run is on smaller images
SMALLER = (Resolution((0.6,), (0.75,)), Resolution((0.75,), (0.5,)))
END_S = 2.0  # for analysis, report and files, beside the final evaluation
OFF = 0.02  # of the whole time, that the end may be off before the rest is made anew
LOOKS = 10  # at the clock, over a run
MOST_CHANGE = 2.0  # of the rest's length at one look: a moment's standstill is not the machine's speed


@dataclass(frozen=True)
class Deadline:
    """When a run is to end.

    Args:
        start: `time.monotonic()` when the time began.
        seconds: of the whole run, from then on.
    """

    start: float
    seconds: float

    @property
    def left_s(self) -> float:
        return self.start + self.seconds - time.monotonic()


def steps_in_time(program: Program, deadline: Deadline) -> tuple[Program, Projection] | None:
    """The program with as many steps as there is time for, and what was timed; None if that is too few to be
    worth it."""
    found = project(program, min(MEASURE_S, deadline.seconds / 100))
    epochs = epochs_in(found, program, deadline.left_s)
    if epochs * program.steps_per_epoch < LEAST_STEPS:
        return None
    return of_length(program, round(epochs * program.steps_per_epoch)), found


def fit_to_time(
    plan: Plan,
    dataset: Dataset,
    backend: Backend,
    start: Mapping[str, Tensor] | None,
    deadline: Deadline,
) -> tuple[Program, Projection, str]:
    """A program whose run ends when it should, compiled and with its images; what was timed of it; and in
    words how it was fitted.

    Raises:
        UserError: the time is not enough for a single step.
    """
    program: Program | None = None
    for smaller in (None, *SMALLER):
        tried = plan if smaller is None else replace(plan, resolution=smaller)
        try:
            made = lower(tried, dataset, backend, start, program)
        except UserError:
            if program is None:
                raise
            break  # images this small do not fit the net
        made.compile()
        if program is None:
            made.upload()
        program = made
        found = project(program, min(MEASURE_S, deadline.seconds / 100))
        epochs = epochs_in(found, program, deadline.left_s)
        if epochs >= LEAST_EPOCHS:
            break
    assert program is not None
    if epochs * program.steps_per_epoch < 1:
        raise UserError(
            f"--minutes {deadline.seconds / 60:g}: too short for a step of {found.step_s:.1f} s; give more"
        )
    fitted = replace(program.plan, epochs=epochs)
    small = f", at first on images of {smaller.scale[0]:g} of the side" if smaller is not None else ""
    words = (
        f"{deadline.seconds / 60:g} minutes: {epochs:.1f} epochs at {found.images_per_s:,.0f} images/s{small}"
    )
    return lower(fitted, dataset, backend, start, program), found, words


def epochs_in(found: Projection, program: Program, left_s: float) -> float:
    """Epochs that there is time for, the evaluations after each and at the end counted; 0 or more."""
    spare = left_s - END_S - 1.5 * found.eval_s - found.begin_s
    a_step = found.step_s + (found.epoch_s + watch_s(found)) / program.steps_per_epoch
    return max(0.0, spare / a_step / program.steps_per_epoch)


def watch_s(found: Projection) -> float:
    """Seconds after each epoch: an evaluation from one view, and a saved state."""
    return found.eval_s / 2 + 0.1


def stretched(program: Program, step: int, rest_s: float, end_s: float, deadline: Deadline) -> Program | None:
    """The program for the rest of a run at `step`, if it would else end more than a little off the deadline.

    Args:
        rest_s: seconds that the rest of the steps would take, with all that is done between them.
        end_s: seconds that what comes after the last step will take.

    Returns:
        A program of another number of steps that stands where this one does; `step_of` says at which step.
    """
    left_s = deadline.left_s - end_s
    if abs(left_s - rest_s) < OFF * deadline.seconds:
        return None
    times = min(MOST_CHANGE, max(1 / MOST_CHANGE, left_s / rest_s))
    plan = replace(program.plan, epochs=max(times * program.plan.epochs, 2 / program.steps_per_epoch))
    made = lower(plan, program.dataset, program.backend, program.start, program)
    take_over(made, program, step)
    return made


def step_of(made: Program, program: Program, step: int) -> int:
    """Where in `made` a run stands that stands at `step` of `program`: at the same share of the way."""
    return min(made.steps - 1, round(step / program.steps * made.steps))


def take_over(made: Program, program: Program, step: int) -> None:
    """Copy all that training changes; what was recorded of each step goes to where those steps are now."""
    made.compile()
    state, at = program.state(), step_of(made, program, step)
    index = (torch.arange(at) * step // max(at, 1)).to(program.losses.device)
    for name in ("losses", "accuracies"):
        recorded = torch.zeros_like(made.losses)
        recorded[:at] = state[name][index]
        state[name] = recorded
    made.load_state(state, program.seed)


def of_length(program: Program, steps: int) -> Program:
    """The program with another number of steps, if it has not that already."""
    if steps < 1 or steps == program.steps:
        return program
    epochs = steps / program.steps_per_epoch
    plan = replace(program.plan, epochs=epochs)
    made = lower(plan, program.dataset, program.backend, program.start, program)
    made.compile()
    return made


def timed(recipe: Recipe, plan: Plan) -> Recipe:
    """The recipe with the epochs and the resolution that a timed run came to."""
    sets = [
        Set("epochs", plan.epochs),
        Set("resolution.until", list(plan.resolution.until)),
        Set("resolution.scale", list(plan.resolution.scale)),
    ]
    return recipe.then(recipe.name, *sets, summary=recipe.summary)


class Pace:
    """Looks at the clock now and then, and says when the rest of a run should be longer or shorter.

    How fast the machine is now, against when its steps were timed, is what the last tenth of the run says;
    small images early in a run do not look like a fast machine.

    Args:
        deadline: None never does.
        timed: what was timed of the run before it started; None where there is no deadline.
        step: where the run stands.
    """

    def __init__(self, deadline: Deadline | None, timed: Projection | None, program: Program, step: int):
        self.deadline = deadline
        self.scale_s = dict(timed.scale_s) if timed else {}
        self.eval_s = timed.eval_s if timed else 0.0
        self.looked, self.at = time.monotonic(), step
        self.next = self._next(program, step)

    def _next(self, program: Program, step: int) -> int:
        return step + max(1, program.steps // LOOKS)

    def timed_s(self, program: Program, start: int, stop: int) -> float:
        """Seconds of the steps from `start` to `stop` when they were timed."""
        spans = ((s.structure.scale, max(start, s.start), min(stop, s.stop)) for s in program.spans)
        return sum(self.scale_s[scale] * max(0, b - a) for scale, a, b in spans)

    def look(self, program: Program, step: int) -> Program | None:
        """A program for the rest of the run, if this one would end too early or too late."""
        if self.deadline is None or step < self.next or step >= program.steps - 1:
            return None
        now = time.monotonic()
        slower = (now - self.looked) / max(self.timed_s(program, self.at, step), 1e-9)
        self.looked, self.at, self.next = now, step, self._next(program, step)
        rest_s = slower * self.timed_s(program, step, program.steps)
        end_s = END_S + 1.2 * slower * self.eval_s
        return stretched(program, step, rest_s, end_s, self.deadline)

    def moved(self, made: Program, program: Program, step: int) -> int:
        """The run goes on in `made`; the step it stands at there."""
        self.at = step_of(made, program, step)
        self.next = self._next(made, self.at)
        return self.at
