"""The built-in recipes, by name. Importing this does not import torch."""

from __future__ import annotations

import os
from pathlib import Path

from hotlap.plan.recipe import Recipe
from hotlap.recipes import airbench, demo, fast, page, photos, reading

BUILTIN: dict[str, Recipe] = {
    r.name: r for r in (*page.RECIPES, *airbench.RECIPES, *fast.RECIPES, *demo.RECIPES, *photos.RECIPES)
}


def find(name: str) -> Recipe:
    """The recipe called `name`: a built-in one, a TOML file, or the folder of a run.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    path = Path(name).expanduser()
    if name.endswith(".toml"):
        return reading.load(path, BUILTIN)
    if name not in BUILTIN and os.path.isfile(path / "recipe.toml"):
        return reading.load(path / "recipe.toml", BUILTIN)
    return reading.find_builtin(name, BUILTIN, "hotlap")


__all__ = ["BUILTIN", "find"]
