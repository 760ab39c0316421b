from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import AirNet
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class DiracInit(Trick):
    """Start each convolution as a partial identity.

    The first in_channels filters of a convolution start as the identity, so that signal and gradient
    pass through a net without shortcuts from the first step. The other filters keep their random start.
    """

    touches = ("net.init",)
    source = "Balsam, hlb-CIFAR10 (2023)"
    effect = "lets a net without residuals train as fast as one with them"
    failures = "nothing to gain where shortcuts carry the identity already"

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, AirNet):
            raise UserError("dirac-init: for airnet, which has no residuals; set net.kind = 'airnet'")
        return replace(plan, net=replace(plan.net, init="dirac"))
