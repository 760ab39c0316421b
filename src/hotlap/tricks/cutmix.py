from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.data import augment
from hotlap.plan import Plan, Trick
from hotlap.plan.flat import put


@dataclass(frozen=True)
class Cutmix(Trick):
    """Paste a square of another image into each, and blend the targets by area.

    Like cutout, but what is blanked carries information. hlb-CIFAR10 pastes 3x3 pixels, late in the run.

    Args:
        pixels: side of the square.
        start: share of the run before which nothing is pasted.
    """

    pixels: int = 3
    start: float = 0.0

    touches = ("augment",)
    source = "Yun et al., CutMix (2019); Balsam, hlb-CIFAR10 (2023)"
    effect = "part of hlb-CIFAR10's last versions; no figure of its own published"
    failures = "larger squares are known not to pay on short runs; our own figure is in docs/log.md"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, augment=put(plan.augment, augment.Cutmix(self.pixels, self.start)))
