"""What an example counts by its class, and the tensors that a run starts with, in the steps themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import FP64, noise_dataset
from hotlap.data.dataset import Split
from hotlap.engine.balance import class_weights
from hotlap.engine.lower import lower
from hotlap.errors import UserError
from hotlap.plan import CrossEntropy
from hotlap.plan.start import FittedHead, FromRun
from hotlap.recipes import BUILTIN

SMALL = {"batch_size": 20, "epochs": 1.0, "net.widths": [8, 8, 8]}
PLAN = BUILTIN["muon94"].then("small", **SMALL).plan()


def uneven():
    data = noise_dataset(train=60, test=20)
    labels = np.where(np.arange(60) < 48, 0, np.arange(60) % data.spec.classes).astype(np.int64)
    return replace(data, train=Split(data.train.images, labels))


def test_rare_classes_weigh_more_and_an_example_one_on_average():
    data = uneven()
    assert class_weights(CrossEntropy(), data, torch.device("cpu"), torch.float64) is None
    weights = class_weights(CrossEntropy(balance="classes"), data, torch.device("cpu"), torch.float64)
    counts = torch.bincount(torch.from_numpy(data.train.labels), minlength=data.spec.classes)
    there = counts > 0
    sums = (weights * counts)[there]
    assert torch.allclose(sums, sums[0].expand_as(sums))  # every class counts the same in all
    assert sums[0].item() == pytest.approx(60 / data.spec.classes)


def test_a_step_weighs_its_losses_so():
    data = uneven()
    program = lower(replace(PLAN, loss=CrossEntropy(0.1, "classes")), data, FP64)
    program.upload()
    program.begin(0)
    labels = torch.from_numpy(data.train.labels[40:60])
    x = torch.randn(20, *data.spec.shape, dtype=torch.float64)
    program.model.eval()
    losses, _ = program._losses_of(x, labels, labels)
    weights = class_weights(program.plan.loss, data, torch.device("cpu"), torch.float64)
    logits = program.model(x)
    wanted = F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=0.1)
    assert torch.allclose(losses, wanted)
    plain = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)
    assert not torch.allclose(losses, plain)


def test_every_run_starts_with_the_tensors_it_was_given_and_draws_the_others():
    data = noise_dataset(train=60, test=20)
    other = lower(PLAN, data, FP64)
    other.upload()
    other.begin(7)
    given = {k: v.clone() for k, v in other.model.state_dict().items() if not k.startswith("head.")}
    program = lower(replace(PLAN, start=FromRun("x")), data, FP64, given)
    program.upload()
    for seed in (1, 2):
        program.begin(seed)
        program.run(0, 1)
        program.begin(seed)  # again, after a step has moved them
        held = program.model.state_dict()
        assert all(torch.equal(held[k], v) for k, v in given.items())
        assert not torch.equal(held["head.weight"], other.model.state_dict()["head.weight"])


def test_what_lower_cannot_bring_it_refuses():
    data = noise_dataset(train=60, test=20)
    with pytest.raises(UserError, match="starts from learnt weights, which only `hotlap train` brings"):
        lower(replace(PLAN, start=FromRun("x")), data, FP64)
    with pytest.raises(UserError, match="a classifier is fitted before"):
        lower(replace(PLAN, head=FittedHead()), data, FP64)
