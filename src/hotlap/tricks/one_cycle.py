from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hotlap.plan import Plan, Trick
from hotlap.plan.schedule import Piecewise


@dataclass(frozen=True)
class OneCycle(Trick):
    """Raise the learning rate in a line to its peak, then lower it in a line.

    Small steps while the weights are random, large ones to cross parameter space, small ones to settle.

    Args:
        peak_at: share of the run at which the rate peaks.
        first: the rate at the start, in units of the peak.
        last: the rate at the end, in units of the peak.
        at: whether a step takes the rate of its start or of its end.
    """

    peak_at: float = 0.2
    first: float = 0.0
    last: float = 0.0
    at: Literal["start", "end"] = "end"

    touches = ("knobs.lr",)
    source = "Smith & Topin, Super-Convergence (2018); Page, How to Train Your ResNet 3 (2018)"
    effect = "Page: peaking at epoch 8 instead of 15 of 35, 94.5% instead of 94.3%"
    failures = "a late peak wastes a short run; Muon needs no warm-up"
    after = ("muon",)
    excludes = ("kinked-schedule", "piecewise-schedule", "ema")

    def __call__(self, plan: Plan) -> Plan:
        lr = Piecewise((0.0, self.peak_at, 1.0), (self.first, 1.0, self.last), at=self.at)
        return plan.with_knob("lr", lr)
