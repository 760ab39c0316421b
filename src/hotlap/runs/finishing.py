"""The end of a run: evaluated, analysed, written down, reported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hotlap.data.dataset import Split
from hotlap.data.device import DeviceSet
from hotlap.engine.clock import Clock
from hotlap.engine.diverged import diverged, lower_a_rate
from hotlap.engine.evaluate import Score, evaluated, guessing_up_to, score
from hotlap.engine.program import Program
from hotlap.engine.views import all_logits
from hotlap.errors import UserError
from hotlap.machine.facts import machine_facts
from hotlap.runs.checkpoint import MODEL, STATE, Preprocessing, save_model
from hotlap.runs.folder import write_summary
from hotlap.runs.report import analysed, report_run
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.result import Result
from hotlap.runs.run import Run


def finish(
    run: Run,
    program: Program,
    clock: Clock,
    history: list[Row],
    reporter: Reporter,
    found: tuple[Score, Tensor] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Result:
    """Evaluate, write what the run came to, and leave nothing to resume.

    Args:
        found: the score and the logits (N, classes) it is from, where they are known already.
        more: what else goes into the summary.
    """
    plan, dataset, spec = program.plan, program.dataset, program.dataset.spec
    with clock.measure("eval"):
        final, logits = found or evaluated(program)
    if not math.isfinite(final.loss):  # the last step's update is seen here first
        raise diverged(program, program.steps - 1)
    if final.accuracy <= guessing_up_to(np.asarray(program.dataset.test.labels)):
        reporter.note(learnt_nothing(program, final.accuracy))
    weights = program.evaluation_weights()
    if not program.ranks.leads:  # rank 0 writes
        program.model.load_state_dict(weights)
        return result_of(run, program, final, clock, history, {})
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
        "target": plan.target or None,
        "target_met": final.accuracy >= plan.target if plan.target else None,
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
        "test_split": dataset.test_split,
        **(more or {}),
    }
    with clock.measure("watch"):
        summary["held"] = {name: held_accuracy(program, split) for name, split in dataset.held.items()}
        analysis = analysed(program, logits)
    preprocessing = Preprocessing(
        (spec.height, spec.width), run.loading.get("fit", "crop"), channels=spec.channels
    )
    temperature = analysis.calibration.temperature
    save_model(run.folder / MODEL, weights, run.recipe.text(), spec, preprocessing, temperature)
    write_summary(run.folder, summary)
    (run.folder / STATE).unlink(missing_ok=True)  # finished: nothing is left to resume
    with suppress(OSError):
        (run.folder / STATE.parent).rmdir()
    program.model.load_state_dict(weights)
    with clock.measure("watch"):
        report = report_run(run.folder, program, analysis, reporter.note)
    summary["seconds"] = clock.summary()  # with those of the report
    with suppress(UserError):  # the one before it is there
        write_summary(run.folder, summary)
    return result_of(run, program, final, clock, history, summary, report)


def result_of(
    run: Run,
    program: Program,
    final: Score,
    clock: Clock,
    history: list[Row],
    summary: dict[str, Any],
    report: Path | None = None,
) -> Result:
    return Result(
        run.recipe.name,
        run.data,
        run.seed,
        final.accuracy,
        program.plan.target,
        history,
        clock.summary(),
        run.folder,
        summary,
        program.model.eval(),
        program.dataset.spec,
        report,
    )


def held_accuracy(program: Program, split: Split) -> float:
    """Accuracy in percent, from one view, on a split that nothing looked at before."""
    images = DeviceSet(split, program.dataset.spec, program.backend)
    images.fill(split)
    logits = all_logits(program.model, program.evaluation_weights(), images)
    return score(logits, torch.from_numpy(np.array(split.labels)).to(logits.device)).accuracy


def learnt_nothing(program: Program, accuracy: float) -> str:
    """What to say of a run that ends no better than chance."""
    return (
        f"{accuracy:.2f}% is no better than guessing one class for every image: nothing was learnt; if the"
        f" loss did not fall, {lower_a_rate(program)}"
    )
