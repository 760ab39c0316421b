from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.data import augment
from hotlap.plan import Plan, Trick
from hotlap.plan.flat import put


@dataclass(frozen=True)
class Mixup(Trick):
    """Train on blends of two images, with the targets blended alike.

    x = (1 - s) x_i + s x_j and the same for the target probabilities, s from Beta(alpha, alpha), at most a
    half. Smooths the function between examples; for long runs that would otherwise overfit.

    Args:
        alpha: of the Beta distribution; larger blends more.
        start: share of the run before which nothing is blended.
    """

    alpha: float = 0.2
    start: float = 0.0

    touches = ("augment",)
    source = "Zhang, Cisse, Dauphin, Lopez-Paz, mixup (2018)"
    effect = "a point or so at hundreds of epochs"
    failures = "known not to pay on short runs; our own figure is in docs/log.md"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, augment=put(plan.augment, augment.Mixup(self.alpha, self.start)))
