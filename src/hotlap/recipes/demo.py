"""The recipe for the built-in data set."""

from __future__ import annotations

from hotlap.plan.recipe import Set
from hotlap.recipes.airbench import MUON94
from hotlap.tricks.muon import Muon

DEMO = MUON94.then(
    "demo",
    Muon(lr=0.12),
    Set("net.widths", [32, 64, 64]),
    Set("net.logit_scale", 1 / 64),
    summary="the Muon recipe made small, for the built-in `patterns`",
    data="patterns",
    batch_size=250,
)

RECIPES = (DEMO,)
