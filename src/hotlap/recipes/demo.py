"""The recipe for the built-in data set."""

from __future__ import annotations

from hotlap.recipe import Recipe
from hotlap.recipes.airbench import MUON94

DEMO: Recipe = MUON94.then(
    "demo",
    summary="the Muon recipe made small, for the built-in `patterns`",
    data="patterns",
    epochs=12.0,
    batch_size=500,
)

RECIPES = (DEMO,)
