from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import AirNet, ResNet9
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class Silu(Trick):
    """A smooth activation: SiLU in place of another.

    x times the logistic function of x: a smoothed ReLU, whose slope has no jump, and which dips below zero.
    """

    touches = ("net.activation",)
    source = "Elfwing et al. (2017); hiverge (2025)"
    effect = "hiverge: GELU's accuracy for a cheaper function"
    failures = "none known"
    excludes = ("celu", "gelu")

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, AirNet | ResNet9):
            raise UserError("silu: this net has its activation built in; use it with resnet9 or airnet")
        return replace(plan, net=replace(plan.net, activation="silu"))
