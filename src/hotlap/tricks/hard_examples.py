from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap import plan as plans
from hotlap.nets import AirNet, WhitenStem
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class HardExamples(Trick):
    """Train on the half of each batch that a small proxy net finds hardest.

    The proxy sees all images first, in the order and augmentation of the run, learning at every few steps and
    noting at each which images have the highest loss. The main net trains on those alone: half the work a
    step. Pays on long runs, where most images are easy by the end.

    Args:
        of: images drawn a step, of which the batch size is kept.
        every: the proxy learns at every so many steps.
        widths: of the proxy, an airnet.
        bias: whether the proxy's whitening has a bias, as the main net's.
        rule: how rates quoted for the batch mean follow the smaller batch: `linear` keeps what each example
            moves, `none` leaves them as they are given.
    """

    of: int = 1024
    every: int = 4
    widths: tuple[int, ...] = (32, 64, 64)
    bias: bool = True
    rule: Literal["linear", "none"] = "linear"

    touches = (
        "sampler",
        "batch_size",
        "rules",
    )
    source = "Jordan, airbench96_faster (2024)"
    effect = "airbench96: 27.3 s instead of 34.7 s"
    failures = "on short runs the proxy costs more than it saves, and dropping easy examples costs accuracy"
    after = ("fast-norm-statistics",)
    excludes = ("highest-loss",)

    def __call__(self, plan: Plan) -> Plan:
        kept = self.of // 2
        times = kept / plan.batch_size if self.rule == "linear" else 1.0
        rules = tuple(
            replace(r, lr=r.lr * times, weight_decay=r.weight_decay / times)
            if getattr(r.optimizer, "quoted_for", "sum") == "mean"
            else r
            for r in plan.rules
        )
        proxy = AirNet(widths=self.widths, stem=WhitenStem(bias=self.bias))
        proxy = replace(proxy, norm=replace(proxy.norm, momentum=plan.net.norm.momentum))
        sampler = plans.HardExamples(self.of, self.every, proxy)
        return replace(plan, sampler=sampler, batch_size=kept, rules=rules)
