from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import AirNet
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class UnitHead(Trick):
    """Start the classifier's weights at standard deviation 1 and divide the logits by the number of features.

    The head then learns on the same scale whatever the width of the net, so that its rate can be high
    from the first step.
    """

    touches = ("net.unit_head", "net.logit_scale")
    source = "airbench94_muon (Jordan, 2024)"
    effect = "lets the head take the rates of the Muon recipe; no figure of its own published"
    failures = "with the usual rates of a head the logits hardly move"

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, AirNet):
            raise UserError("unit-head: for airnet; set net.kind = 'airnet'")
        return replace(plan, net=replace(plan.net, unit_head=True, logit_scale=1 / plan.net.widths[-1]))
