from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap import plan as plans
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class HighestLoss(Trick):
    """Leave out, pass by pass, the images that the net knows already.

    After some passes over all images each pass takes those whose loss was highest when they were last
    trained on. Nothing is computed for it: the losses are there from the steps. An image that is left out
    keeps its loss while others' fall, so that it comes back by itself. Steps are as many as without, and each
    image that is hard is seen more often in them.

    Args:
        full: passes over all images.
        share: of the images that a later pass takes.
    """

    full: int = 3
    share: float = 0.6

    touches = ("sampler",)
    source = "Jiang et al., Accelerating Deep Learning by Focusing on the Biggest Losers (2019): stale losses"
    effect = "CIFAR-10: 6.25 epochs come to about what eight do without (docs/log.md)"
    failures = "labels that are wrong have high losses, and are what is trained on most"
    excludes = ("hard-examples",)

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, sampler=plans.HighestLoss(self.full, self.share))
