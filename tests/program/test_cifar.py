"""On real CIFAR-10, where it is at hand: a small net learns within a few seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import FP32
from hotlap import data
from hotlap.engine.clock import Clock
from hotlap.engine.evaluate import evaluate
from hotlap.engine.loop import train
from hotlap.engine.lower import lower
from hotlap.recipes import BUILTIN

pytestmark = pytest.mark.cifar


def test_a_small_net_learns_real_images():
    plan = BUILTIN["demo"].plan()  # 146,000 parameters
    plan = replace(plan, net=replace(plan.net, widths=(16, 32, 64)), epochs=0.4)
    made = lower(plan, data.load("cifar10"), FP32)
    made.upload()
    for _ in train(made, Clock(torch.device("cpu")), seed=0):
        pass
    assert made.steps == 80
    # chance is 10% and a loss of 2.303
    assert made.losses[-10:].mean() < 0.9 * made.losses[:5].mean()
    assert evaluate(made, "none").accuracy > 30
