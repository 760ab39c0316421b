"""Experiments small enough for two cores: a few thousand shrunken images and a narrow nine-layer net.

They are trained by the program and the loop that train everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.data import Dataset, Split, data_spec
from hotlap.engine.clock import Clock
from hotlap.engine.diverged import Diverged
from hotlap.engine.evaluate import score
from hotlap.engine.loop import train
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.engine.views import all_logits
from hotlap.explain import Setting
from hotlap.machine.allocator import tune_allocator
from hotlap.nets import Norm, ResNet9
from hotlap.nets.norms import BatchNorm
from hotlap.optim import SGD, Rule
from hotlap.plan import BASE_RULE, Knob, Plan
from hotlap.plan.schedule import Constant, Piecewise

NET = ResNet9(widths=(8, 16, 32, 64))
SIDE = 16  # pixels; a quarter of the arithmetic of 32
ONE_CYCLE = Piecewise((0.0, 0.2, 1.0), (0.0, 1.0, 0.0), at="end")
JUDGED = 2048  # training images that a final training loss is taken over


def subset(dataset: Dataset, train: int, test: int, side: int = SIDE) -> Dataset:
    """The first images of each split, averaged over square blocks until about `side` pixels wide.

    Images that are smaller than twice `side` stay as they are; a split with fewer images is taken whole.
    """
    block = max(1, min(dataset.spec.shape[1:]) // side)

    def part(split: Split, count: int) -> Split:
        images = split.images[:count]
        n, h, w, c = images.shape
        h, w = h // block, w // block
        cropped = images[:, : h * block, : w * block].reshape(n, h, block, w, block, c)
        mean = cropped.mean((2, 4), dtype=np.float32).round().astype(np.uint8)
        return Split(mean, np.asarray(split.labels[:count]))

    a, b = part(dataset.train, train), part(dataset.test, test)
    spec = data_spec(a.images, dataset.spec.class_names, test_count=len(b))
    return Dataset(dataset.name, spec, a, b, dataset.origin)


def describe(dataset: Dataset) -> str:
    """`4,096 + 1,024 images of 16x16`"""
    spec = dataset.spec
    return f"{spec.train_count:,} + {spec.test_count:,} images of {spec.height}x{spec.width}"


def small_plan(
    batch_size: int,
    epochs: float,
    lr: float,
    *,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    schedule: Constant | Piecewise = ONE_CYCLE,
) -> Plan:
    """A plan for the narrow net, one SGD rule for all, no augmentation; rates for the batch mean."""
    rule: Rule = replace(
        BASE_RULE,
        optimizer=SGD(lr_in_velocity=True, quoted_for="mean"),
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
    )
    knobs = (Knob("lr", schedule),)
    return Plan(net=NET, rules=(rule,), knobs=knobs, epochs=epochs, batch_size=batch_size)


def prepare(plan: Plan, dataset: Dataset, setting: Setting) -> Program:
    """The program for a plan, with its images on the device."""
    if setting.backend.device.type == "cpu":
        tune_allocator()
    program = lower(plan, dataset, setting.backend)
    program.compile()
    program.upload()
    return program


def run(program: Program, seed: int) -> bool:
    """Train from the start to the end; whether the loss stayed a number."""
    try:
        for _ in train(program, Clock(program.backend.device), seed):
            pass
    except Diverged:
        return False
    settle(program)
    return True


@contextmanager
def whole_statistics(program: Program) -> Iterator[None]:
    """Norms that keep the newest batch's statistics and forget all before it."""
    norms = [m for m in program.model.modules() if isinstance(m, BatchNorm)]
    old = [m.norm for m in norms]
    try:
        for module, norm in zip(norms, old, strict=True):
            module.norm = replace(norm, momentum=1.0, splits=1)
        yield
    finally:
        for module, norm in zip(norms, old, strict=True):
            module.norm = norm


@torch.no_grad()
def settle(program: Program, count: int = 1024) -> None:
    """Take the norms' statistics anew over `count` training images at once.

    So a short run is judged by its weights, not by how far running averages had come.
    """
    images = program.train_set
    index = torch.arange(min(count, len(images)), device=program.backend.device)
    program.model.train()
    with whole_statistics(program):
        program.model(images.read(index))


def train_losses(program: Program, count: int | None = None) -> Tensor:
    """Loss of each of the first `count` training images (all if None), unaugmented, (N,), in nats."""
    logits = all_logits(program.model, program.evaluation_weights(), program.train_set)
    return F.cross_entropy(logits.float(), program.train_set.labels, reduction="none")[:count]


def final(program: Program) -> dict[str, float]:
    """Training loss (nats) and test accuracy (percent) of a trained program."""
    tested = score(
        all_logits(program.model, program.evaluation_weights(), program.test_set), program.test_set.labels
    )
    return {"loss": float(train_losses(program, JUDGED).mean()), "accuracy": tested.accuracy}


def outcome_of(plan: Plan, dataset: Dataset, setting: Setting) -> dict[str, float | None]:
    """`final` of training a plan, averaged over the seeds; None where a run diverged."""
    program = prepare(plan, dataset, setting)
    found = []
    for seed in setting.seeds:
        if not run(program, seed):
            return {"loss": None, "accuracy": None}
        found.append(final(program))
    means = {k: sum(f[k] for f in found) / len(found) for k in ("loss", "accuracy")}
    return {k: v if np.isfinite(v) else None for k, v in means.items()}


__all__ = ["NET", "ONE_CYCLE", "Constant", "Norm", "final", "outcome_of", "prepare", "run", "small_plan"]
