from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.data.loading import Resolution
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class ProgressiveResolution(Trick):
    """Train on smaller images first.

    Work falls with the square of the side, and what is learned early, edges and colours and coarse shape,
    needs no detail. The last stretch at full size lets the net settle on what it will be tested on.

    Args:
        until: shares of the run at which a stretch of smaller images ends.
        scale: their sides, as shares of the set's.
    """

    until: tuple[float, ...] = (0.15, 0.5)
    scale: tuple[float, ...] = (0.625, 0.75)

    touches = ("resolution",)
    source = "Howard et al., fastai's DAWNBench entry (2018); CIFAR-100 speedrun (AIDDA, 2026)"
    effect = "20 px of 32 cost 0.35 of a step, 24 px 0.52; accuracy has to be won back by more steps"
    failures = (
        "cutting the stretch at full size costs accuracy fast; very small sides leave no pixels to pool"
    )

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, resolution=Resolution(self.until, self.scale))
