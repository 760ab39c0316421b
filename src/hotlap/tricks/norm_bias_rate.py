from __future__ import annotations

from dataclasses import dataclass

from hotlap.errors import UserError
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class NormBiasRate(Trick):
    """Let the norms' shifts learn many times faster than the other weights.

    With the scales fixed, the shifts set how sparse each channel is, and have to move far in few steps.
    Weight decay, taken per step, stays what it was.

    Args:
        factor: multiplies the shifts' learning rate and divides their weight decay.
    """

    factor: float = 64.0

    touches = ("rules",)
    source = "Page, How to Train Your ResNet 8 (2019); airbench (Jordan, 2024)"
    effect = "Page: without it, frozen scales cost accuracy; with it they gain 0.1 point"
    failures = "with learned scales it is too fast"
    excludes = ("frozen-scales", "muon")

    def __call__(self, plan: Plan) -> Plan:
        holder = next((r for r in plan.rules if "norm_bias" in r.roles), None)
        if holder is None:
            raise UserError("norm-bias-rate: no rule holds the role 'norm_bias'")
        rate, decay = holder.lr * self.factor, holder.weight_decay / self.factor
        return plan.carve("norms", "norm_bias", lr=rate, weight_decay=decay)
