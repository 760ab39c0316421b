from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import ResNet9
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class ExtraLayers(Trick):
    """Add one more convolution, norm and activation to some layers.

    Args:
        layers: which of `layer1`, `layer2`, `layer3` have one.
    """

    layers: tuple[str, ...] = ("layer1", "layer2", "layer3")

    touches = ("net.extra",)
    source = "Page, How to Train Your ResNet 4 (2018)"
    effect = "Page: 95.0% at 60 epochs and 180 s with 12x12 cutout"
    failures = "without shortcuts a net cannot be made much deeper"

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, ResNet9):
            raise UserError("extra-layers: for resnet9; airnet has deep-groups")
        return replace(plan, net=replace(plan.net, extra=self.layers))
