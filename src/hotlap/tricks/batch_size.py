from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hotlap.optim import SGD
from hotlap.plan import Plan, Trick


@dataclass(frozen=True)
class BatchSize(Trick):
    """Change the batch size, and the learning rate by a rule.

    With rates quoted for the mean loss, `linear` multiplies them by the ratio of the sizes, so that every
    example moves the weights as far as before; `sqrt` keeps the noise of a step; `none` leaves them. Rates
    quoted for the summed loss already scale in proportion and are divided instead, where the rule says less;
    their weight decay is multiplied by the ratio, so that a step decays the weights by rate times the same.

    Args:
        size: images a step.
        rule: how the rates follow.
    """

    size: int = 512
    rule: Literal["linear", "sqrt", "none"] = "linear"

    touches = (
        "batch_size",
        "rules",
    )
    source = (
        "Page, How to Train Your ResNet 2 (2018); linear: Goyal et al. (2017); square root: Krizhevsky (2014)"
    )
    effect = "Page: 256 s instead of 297 s at 512, with the rate raised by a tenth more than linear"
    failures = "beyond some size curvature forbids the rate the rule asks for, and training takes more epochs"

    def __call__(self, plan: Plan) -> Plan:
        ratio = self.size / plan.batch_size
        power = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}[self.rule]
        rules = []
        for rule in plan.rules:
            optimizer = rule.optimizer
            if isinstance(optimizer, SGD):
                times = ratio ** (power if optimizer.quoted_for == "mean" else power - 1)
                decay_times = 1.0 if optimizer.quoted_for == "mean" else ratio
                rule = replace(rule, lr=rule.lr * times, weight_decay=rule.weight_decay * decay_times)
            rules.append(rule)
        return replace(plan, batch_size=self.size, rules=tuple(rules))
