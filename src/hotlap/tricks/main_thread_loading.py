from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.data.loading import HostLoader
from hotlap.errors import UserError
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class MainThreadLoading(Trick):
    """Prepare batches in the training process, without loader processes.

    Once an image costs little to prepare, sending it between processes costs more. Where preparing is
    expensive, processes hide it behind the device's work: measure both.
    """

    touches = ("loader",)
    source = "Page, How to Train Your ResNet 1 (2018)"
    effect = "Page: 297 s instead of 301 s"
    failures = "heavy per-image work, such as decoding, wants processes"
    after = ("host-loading",)
    excludes = ("device-loading",)

    def __call__(self, plan: Plan) -> Plan:
        if not isinstance(plan.loader, HostLoader):
            raise UserError(
                "main-thread-loading: the device loader has no processes; set loader.kind = 'hostloader'"
            )
        return replace(plan, loader=replace(plan.loader, workers=0))
