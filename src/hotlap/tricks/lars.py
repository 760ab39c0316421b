from __future__ import annotations

from dataclasses import dataclass

from hotlap.optim import LARS
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class Lars(Trick):
    """Steps of the convolutions as long as their weights' norm says, layer by layer.

    For weights before a norm only the step relative to the weights counts, and weight decay brings it to the
    same value for every layer in the long run (post 6). LARS sets it outright: `u = g |w| / |g|`.

    Args:
        lr: the change a step, relative to the weights, before momentum adds up 1 / (1 - momentum) of them.
    """

    lr: float = 0.005

    touches = ("rules",)
    source = "You, Gitman, Ginsburg (2017); Page, How to Train Your ResNet 6 (2019)"
    effect = "little on one device: weight decay does the same, only later"
    failures = "batches of thousands are what it was made for; Page found no gain at 512"
    excludes = ("muon",)

    def __call__(self, plan: Plan) -> Plan:
        return plan.carve("filters", "filter", optimizer=LARS(), lr=self.lr)
