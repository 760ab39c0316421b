"""The recipe for photographs: what ImageNet taught a net, and a classifier fitted to it in seconds."""

from __future__ import annotations

from hotlap.nets.describe import EfficientNetLite
from hotlap.optim import SGD, Rule
from hotlap.plan import Evaluation, Plan
from hotlap.plan.recipe import Recipe
from hotlap.plan.start import FittedHead, ImageNet

RULE = Rule(
    "weights",
    ("filter", "head_weight", "head_bias", "norm_weight", "norm_bias"),
    SGD(quoted_for="mean"),
    lr=0.01,
    momentum=0.9,
)

PHOTOS = Recipe(
    "photos",
    "photographs: an EfficientNet-Lite with ImageNet weights, its classifier fitted to yours in seconds",
    Plan(
        net=EfficientNetLite("lite0"),
        start=ImageNet(),
        head=FittedHead(),
        rules=(RULE,),
        evaluation=Evaluation(tta="flip"),
        epochs=1.0,
        batch_size=32,
        target=0.0,
    ),
    data="",
)

RECIPES = (PHOTOS,)
