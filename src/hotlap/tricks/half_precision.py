from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class HalfPrecision(Trick):
    """Compute activations in half precision.

    Half the memory traffic, and matrix units many times faster than float32's. Weights stay in float32. On a
    CPU, which has no fast fp16, it is bf16, where that measures faster than fp32, and the run says so.

    Args:
        norms: whether the norms' parameters and statistics are kept in float32, or turned to half as well.
    """

    norms: Literal["fp32", "half"] = "fp32"

    touches = (
        "numerics.precision",
        "net.norm.precision",
    )
    source = "Micikevicius et al. (2018); norms: Page, How to Train Your ResNet 3 (2018)"
    effect = "norms in half took a slow code path: Page's 256 s became 186 s with them in float32"
    failures = (
        "fp16 overflows above 65,504: sum losses with "
        "care; processors without half-precision units are slower"
    )

    def __call__(self, plan: Plan) -> Plan:
        norm = replace(plan.net.norm, precision=self.norms)
        numerics = replace(plan.numerics, precision="half")
        return replace(plan, net=replace(plan.net, norm=norm), numerics=numerics)
