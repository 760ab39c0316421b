from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import AirNet, ResNet9
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class Gelu(Trick):
    """A smooth activation: GELU in place of another.

    x times the normal distribution's probability of less than x: a smoothed ReLU, whose slope has no jump,
    and which dips below zero.
    """

    touches = ("net.activation",)
    source = "Hendrycks & Gimpel (2016); Balsam, hlb-CIFAR10 (2023)"
    effect = "hlb-CIFAR10's choice; no figure of its own published"
    failures = "several times ReLU's cost where it is not fused"
    excludes = ("celu", "silu")

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, AirNet | ResNet9):
            raise UserError("gelu: this net has its activation built in; use it with resnet9 or airnet")
        return replace(plan, net=replace(plan.net, activation="gelu"))
