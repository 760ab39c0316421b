from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class FreezeStages(Trick):
    """Stop training the first stages late in the run.

    Early layers settle first. Once they are frozen the backward pass ends where training begins, which saves
    up to their share of it. Their norms keep following the batches.

    Args:
        until: shares of the run after which the stem, the first group, the second, ... are frozen.
    """

    until: tuple[float, ...] = (0.8, 0.8)

    touches = ("freeze",)
    source = "Brock et al., FreezeOut (2017)"
    effect = "reported as cheap from three quarters of the run on; a few percent of the time"
    failures = "frozen too early it costs more accuracy than it saves time"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, freeze=self.until)
