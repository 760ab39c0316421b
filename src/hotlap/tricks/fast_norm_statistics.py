from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class FastNormStatistics(Trick):
    """Let the norms' running statistics follow the batches faster.

    Evaluation uses running averages of the statistics. On a run of a few hundred steps PyTorch's share of 0.1
    for the newest batch lags behind weights that still move.

    Args:
        momentum: the share of the newest batch.
    """

    momentum: float = 0.4

    touches = ("net.norm.momentum",)
    source = "Balsam, hlb-CIFAR10 (2023)"
    effect = "needed below about ten epochs; no figure of its own published"
    failures = "small batches make fast statistics noisy"

    def __call__(self, plan: Plan) -> Plan:
        norm = replace(plan.net.norm, momentum=self.momentum)
        return replace(plan, net=replace(plan.net, norm=norm))
