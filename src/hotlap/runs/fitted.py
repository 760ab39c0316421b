"""Before the first step: what a learnt net makes of the images, once, and a classifier fitted on that."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.engine.balance import class_weights
from hotlap.engine.clock import Clock
from hotlap.engine.evaluate import Score, score
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.errors import UserError
from hotlap.files import Notify
from hotlap.machine.backend import Backend
from hotlap.machine.telling import told
from hotlap.nets.describe import EfficientNetLite
from hotlap.nets.pretrained import MEAN, STD
from hotlap.plan import Plan
from hotlap.plan.start import FittedHead, ImageNet, LearntHead
from hotlap.runs.folder import check_room, write_rows, write_start
from hotlap.runs.reporter import Reporter, Row
from hotlap.runs.run import Run
from hotlap.runs.signals import resumable
from hotlap.transfer.features import Features, FeatureStore, features_of
from hotlap.transfer.head import Head, fit_head
from hotlap.transfer.trunk import Speed, Trunk, measured_speeds, open_trunk, remember

MEANS_SOMETHING = 200  # looks from which their rate is worth keeping


@dataclass(frozen=True)
class FirstFit:
    """A net with a classifier fitted on its features; steps may follow, or the run may end here.

    Args:
        program: of the steps that may follow, begun; where the plan has none, of one epoch.
        row: of the run's history.
        score, logits: of the measured split, (N, classes).
        more: what the summary says of it.
    """

    program: Program
    row: Row
    score: Score
    logits: Tensor
    more: dict[str, Any]


def prepared(run: Run, dataset: Dataset) -> Dataset:
    """The data set normalised as the weights of the plan's net want it.

    Raises:
        UserError: the plan's net has no learnt weights, or reads no such images.
    """
    plan = run.recipe.plan()
    if not (isinstance(plan.start, ImageNet) and isinstance(plan.net, EfficientNetLite)):
        raise UserError(
            "head.kind = 'fittedhead' wants a net with ImageNet weights; take the recipe photos, or set"
            " head.kind to 'learnthead'"
        )
    if dataset.spec.channels != 3:
        raise UserError(
            f"{run.data}: {dataset.spec.channels} channel; a net with ImageNet weights reads colour"
        )
    return replace(dataset, spec=replace(dataset.spec, mean=MEAN, std=STD))


def steps_after(plan: Plan, dataset: Dataset) -> Plan:
    """The plan of what follows the fit: the net learns on, its classifier with it."""
    return replace(plan, head=LearntHead(), batch_size=min(plan.batch_size, len(dataset.train)))


def suited(backend: Backend, plan: Plan, notify: Notify) -> Backend:
    """The backend in the arithmetic that the plan's net was measured fastest in on this machine."""
    assert isinstance(plan.net, EfficientNetLite)
    speed = measured_speeds(backend, [plan.net.variant], notify=notify)[plan.net.variant]
    return replace(backend, precision=speed.precision, memory_format="channels_last")


def fit_first(run: Run, dataset: Dataset, backend: Backend, clock: Clock, reporter: Reporter) -> FirstFit:
    """Fit a classifier on learnt features, and write what a run's folder has from its start.

    Training time is what the features and the fit take; features that are in the cache take none.

    Args:
        dataset: as `prepared`.
        backend: as `suited`.

    Raises:
        UserError: the weights are not on this machine.
        Interrupted: after SIGINT or SIGTERM while images are looked at; what was seen is kept.
    """
    plan = run.recipe.plan()
    assert isinstance(plan.net, EfficientNetLite)
    with clock.measure("compile"), told(reporter.note):
        trunk = open_trunk(plan.net.variant, backend)
    after = steps_after(plan, dataset)
    after = after if after.epochs else replace(after, epochs=1.0)
    program = lower(after, dataset, backend, start_of(trunk))
    check_room(run.folder, program)
    with clock.measure("load"):
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
        program.start |= {"head.weight": head.weight, "head.bias": head.bias}
        program.begin(run.seed)
    program.model.eval()
    with clock.measure("eval"):
        final, logits = judged(head, found["test"].values, dataset, plan)
    one_view, _ = judged(head, found["test"].values[:, :1], dataset, plan)
    row = row_of(head, found["train"], labels, one_view, clock)
    write_rows(run.folder, [row])
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
    return FirstFit(program, row, final, logits, more)


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


def row_of(head: Head, train: Features, labels: Tensor, tested: Score, clock: Clock) -> Row:
    """The row of the run's history before its first step."""
    logits = head.logits(train.values)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    seconds = clock.seconds["train"]
    return {
        "epoch": 0,
        "step": 0,
        "train_loss": loss,
        "train_accuracy": 100 * (logits.argmax(1) == labels).float().mean().item(),
        "test_accuracy": tested.accuracy,
        "train_s": seconds,
        "images_per_s": len(labels) / max(seconds, 1e-9),
    }
