"""What a run is, as frozen values: plan, tricks' protocol, recipes and their text. Imports no torch."""

from hotlap.plan.plan import (
    BASE_RULE,
    CrossEntropy,
    Evaluation,
    HardExamples,
    HighestLoss,
    Knob,
    Plan,
    Sampler,
    Shuffle,
)
from hotlap.plan.trick import Trick, trick_name

__all__ = [
    "BASE_RULE",
    "CrossEntropy",
    "Evaluation",
    "HardExamples",
    "HighestLoss",
    "Knob",
    "Plan",
    "Sampler",
    "Shuffle",
    "Trick",
    "trick_name",
]
