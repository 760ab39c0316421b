"""The recipes of the airbench lineage (Jordan, 2024), after hlb-CIFAR10 (Balsam, 2023)."""

from __future__ import annotations

from dataclasses import replace

from hotlap.nets import AirNet, ConvStem
from hotlap.optim import SGD
from hotlap.plan import BASE_RULE, Plan
from hotlap.recipe import Recipe, Set
from hotlap.schedule import Piecewise
from hotlap.tricks.alternating_flip import AlternatingFlip
from hotlap.tricks.dirac_init import DiracInit
from hotlap.tricks.label_smoothing import LabelSmoothing
from hotlap.tricks.lookahead import Lookahead
from hotlap.tricks.multi_crop_tta import MultiCropTta
from hotlap.tricks.muon import Muon
from hotlap.tricks.norm_bias_rate import NormBiasRate
from hotlap.tricks.patch_whitening import PatchWhitening
from hotlap.tricks.translate import Translate
from hotlap.tricks.unit_head import UnitHead

# airbench quotes 11.5 per 1024 examples before a Nesterov correction of 1 + 1 / (1 - 0.85)
AIRBENCH_LR = 11.5 / (1 + 1 / (1 - 0.85))

AIRNET = Recipe(
    "airnet",
    "the airbench net and schedule without its tricks",
    Plan(
        net=AirNet(stem=ConvStem(), init="default"),
        rules=(
            replace(
                BASE_RULE,
                optimizer=SGD(quoted_for="mean"),
                lr=AIRBENCH_LR,
                weight_decay=0.0153 / 11.5,
                momentum=0.85,
            ),
        ),
        knobs=(),
        epochs=9.9,
        batch_size=1024,
    ).with_knob("lr", Piecewise((0.0, 0.23, 1.0), (0.2, 1.0, 0.07))),
)

AIRBENCH94 = AIRNET.then(
    "airbench94",
    Translate(2),
    AlternatingFlip(),
    DiracInit(),
    LabelSmoothing(0.2),
    PatchWhitening(
        kernel=2, signs=2, bias=True, bias_until=3 / 9.9, pointwise=False, eps=5e-4, images=5000, padding=0
    ),
    NormBiasRate(64.0),
    Lookahead(),
    MultiCropTta(),
    summary="94.01% in 9.9 epochs with SGD; 3.83 s on an A100 as published",
)

MUON94 = AIRBENCH94.then(
    "muon94",
    Set("batch_size", 2000),
    PatchWhitening(
        kernel=2, signs=2, bias=True, bias_until=3 / 8, pointwise=False, eps=5e-4, images=5000, padding=0
    ),
    UnitHead(),
    Muon(),
    without=("norm-bias-rate", "lookahead"),
    summary="94.01% in 8 epochs and 200 steps with Muon; 2.59 s on an A100 as published",
    epochs=8.0,
)

RECIPES = (AIRNET, AIRBENCH94, MUON94)
