"""A run up to its first step: data, arithmetic, weights, a classifier fitted first, the program."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.engine.clock import Clock
from hotlap.engine.evaluate import Score
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.inspect.throughput import Projection
from hotlap.machine.backend import Backend
from hotlap.machine.resolve import resolve
from hotlap.machine.telling import told
from hotlap.plan.start import FittedHead, ImageNet
from hotlap.runs.checkpoint import load_state
from hotlap.runs.fitted import fit_first, prepared, steps_after, suited
from hotlap.runs.folder import check_room, only_begun, write_rows, write_start
from hotlap.runs.loading import load_data
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.run import Run
from hotlap.runs.starting import starting_tensors
from hotlap.runs.timing import Deadline, fit_to_time, of_length, steps_in_time, timed


@dataclass(frozen=True)
class Ready:
    """A run that may take its next step.

    Args:
        run: with the length that it was given where it is a timed one.
        program: compiled, with its images.
        step: where it stands.
        history: rows so far.
        deadline: when it is to end; None where it is as long as it is.
        found: what was timed of its steps; None where nothing was.
        ended: what it scores, with the logits (N, classes), where no steps follow.
        more: what its summary says beside the usual.
    """

    run: Run
    program: Program
    step: int = 0
    history: list[Row] = field(default_factory=list)
    deadline: Deadline | None = None
    found: Projection | None = None
    ended: tuple[Score, Tensor] | None = None
    more: dict[str, Any] = field(default_factory=dict)


def made_ready(
    run: Run, reporter: Reporter, dataset: Dataset | None, clock: Clock, resume: bool, age_s: float
) -> Ready:
    """Everything before the first step, or the next one of a run that goes on.

    Raises:
        UserError: bad input of any kind.
    """
    began = time.monotonic() - age_s
    with clock.measure("load"):
        dataset = dataset or load_data(run, reporter)
    plan = run.recipe.plan()
    with clock.measure("compile"), told(reporter.note):  # where it is the first time: measured, kernels built
        backend = resolve(run.numerics or plan.numerics, clock.device)
    if resume and not (isinstance(plan.head, FittedHead) and only_begun(run.folder)):
        return resumed(run, dataset, backend, clock, reporter)
    deadline = Deadline(began, 60 * run.minutes) if run.minutes is not None else None
    if isinstance(plan.head, FittedHead):
        return fitted(run, dataset, backend, clock, reporter, deadline)
    starting = starting_tensors(plan, dataset.spec)
    if starting is not None:
        reporter.note(starting.remark)
    tensors = starting.tensors if starting else None
    found = None
    if deadline:
        with clock.measure("compile"):
            program, found, words = fit_to_time(plan, dataset, backend, tensors, deadline)
        reporter.note(words)
        run = replace(run, recipe=timed(run.recipe, program.plan))
    else:
        program = lower(plan, dataset, backend, tensors)
    check_room(run.folder, program)
    with clock.measure("compile"):
        program.compile()
    if not deadline:
        with clock.measure("load"):
            program.upload()
    write_start(run, program)
    reporter.start(run, program)
    return Ready(run, program, deadline=deadline, found=found)


def fitted(
    run: Run, dataset: Dataset, backend: Backend, clock: Clock, reporter: Reporter, deadline: Deadline | None
) -> Ready:
    """A run whose classifier is fitted first, with the steps that are to follow or that there is time for."""
    plan, dataset = run.recipe.plan(), prepared(run, dataset)
    with clock.measure("compile"):
        backend = suited(backend, plan, reporter.note)
    fit = fit_first(run, dataset, backend, clock, reporter)
    program, found = fit.program, None
    with clock.measure("compile"):
        program.compile()
        if deadline and (lengthened := steps_in_time(program, deadline)):
            program, found = lengthened
            run = replace(run, recipe=timed(run.recipe, program.plan))
            write_start(run, program)
    if not (found or (plan.epochs and not deadline)):
        none = {"epochs": 0.0, "steps": 0, "images": 0}
        return Ready(run, program, ended=(fit.score, fit.logits), history=[fit.row], more=fit.more | none)
    reporter.restart(program)
    return Ready(run, program, 0, [fit.row], deadline, found, more=fit.more)


def resumed(run: Run, dataset: Dataset, backend: Backend, clock: Clock, reporter: Reporter) -> Ready:
    """A run as its folder's saved state has it."""
    plan = run.recipe.plan()
    if isinstance(plan.head, FittedHead):
        dataset = prepared(run, dataset)
        plan = steps_after(plan, dataset)
    learnt = not isinstance(plan.start, ImageNet)
    starting = starting_tensors(plan, dataset.spec) if learnt else None
    program = lower(plan, dataset, backend, starting.tensors if starting else {})
    check_room(run.folder, program)
    with clock.measure("compile"):
        program.compile()
    with clock.measure("load"):
        program.upload()
    saved = load_state(run.folder)
    if run.minutes is not None:  # its length was changed on the way
        program = of_length(program, len(saved.tensors.get("losses", ())))
        run = replace(run, recipe=timed(run.recipe, program.plan))
    program.load_state(saved.tensors, saved.seed)
    write_rows(run.folder, saved.history)  # without what came after the state
    for interval, seconds in saved.seconds.items():
        clock.seconds[interval] += seconds
    run = replace(run, seed=saved.seed)
    reporter.start(run, program)
    return Ready(run, program, saved.step, saved.history)
