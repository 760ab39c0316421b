"""A run from its start, or from its saved state, to its end: trained, watched, saved, evaluated."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hotlap import data as datasets
from hotlap.engine.clock import Clock
from hotlap.engine.diverged import diverged, lower_a_rate
from hotlap.engine.evaluate import evaluate, evaluated, guessing_up_to
from hotlap.engine.loop import train
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.errors import UserError
from hotlap.files import write_atomic
from hotlap.machine.device import prepare
from hotlap.machine.facts import machine_facts
from hotlap.machine.resolve import resolve
from hotlap.runs.checkpoint import MODEL, STATE, load_state, save_model, save_state
from hotlap.runs.folder import append_row, check_free, check_room, write_start, write_summary
from hotlap.runs.report import analysed, report_run
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.result import Result
from hotlap.runs.run import Run
from hotlap.runs.signals import Interrupted, stop_requests

CHECKPOINT_S = 60.0  # a state is also written at the end of every epoch


def execute(
    run: Run,
    reporter: Reporter,
    *,
    resume: bool = False,
    checkpoint_s: float = CHECKPOINT_S,
    age_s: float = 0.0,
) -> Result:
    """Train to the end, or until a signal stops it.

    Args:
        run: what to train, on what, into which folder.
        reporter: told about progress between segments.
        resume: go on from the folder's state instead of starting.
        checkpoint_s: seconds between saved states.
        age_s: seconds spent before this call that count as `cold`, such as the process's start.

    Raises:
        UserError: bad input of any kind; Diverged if the loss is no number.
        Interrupted: after SIGINT or SIGTERM, with the state saved.
    """
    plan = run.recipe.plan()
    if not resume:
        check_free(run)
    device = prepare(run.device, run.threads)
    clock = Clock(device, age_s)
    with clock.measure("load"):
        dataset = datasets.load(run.data, data_dir=run.data_dir, notify=reporter.note)
    with clock.measure("compile"):  # the first time on a machine, hotlap's own kernels are built here
        backend = resolve(run.numerics or plan.numerics, device)
    program = lower(plan, dataset, backend)
    check_room(run.folder, program)
    with clock.measure("compile"):
        program.compile()
    with clock.measure("load"):
        program.upload()

    start, history = 0, []
    if resume:
        saved = load_state(run.folder)
        program.load_state(saved.tensors, saved.seed)
        start, history, run = saved.step, saved.history, replace(run, seed=saved.seed)
        rows = "".join(json.dumps(row) + "\n" for row in history)  # without what came after the state
        write_atomic(run.folder / "metrics.jsonl", rows.encode())
        for interval, seconds in saved.seconds.items():
            clock.seconds[interval] += seconds
    else:
        write_start(run, program)
    reporter.start(run, program)
    last_saved = time.monotonic()
    stride = 1 if device.type == "cpu" else None
    with stop_requests() as requested:
        for progress in train(program, clock, run.seed, start, stride):
            reporter.step(progress.step, clock)
            stop = bool(requested)
            with clock.measure("watch"):
                if progress.end_of_epoch:
                    history.append(row_of(run, program, clock, progress.step))
                    append_row(run.folder, history[-1])
                    reporter.row(history[-1])
                if stop or progress.end_of_epoch or time.monotonic() - last_saved > checkpoint_s:
                    save(run, program, clock, progress.step, history)
                    last_saved = time.monotonic()
            if stop:
                raise Interrupted(run.resume_line)
    return finish(run, program, clock, history, reporter)


def save(run: Run, program: Program, clock: Clock, step: int, history: list[Row]) -> None:
    """Write the state after `step` steps, if it is one to go on from."""
    state = program.state()
    if not all(bool(torch.isfinite(t).all()) for t in state.values()):
        raise diverged(program, step - 1)  # the state saved before this one is good and stays
    save_state(run.folder, state, step, run.seed, clock.seconds, history)


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


def learnt_nothing(program: Program, accuracy: float) -> str:
    """What to say of a run that ends no better than chance."""
    return (
        f"{accuracy:.2f}% is no better than guessing one class for every image: nothing was learnt; if the"
        f" loss did not fall, {lower_a_rate(program)}"
    )


def finish(run: Run, program: Program, clock: Clock, history: list[Row], reporter: Reporter) -> Result:
    """Evaluate, write what the run came to, and leave nothing to resume."""
    plan, spec = program.plan, program.dataset.spec
    with clock.measure("eval"):
        final, logits = evaluated(program)
    if not math.isfinite(final.loss):  # the last step's update is seen here first
        raise diverged(program, program.steps - 1)
    if final.accuracy <= guessing_up_to(np.asarray(program.dataset.test.labels)):
        reporter.note(learnt_nothing(program, final.accuracy))
    weights = program.evaluation_weights()
    images = program.steps * plan.batch_size
    summary: dict[str, Any] = {
        "recipe": run.recipe.name,
        "data": run.data,
        "seed": run.seed,
        "accuracy": final.accuracy,
        "test_loss": final.loss,
        "views": final.views,
        "view_share": final.share,
        "single_view_accuracy": history[-1]["test_accuracy"] if history else None,
        "target": plan.target,
        "target_met": final.accuracy >= plan.target,
        "seconds": clock.summary(),
        "clock_drift_s": clock.drift,
        "epochs": plan.epochs,
        "steps": program.steps,
        "images": images,
        "images_per_s": images / max(clock.seconds["train"], 1e-9),
        "parameters": sum(p.numel() for p in program.model.parameters() if p.requires_grad),
        "device": str(program.backend.device),
        "precision": program.backend.precision,
        "memory_format": program.backend.memory_format,
        "compile": program.backend.compile,
        "kernels": program.backend.kernels,
        "lacks": program.backend.lacks,
        "machine": machine_facts(),
    }
    save_model(run.folder / MODEL, weights, run.recipe.text(), spec)
    write_summary(run.folder, summary)
    (run.folder / STATE).unlink(missing_ok=True)  # finished: nothing is left to resume
    with suppress(OSError):
        (run.folder / STATE.parent).rmdir()
    program.model.load_state_dict(weights)
    with clock.measure("watch"):
        report = report_run(run.folder, program, analysed(program, logits), reporter.note)
    summary["seconds"] = clock.summary()  # with those of the report
    with suppress(UserError):  # the one before it is there
        write_summary(run.folder, summary)
    return Result(
        run.recipe.name,
        run.data,
        run.seed,
        final.accuracy,
        plan.target,
        history,
        clock.summary(),
        run.folder,
        summary,
        program.model.eval(),
        spec,
        report,
    )
