from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.data.loading import HostLoader
from hotlap.errors import UserError
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class BulkRandom(Trick):
    """Draw all random choices of an epoch in one call, not some for each image.

    A call to a random number generator from Python costs microseconds, and augmentation makes millions.
    """

    touches = ("loader",)
    source = "Page, How to Train Your ResNet 1 (2018)"
    effect = "Page: 301 s instead of 308 s"
    failures = "none known"
    after = ("host-loading",)
    excludes = ("device-loading",)

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.loader, HostLoader):
            raise UserError(
                "bulk-random: the device loader always draws in bulk; set loader.kind = 'hostloader'"
            )
        return replace(plan, loader=replace(plan.loader, random="bulk"))
