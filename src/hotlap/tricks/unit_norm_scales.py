from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import ResNet9
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class UnitNormScales(Trick):
    """Start the norms' scales at 1, and scale the logits down to make up for it.

    Drawn from 0 to 1, as PyTorch once did, a scale near 0 wastes its channel. With all at 1 the signal is
    larger, so the logits are multiplied by a constant, and the classifier needs no bias.

    Args:
        logit_scale: that constant.
    """

    logit_scale: float = 0.125

    touches = (
        "net.norm.scale_init",
        "net.logit_scale",
        "net.head_bias",
    )
    source = "Page, How to Train Your ResNet 4 (2018)"
    effect = "Page: 91.1% instead of 90.7%"
    failures = "none known; the constant wants tuning for another net"

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, ResNet9):
            raise UserError("unit-norm-scales: for resnet9; airnet's scales start at 1")
        norm = replace(plan.net.norm, scale_init="one")
        return replace(plan, net=replace(plan.net, norm=norm, logit_scale=self.logit_scale, head_bias=False))
