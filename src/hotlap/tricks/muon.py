from __future__ import annotations

from dataclasses import dataclass, replace

from hotlap import optim
from hotlap.optim import SGD, Rule
from hotlap.plan import Plan, Trick
from hotlap.plan.schedule import Piecewise


@dataclass(frozen=True)
class Muon(Trick):
    """Orthogonal steps for the convolution filters; SGD for everything else; rates fall in a line to zero.

    A step's matrix is replaced by the nearest orthogonal one, so that every direction of a filter bank
    learns at the same rate, and the filters' norms are reset before each step, so that the rate means
    the same throughout. Fewer steps, each with three small extra matrix products a layer.

    Args:
        lr: of the filters, in units of their reset norms.
        momentum: of the filters.
        bias_lr: of norms' shifts and the stem's bias, for the summed loss.
        head_lr: of the classifier, for the summed loss.
        sgd_momentum: of what SGD steps.
        decay_per_example: weight decay a step and example for what SGD steps, before the rate.
        iterations: of Newton-Schulz.
        coefficients: of its polynomial.
        reset_first, reset_last: steps between resets of the filters' norms, at the start and at the end.
        filter_decay_per_example: the filters' weight decay a step and example.
    """

    lr: float = 0.24
    momentum: float = 0.6
    bias_lr: float = 0.053
    head_lr: float = 0.67
    sgd_momentum: float = 0.85
    decay_per_example: float = 2e-6
    iterations: int = 3
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    reset_first: int = 1
    reset_last: int = 1
    filter_decay_per_example: float = 0.0

    touches = ("rules", "knobs.lr", "knobs.stem_lr")
    source = "Jordan et al., Muon (2024); airbench94_muon"
    effect = "94% in 8 epochs and 200 steps where SGD takes 9.9 epochs and 476"
    failures = "for matrices only; needs its own rates; on the first and last layers SGD stays better"
    after = ("patch-whitening",)
    excludes = ("norm-bias-rate", "frozen-scales", "lars")

    def __call__(self, plan: Plan) -> Plan:
        decay = self.decay_per_example * plan.batch_size
        roles = {role: rule for rule in plan.rules for role in rule.roles}
        sgd = Rule("", (), SGD(), self.bias_lr, decay / self.bias_lr, self.sgd_momentum)
        muon = optim.Muon(self.iterations, self.coefficients, self.reset_first, self.reset_last)
        shrink = self.filter_decay_per_example * plan.batch_size
        rules = [
            Rule("filters", ("filter",), muon, self.lr, shrink, self.momentum),
            replace(
                sgd,
                name="head",
                roles=tuple(r for r in ("head_weight", "head_bias") if r in roles),
                lr=self.head_lr,
                weight_decay=decay / self.head_lr,
            ),
            replace(sgd, name="norms", roles=tuple(r for r in ("norm_weight", "norm_bias") if r in roles)),
        ]
        plan = plan.with_knob("lr", Piecewise((0.0, 1.0), (1.0, 0.0)))
        if "stem_bias" in roles:
            until = roles["stem_bias"].until
            plan = plan.with_knob("stem_lr", Piecewise((0.0, until), (1.0, 0.0)))
            rules.append(replace(sgd, name="stem", roles=("stem_bias",), lr_knob="stem_lr", until=until))
        return replace(plan, rules=tuple(rules))
