from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap.errors import UserError
from hotlap.nets import AirNet
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class DeepGroups(Trick):
    """More convolutions in each group of airnet, with a shortcut around all but the first.

    Args:
        depth: convolutions a group.
        residual: whether the shortcut is added before or after the group's last activation, or not at all.
        middle: channels between a group's second and last convolution; none are the group's width.
        kernels: sizes of all convolutions, group after group; none are 3. 1x1 pairs in the early groups,
            where the images are large, take little time.
        pool: what the head reads of each channel.
    """

    depth: int = 3
    residual: Literal["none", "before_act", "after_act"] = "before_act"
    middle: tuple[int, ...] = ()
    kernels: tuple[int, ...] = ()
    pool: Literal["max", "max_plus_mean"] = "max"

    touches = (
        "net.depth",
        "net.residual",
        "net.middle",
        "net.kernels",
        "net.pool",
    )
    source = "Jordan, airbench96 (2024); 1x1 pairs: CIFAR-100 speedrun (AIDDA, 2026)"
    effect = "airbench96: 96% in 37 epochs, out of reach for two convolutions a group"
    failures = "not worth its time for 94%"

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.net, AirNet):
            raise UserError("deep-groups: for airnet; resnet9 has residuals and extra-layers")
        net = replace(plan.net, depth=self.depth, residual=self.residual, middle=self.middle)
        return replace(plan, net=replace(net, kernels=self.kernels, pool=self.pool))
