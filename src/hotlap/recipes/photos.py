"""The recipe for photographs: what ImageNet taught a net, and a classifier fitted to it in seconds.

With epochs, or minutes to fill, the last three of the net's nine stages and the classifier then learn on.
"""

from __future__ import annotations

from dataclasses import replace

from hotlap.data.augment import Flip, Translate
from hotlap.nets.describe import EfficientNetLite
from hotlap.optim import LARS, Rule
from hotlap.plan import Evaluation, Plan
from hotlap.plan.recipe import Recipe
from hotlap.plan.start import FittedHead, ImageNet

NORM = replace(EfficientNetLite().norm, statistics="running")
RULE = Rule(
    "weights",
    ("filter", "head_weight", "head_bias", "norm_weight", "norm_bias"),
    LARS(eps=100.0),
    lr=0.0003,
    momentum=0.9,
)

PHOTOS = Recipe(
    "photos",
    "photographs: an EfficientNet-Lite with ImageNet weights, its classifier fitted to yours in seconds",
    Plan(
        net=EfficientNetLite("lite0", norm=NORM),
        start=ImageNet(),
        head=FittedHead(),
        augment=(Flip(), Translate(24)),
        rules=(RULE,),
        freeze=(0.0,) * 6,
        evaluation=Evaluation(tta="flip"),
        epochs=0.0,
        batch_size=32,
        target=0.0,
    ),
    data="",
)

RECIPES = (PHOTOS,)
