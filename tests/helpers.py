"""What several tests need: small data sets made on the spot, backends, programs."""

from __future__ import annotations

import numpy as np
import torch

from hotlap.data import Dataset, Split, data_spec
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.machine.backend import Backend
from hotlap.plan import Plan

TINY_SETTINGS = {  # a recipe as small as it gets, in arithmetic that no machine has to measure
    "batch_size": 50,
    "net.widths": [8, 8, 8],
    "numerics.precision": "fp32",
    "numerics.memory_format": "channels_last",
    "numerics.compile": "off",
}
FP64 = Backend(torch.device("cpu"), "fp64", "contiguous", False, "test")
FP32 = Backend(torch.device("cpu"), "fp32", "channels_last", False, "test")
BF16 = Backend(torch.device("cpu"), "bf16", "channels_last", False, "test")


def noise_dataset(shape=(3, 32, 32), classes=10, train=96, test=40, seed=0) -> Dataset:
    """Random images (C, H, W given by shape) whose class sets their brightness, to be learnt."""
    rng = np.random.default_rng(seed)
    c, h, w = shape

    def split(count: int) -> Split:
        labels = rng.permutation(np.arange(count) % classes).astype(np.int64)
        level = (labels * 200 // max(classes - 1, 1)).astype(np.int64)
        images = rng.integers(0, 56, (count, h, w, c)) + level[:, None, None, None]
        return Split(images.astype(np.uint8), labels)

    a, b = split(train), split(test)
    names = tuple(f"class{i}" for i in range(classes))
    return Dataset("noise", data_spec(a.images, names, test_count=test), a, b, "made by a test")


def program(plan: Plan, dataset: Dataset, backend: Backend = FP32, seed: int = 0) -> Program:
    """A program with its data uploaded, at the start of a run."""
    made = lower(plan, dataset, backend)
    made.compile()
    made.upload()
    made.begin(seed)
    return made
