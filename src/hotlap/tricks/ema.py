from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.optim import EMA
from hotlap.plan import Plan, Trick
from hotlap.plan.flat import put
from hotlap.plan.schedule import Piecewise


@dataclass(frozen=True)
class Ema(Trick):
    """Average the weights over the last epoch or so, and evaluate the average.

    High rates cross parameter space fast but leave noise along steep directions; annealing removes it,
    and so does averaging, while training goes on at a higher rate. The rate's schedule gets a floor for
    the end of the run. Norm statistics are averaged with the weights.

    Args:
        decay: per step; 0.99 averages over about 100 steps.
        every: steps between updates.
        peak_at: share of the run at which the rate peaks.
        floor_from: share of the run from which the rate stays at `floor`.
        floor: in units of the peak rate.
    """

    decay: float = 0.99
    every: int = 5
    peak_at: float = 0.2
    floor_from: float = 0.8
    floor: float = 0.1

    touches = ("after", "evaluation.weights", "knobs.lr")
    source = "Page, How to Train Your ResNet 8 (2019)"
    effect = "Page: 94.1% in 13 epochs instead of 14"
    failures = (
        "without a rate that stays up at the end it averages "
        "weights that no longer move; decay and run length go together"
    )
    after = ("muon",)
    excludes = ("lookahead", "kinked-schedule", "one-cycle", "piecewise-schedule")

    def __call__(self, plan: Plan) -> Plan:
        lr = Piecewise((0.0, self.peak_at, self.floor_from), (0.0, 1.0, self.floor), at="end")
        plan = plan.with_knob("lr", lr)
        average = EMA(self.decay, self.every)
        return replace(
            plan, after=put(plan.after, average), evaluation=replace(plan.evaluation, weights="ema")
        )
