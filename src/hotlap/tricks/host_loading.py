from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap.data.loading import HostLoader
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class HostLoading(Trick):
    """Prepare images one by one on the host, as most training scripts do.

    Each image goes through Python: normalise, pad, crop, mirror. Here to be measured, and removed step by
    step: preprocess-once, bulk-random, main-thread-loading, device-loading.

    Args:
        preprocess: in every epoch or once.
        random: choices drawn for each example or in bulk.
        workers: loader processes.
    """

    preprocess: Literal["epoch", "once"] = "epoch"
    random: Literal["example", "bulk"] = "example"
    workers: int = 1

    touches = ("loader",)
    source = "standard practice; the DAWNBench entry of Johnson (2018)"
    effect = "the slow start of the series: 60 s of 356 in loading, found by Page"
    failures = "slower than the device everywhere; on a CPU it takes cores from the training"
    excludes = ("device-loading",)

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, loader=HostLoader(self.preprocess, self.random, self.workers))
