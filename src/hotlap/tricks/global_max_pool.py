from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import ResNet9
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class GlobalMaxPool(Trick):
    """Let the classifier read each channel's largest value only, not its mean beside it.

    Halves what the classifier reads; wider last channels make up for it.
    """

    touches = ("net.head",)
    source = "Page, How to Train Your ResNet 4 (2018)"
    effect = "Page: 90.7% in 47 s, together with a last width of 512"
    failures = "mean pooling alone does worse in this net (Page)"

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, ResNet9):
            raise UserError("global-max-pool: for resnet9; airnet has it built in, resnet18 reads both")
        return replace(plan, net=replace(plan.net, head="max"))
