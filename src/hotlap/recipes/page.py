"""The recipes of "How to Train Your ResNet" (Page, 2018-2019)."""

from __future__ import annotations

from hotlap.nets import ResNet18
from hotlap.plan import Plan
from hotlap.recipe import Recipe, Set
from hotlap.schedule import Piecewise
from hotlap.tricks.celu import Celu
from hotlap.tricks.ema import Ema
from hotlap.tricks.flip_tta import FlipTta
from hotlap.tricks.frozen_scales import FrozenScales
from hotlap.tricks.ghost_norm import GhostNorm
from hotlap.tricks.label_smoothing import LabelSmoothing
from hotlap.tricks.patch_whitening import PatchWhitening
from hotlap.tricks.pool_before_norm import PoolBeforeNorm
from hotlap.tricks.random_flip import RandomFlip
from hotlap.tricks.translate import Translate

AUGMENT = (Translate(pixels=4, mode="balanced"), RandomFlip(mode="balanced"))

RESNET9 = Recipe(
    "resnet9",
    "Page's nine-layer net with crops and flips: the ground that post 8 builds on",
    Plan(),
    AUGMENT,
)

FLIP_TTA = RESNET9.then(
    "page/19-flip-tta",
    Set("rules.weights.lr", 1.0),
    PoolBeforeNorm(),
    LabelSmoothing(0.2),
    Celu(),
    GhostNorm(16),
    FrozenScales(),
    PatchWhitening(),
    Ema(),
    FlipTta(),
    summary="the end of the series: 94.1% in 10 epochs, 26 s on a V100",
    epochs=10.0,
)

RESNET18 = Recipe(
    "resnet18",
    "where the series starts: the DAWNBench pre-activation ResNet-18, 35 epochs",
    Plan(net=ResNet18(stem_norm=False), epochs=35.0, batch_size=128).with_knob(
        "lr", Piecewise((0.0, 15 / 35, 30 / 35, 1.0), (0.0, 1.0, 0.05, 0.0), at="end")
    ),
    (*AUGMENT, Set("rules.weights.lr", 0.1)),
)

RECIPES = (RESNET18, RESNET9, FLIP_TTA)
