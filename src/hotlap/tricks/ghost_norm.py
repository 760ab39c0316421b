from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class GhostNorm(Trick):
    """Normalise parts of the batch apart, as if each were a small batch of its own.

    Batch norm regularises through the noise of its statistics, and that noise is best at about 32
    examples, far below the batch size that runs fastest. So the statistics, and only they, are taken
    over parts of the batch, on one device.

    Args:
        splits: parts of a batch; 512 / 16 = 32 examples each.
        grouping: `strided` puts example i in part i mod splits; `contiguous` takes neighbours.
    """

    splits: int = 16
    grouping: Literal["strided", "contiguous"] = "strided"

    touches = ("net.norm.splits", "net.norm.grouping")
    source = "Hoffer et al. (2017); Page, How to Train Your ResNet 8 (2019)"
    effect = "Page: 94.1% in 18 epochs instead of 20, with the rate raised by half"
    failures = "parts below about 16 examples make the statistics too noisy; many small kernels on a GPU"

    def __call__(self, plan: Plan) -> Plan:
        norm = replace(plan.net.norm, splits=self.splits, grouping=self.grouping)
        return replace(plan, net=replace(plan.net, norm=norm))
