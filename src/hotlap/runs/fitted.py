"""A run whose net stays as it starts: features once, a classifier fitted on them, everything else as ever."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.engine.balance import class_weights
from hotlap.engine.clock import Clock
from hotlap.engine.evaluate import Score, score
from hotlap.engine.lower import lower
from hotlap.errors import UserError
from hotlap.machine.backend import Backend
from hotlap.nets.describe import EfficientNetLite
from hotlap.nets.pretrained import MEAN, STD
from hotlap.plan import Plan
from hotlap.plan.start import FittedHead, ImageNet, LearntHead
from hotlap.runs.finishing import finish
from hotlap.runs.folder import append_row, check_room, write_start
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.result import Result
from hotlap.runs.run import Run
from hotlap.runs.signals import resumable
from hotlap.transfer.features import Features, FeatureStore, features_of
from hotlap.transfer.head import Head, fit_head
from hotlap.transfer.trunk import Speed, Trunk, measured_speeds, open_trunk, remember

MEANS_SOMETHING = 200  # looks from which their rate is worth keeping


def fit_run(run: Run, dataset: Dataset, backend: Backend, clock: Clock, reporter: Reporter) -> Result:
    """Fit a classifier on learnt features, and write the folder as any run's is.

    Training time is what the features and the fit take; features that are in the cache take none.

    Raises:
        UserError: the plan's net has no learnt weights, or they are not on this machine.
        Interrupted: after SIGINT or SIGTERM while images are looked at; what was seen is kept.
    """
    plan = run.recipe.plan()
    if not (isinstance(plan.start, ImageNet) and isinstance(plan.net, EfficientNetLite)):
        raise UserError(
            "head.kind = 'fittedhead' wants a net with ImageNet weights; take the recipe photos, or set"
            " head.kind to 'learnthead'"
        )
    assert isinstance(plan.head, FittedHead)
    if dataset.spec.channels != 3:
        raise UserError(
            f"{run.data}: {dataset.spec.channels} channel; a net with ImageNet weights reads colour"
        )
    dataset = replace(dataset, spec=replace(dataset.spec, mean=MEAN, std=STD))
    with clock.measure("compile"):
        speed = measured_speeds(backend, [plan.net.variant], notify=reporter.note)[plan.net.variant]
        fast = replace(backend, precision=speed.precision, memory_format="channels_last")
        trunk = open_trunk(plan.net.variant, fast)
    frozen = replace(plan, head=LearntHead(), batch_size=min(plan.batch_size, len(dataset.train)))
    program = lower(frozen, dataset, backend, start_of(trunk))
    check_room(run.folder, program)
    program.upload()
    write_start(run, program)
    reporter.start(run, program)
    with clock.measure("train"):
        with resumable(run.resume_line):
            found = look(trunk, dataset, plan, reporter)
        labels = torch.from_numpy(np.array(dataset.train.labels))
        weights = class_weights(plan.loss, dataset, torch.device("cpu"), torch.float32)
        head = fit_head(
            found["train"].values,
            labels,
            dataset.spec.classes,
            opinion=trunk.opinion,
            class_weights=weights,
            seed=run.seed,
        )
        program.start = {**program.start, "head.weight": head.weight, "head.bias": head.bias}
        program.begin(run.seed)
    program.model.eval()
    with clock.measure("eval"):
        final, logits = judged(head, found["test"].values, dataset, plan)
    row = row_of(head, found["train"], labels, final, clock)
    append_row(run.folder, row)
    reporter.row(row)
    computed = sum(f.computed for f in found.values())
    more = {
        "trunk": trunk.name,
        "features_computed": computed,
        "features_kept": sum(f.kept for f in found.values()),
        "head": {
            "weight_decay": head.weight_decay,
            "trust": head.trust,
            "tried": [asdict(t) for t in head.tried],
        },
    }
    return finish(run, program, clock, [row], reporter, (final, logits), more)


def start_of(trunk: Trunk) -> dict[str, Tensor]:
    """The trunk's tensors, without its own classifier."""
    return {k: v for k, v in trunk.network.state_dict().items() if not k.startswith("head.")}


def look(trunk: Trunk, dataset: Dataset, plan: Plan, reporter: Reporter) -> dict[str, Features]:
    """Features of the training images and of those that accuracy is measured on."""
    assert isinstance(plan.head, FittedHead)
    found, looks, start = {}, 0, time.perf_counter()
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        began = time.perf_counter()
        store = FeatureStore(
            dataset.origin, f"{trunk.name}, {dataset.spec.shape}, {name}, {plan.head.mirror}"
        )

        def tick(done: int, total: int, began: float = began) -> None:
            reporter.looking(done, total, done / max(time.perf_counter() - began, 1e-9))

        found[name] = features_of(
            trunk.fast, split.images, store, mean=MEAN, std=STD, mirror=plan.head.mirror, tick=tick
        )
        looks += found[name].computed * (1 + plan.head.mirror)
    if looks >= MEANS_SOMETHING:
        rate = looks / (time.perf_counter() - start)
        remember(trunk.variant, Speed(trunk.fast.backend.precision, rate), trunk.fast.backend)
    return found


def judged(head: Head, features: Tensor, dataset: Dataset, plan: Plan) -> tuple[Score, Tensor]:
    """The score of the measured split, with as many views as features were computed of."""
    views = features if plan.evaluation.tta.startswith("flip") else features[:, :1]
    logits = head.logits(views)
    labels = torch.from_numpy(np.array(dataset.test.labels))
    return score(logits, labels, views.shape[1]), logits


def row_of(head: Head, train: Features, labels: Tensor, final: Score, clock: Clock) -> Row:
    """The one row of a run that takes no steps."""
    logits = head.logits(train.values)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    seconds = clock.seconds["train"]
    return {
        "epoch": 1,
        "step": 1,
        "train_loss": loss,
        "train_accuracy": 100 * (logits.argmax(1) == labels).float().mean().item(),
        "test_accuracy": final.accuracy,
        "train_s": seconds,
        "images_per_s": len(labels) / max(seconds, 1e-9),
    }
