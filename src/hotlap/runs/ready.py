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
from hotlap.errors import UserError
from hotlap.inspect.memory import largest_batch
from hotlap.inspect.throughput import Projection
from hotlap.machine.backend import Backend
from hotlap.machine.ranks import Ranks, joined
from hotlap.machine.resolve import resolve
from hotlap.machine.telling import told
from hotlap.plan import Plan
from hotlap.plan.recipe import Set
from hotlap.plan.start import FittedHead, ImageNet
from hotlap.runs.checkpoint import Saved, load_state
from hotlap.runs.fitted import fit_first, prepared, steps_after, suited
from hotlap.runs.folder import check_room, only_begun, write_rows, write_start
from hotlap.runs.loading import load_data
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.run import Run
from hotlap.runs.starting import starting_tensors
from hotlap.runs.timing import Deadline, fit_to_time, of_length, steps_in_time, timed

NONE = Saved({}, 0, 0, {}, [])  # in place of what rank 0 reads for all


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
    began, ranks = time.monotonic() - age_s, joined()
    plan = run.recipe.plan()
    check_together(run, plan, ranks)
    with clock.measure("load"), ranks.in_turn():
        dataset = dataset or load_data(run, reporter)
    with clock.measure("compile"), ranks.in_turn(), told(reporter.note):  # the first time: measured, built
        backend = resolve(run.numerics or plan.numerics, clock.device)
    backend = replace(ranks.same(backend), device=clock.device)
    if resume and not (isinstance(plan.head, FittedHead) and only_begun(run.folder)):
        return resumed(run, dataset, backend, clock, reporter)
    deadline = Deadline(began, 60 * run.minutes) if run.minutes is not None else None
    if isinstance(plan.head, FittedHead):
        return fitted(run, dataset, backend, clock, reporter, deadline)
    if run.fit_batch:
        run, plan = with_batch_that_fits(run, plan, dataset, backend, reporter)
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
        program = lower(plan, dataset, backend, tensors, ranks=ranks)
    if ranks.leads:
        check_room(run.folder, program)
    with clock.measure("compile"):
        program.compile()
    if not deadline:
        with clock.measure("load"):
            program.upload()
    if ranks.leads:
        write_start(run, program)
    reporter.start(run, program)
    return Ready(run, program, deadline=deadline, found=found)


def check_together(run: Run, plan: Plan, ranks: Ranks) -> None:
    """Whether several processes can do such a run.

    Raises:
        UserError: it is timed, or fits a classifier first, which one process does.
    """
    if ranks.count > 1 and run.minutes is not None:
        raise UserError("--minutes times one process; with several give --epochs")
    if ranks.count > 1 and isinstance(plan.head, FittedHead):
        raise UserError(
            f"{run.recipe.name}: a classifier is fitted by one process; start it without torchrun and"
            " --devices, or give another recipe"
        )


def with_batch_that_fits(
    run: Run, plan: Plan, dataset: Dataset, backend: Backend, reporter: Reporter
) -> tuple[Run, Plan]:
    """The run with a batch that the device's memory holds; rates stay as they are."""
    batch = joined().same(largest_batch(plan, dataset.spec, backend))
    if batch is None or batch == plan.batch_size:
        return run, plan
    reporter.note(f"batches of {plan.batch_size} do not fit in memory: {batch} do, and are taken")
    recipe = run.recipe.then(run.recipe.name, Set("batch_size", batch), summary=run.recipe.summary)
    return replace(run, recipe=recipe), recipe.plan()


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
    ranks = joined()
    program = lower(plan, dataset, backend, starting.tensors if starting else {}, ranks=ranks)
    if ranks.leads:
        check_room(run.folder, program)
    with clock.measure("compile"):
        program.compile()
    with clock.measure("load"):
        program.upload()
    saved = ranks.same(load_state(run.folder) if ranks.leads else NONE)
    if run.minutes is not None:  # its length was changed on the way
        program = of_length(program, len(saved.tensors.get("losses", ())))
        run = replace(run, recipe=timed(run.recipe, program.plan))
    program.load_state(saved.tensors, saved.seed)
    if ranks.leads:
        write_rows(run.folder, saved.history)  # without what came after the state
    for interval, seconds in saved.seconds.items():
        clock.seconds[interval] += seconds
    run = replace(run, seed=saved.seed)
    reporter.start(run, program)
    return Ready(run, program, saved.step, saved.history)
