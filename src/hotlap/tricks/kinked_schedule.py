from __future__ import annotations

from dataclasses import dataclass

from hotlap.plan import Plan, Trick
from hotlap.plan.schedule import Piecewise


@dataclass(frozen=True)
class KinkedSchedule(Trick):
    """A one-cycle schedule with a kink: right after its peak the rate drops.

    The DAWNBench entry's schedule had such a kink at epoch 15 of 35, which bought nothing. Its exact values
    are not in Page's published notebooks; `drop` stands in for them.

    Args:
        peak_at: share of the run at which the rate peaks.
        drop: what is left of the peak rate right after it.
        tail_at: share of the run from which the last, low stretch goes to zero.
        tail: the rate there, in units of the peak.
    """

    peak_at: float = 15 / 35
    drop: float = 0.8
    tail_at: float = 30 / 35
    tail: float = 0.05

    touches = ("knobs.lr",)
    source = "Page, How to Train Your ResNet 1 (2018), of Johnson's DAWNBench entry"
    effect = "none: removing it costs nothing"
    failures = "it is one"
    after = ("muon",)
    excludes = ("one-cycle", "piecewise-schedule", "ema")

    def __call__(self, plan: Plan) -> Plan:
        after = self.peak_at + 1e-6
        lr = Piecewise(
            (0.0, self.peak_at, after, self.tail_at, 1.0), (0.0, 1.0, self.drop, self.tail, 0.0), at="end"
        )
        return plan.with_knob("lr", lr)
