from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.data import augment
from hotlap.plan import Plan, Trick
from hotlap.plan.flat import put


@dataclass(frozen=True)
class ColorJitter(Trick):
    """Vary each training image's brightness and contrast.

    x becomes (x + b) * c with b and c drawn for each image each epoch, in units of the set's standard
    deviation. For photographs, where exposure does not tell the class.

    Args:
        brightness: b is uniform in +- this.
        contrast: c is uniform in 1 +- this.
    """

    brightness: float = 0.14
    contrast: float = 0.13

    touches = ("augment",)
    source = "hiverge, CIFAR-10 speedrun (2025)"
    effect = "hiverge: better accuracy for the same number of steps; no figure of its own published"
    failures = "where colour or exposure is the class; strong jitter on very short runs"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, augment=put(plan.augment, augment.ColorJitter(self.brightness, self.contrast)))
