from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.errors import UserError
from hotlap.nets import ResNet9
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class Residuals(Trick):
    """Add two convolutions with a shortcut around them to some layers.

    x + f(x), f two convolutions with norm and activation. Page tried all eight sets of three layers: the
    first and the last together are worth the most for their time.

    Args:
        layers: which of `layer1`, `layer2`, `layer3` have one.
    """

    layers: tuple[str, ...] = ("layer1", "layer3")

    touches = ("net.residual",)
    source = "Page, How to Train Your ResNet 4 (2018); He et al. (2016)"
    effect = "Page: 93.7% in 20 epochs and 66 s instead of 91.1% in 47 s"
    failures = "on all layers it takes more time than it is worth here"

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, ResNet9):
            raise UserError("residuals: for resnet9; airnet has deep-groups, resnet18 has them built in")
        return replace(plan, net=replace(plan.net, residual=self.layers))
