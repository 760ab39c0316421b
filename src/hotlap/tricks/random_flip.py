from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap.data.augment import Flip
from hotlap.plan import Plan, Trick
from hotlap.plan.flat import put


@dataclass(frozen=True)
class RandomFlip(Trick):
    """Mirror images left to right with probability one half, drawn anew each epoch.

    Use it wherever a mirrored image keeps its label: photographs, not digits or text.

    Args:
        mode: `random` tosses a coin for each image; `balanced` mirrors exactly half the set (Page's groups).
    """

    mode: Literal["random", "balanced"] = "random"

    touches = ("augment",)
    source = "standard practice; in groups: Page, How to Train Your ResNet 8 (2019)"
    effect = "1 to 2 points on CIFAR-10 together with translation"
    failures = "digits, text, anything with a handedness"
    excludes = ("alternating-flip",)

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, augment=put(plan.augment, Flip(mode=self.mode)))
