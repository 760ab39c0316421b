"""The built-in recipes, by name. Importing this does not import torch."""

from __future__ import annotations

from pathlib import Path

from hotlap import recipe
from hotlap.recipe import Recipe
from hotlap.recipes import airbench, demo, fast, page

BUILTIN: dict[str, Recipe] = {
    r.name: r for r in (*page.RECIPES, *airbench.RECIPES, *fast.RECIPES, *demo.RECIPES)
}


def find(name: str) -> Recipe:
    """The recipe called `name`: a built-in one, a TOML file, or the folder of a run.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    path = Path(name).expanduser()
    if name.endswith(".toml"):
        return recipe.load(path, BUILTIN)
    if name not in BUILTIN and (path / "recipe.toml").is_file():
        return recipe.load(path / "recipe.toml", BUILTIN)
    return recipe.find_builtin(name, BUILTIN, "hotlap")


__all__ = ["BUILTIN", "find"]
