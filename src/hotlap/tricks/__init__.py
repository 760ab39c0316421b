"""Tricks: one file each, found by looking; see `hotlap.plan.Trick` for the protocol."""

from __future__ import annotations

import importlib
import pkgutil

from hotlap.plan import Trick, trick_name


def discover() -> dict[str, type[Trick]]:
    """Every trick by name, in alphabetical order."""
    found: dict[str, type[Trick]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            own = isinstance(value, type) and issubclass(value, Trick) and value.__module__ == module.__name__
            if own:
                found[trick_name(value)] = value
    return dict(sorted(found.items()))
