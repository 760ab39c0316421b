"""A run from its start, or from its saved state, to its end: trained, watched, saved, evaluated."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from hotlap.data.dataset import Dataset
from hotlap.engine.clock import Clock
from hotlap.engine.diverged import diverged
from hotlap.engine.evaluate import evaluate
from hotlap.engine.loop import train
from hotlap.engine.program import Program
from hotlap.errors import UserError
from hotlap.files import write_atomic
from hotlap.inspect.memory import smaller_batch
from hotlap.machine.device import prepare
from hotlap.machine.memory import is_out_of_memory
from hotlap.machine.ranks import joined
from hotlap.machine.resolve import resolve
from hotlap.runs.checkpoint import save_state
from hotlap.runs.finishing import finish
from hotlap.runs.folder import append_row, check_free
from hotlap.runs.loading import load_data
from hotlap.runs.ready import made_ready
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.result import Result
from hotlap.runs.run import Run
from hotlap.runs.signals import Interrupted, stop_requests
from hotlap.runs.timing import Pace, timed

CHECKPOINT_S = 60.0  # a state is also written at the end of every epoch


def execute(
    run: Run,
    reporter: Reporter,
    *,
    resume: bool = False,
    checkpoint_s: float = CHECKPOINT_S,
    age_s: float = 0.0,
    setup_s: float = 0.0,
    dataset: Dataset | None = None,
) -> Result:
    """Train to the end, or until a signal stops it. Of several ranks all train, and rank 0 writes and tells.

    Args:
        run: what to train, on what, into which folder.
        reporter: told about progress between segments.
        resume: go on from the folder's state instead of starting.
        checkpoint_s: seconds between saved states.
        age_s: seconds spent before this call that count as `cold`, such as the process's start.
        setup_s: those of them in which the machine was measured, which count as `compile`.
        dataset: what to train on, where Python holds it; None loads what the run names.

    Raises:
        UserError: bad input of any kind; Diverged if the loss is no number.
        Interrupted: after SIGINT or SIGTERM, with the state saved.
    """
    try:
        return carried_out(run, reporter, resume, checkpoint_s, age_s, setup_s, dataset)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        plan, held = run.recipe.plan(), dataset or load_data(run, Reporter())
        backend = resolve(run.numerics or plan.numerics, prepare(joined().device(run.device), run.threads))
        raise UserError(
            f"out of memory with batches of {plan.batch_size} ({' '.join(str(error).split())[:120]}); about"
            f" {smaller_batch(plan, held.spec, backend)} should fit: --batch auto, or --batch N"
        ) from None


def carried_out(
    run: Run,
    reporter: Reporter,
    resume: bool,
    checkpoint_s: float,
    age_s: float,
    setup_s: float,
    dataset: Dataset | None,
) -> Result:
    """`execute`, and what goes wrong in it as it comes."""
    ranks = joined()
    if not ranks.leads:
        reporter = Reporter()
    elif not resume:
        check_free(run)
    clock = Clock(prepare(ranks.device(run.device), ranks.threads(run.threads)), age_s)
    clock.seconds["compile"] += setup_s
    ready = made_ready(run, reporter, dataset, clock, resume, age_s)
    run, program, history = ready.run, ready.program, ready.history
    if ready.ended:
        return finish(run, program, clock, history, reporter, ready.ended, ready.more)
    last_saved = time.monotonic()
    stride = 1 if program.backend.device.type == "cpu" else None
    step, pace = ready.step, Pace(ready.deadline, ready.found, program, ready.step)
    with stop_requests() as requested:
        while step < program.steps:
            for progress in train(program, clock, run.seed, step, stride):
                step = progress.step
                reporter.step(step, clock)
                due = progress.end_of_epoch or time.monotonic() - last_saved > checkpoint_s
                stop, due = ranks.any(bool(requested), due)
                with clock.measure("watch"):
                    if progress.end_of_epoch:
                        row = row_of(run, program, clock, step)
                        history.append(row | {"epoch": numbered(history)} if run.minutes else row)
                        if ranks.leads:
                            append_row(run.folder, history[-1])
                        reporter.row(history[-1])
                    if stop or due:
                        save(run, program, clock, step, history)
                        last_saved = time.monotonic()
                    other = pace.look(program, step)
                if stop:
                    raise Interrupted(run.resume_line)
                if other is not None:  # the rest of a timed run, in more or fewer steps
                    step, program = pace.moved(other, program, step), other
                    reporter.restart(program)
                    break
    if run.minutes is not None:
        run = replace(run, recipe=timed(run.recipe, program.plan))
        write_atomic(run.folder / "recipe.toml", run.recipe.text().encode())
    return finish(run, program, clock, history, reporter, more=ready.more)


def save(run: Run, program: Program, clock: Clock, step: int, history: list[Row]) -> None:
    """Write the state after `step` steps, if it is one to go on from."""
    program.agree()
    state = program.state()
    if not all(bool(torch.isfinite(t).all()) for t in state.values()):
        raise diverged(program, step - 1)  # the state saved before this one is good and stays
    if program.ranks.leads:
        save_state(run.folder, state, step, run.seed, clock.seconds, history)


def numbered(history: list[Row]) -> int:
    """The epoch after the last one; those of a timed run may differ in length."""
    return history[-1]["epoch"] + 1 if history else 1


def row_of(run: Run, program: Program, clock: Clock, step: int) -> Row:
    """The epoch that ends with `step`."""
    spe = program.steps_per_epoch
    first = (step - 1) // spe * spe
    epoch = (step - 1) // spe + 1
    row: Row = {
        "epoch": epoch,
        "step": step,
        "train_loss": program.losses[first:step].mean().item(),
        "train_accuracy": 100 * program.accuracies[first:step].mean().item(),
        "test_accuracy": None,
        "train_s": clock.seconds["train"],
        "images_per_s": step * program.plan.batch_size / max(clock.seconds["train"], 1e-9),
    }
    if run.eval_every and (epoch % run.eval_every == 0 or step == program.steps):
        row["test_accuracy"] = evaluate(program, "none").accuracy
    return row
