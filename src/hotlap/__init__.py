"""hotlap: train image classifiers to a target accuracy in the least time, and see where every second went.

    import hotlap

    result = hotlap.train("muon94", data="cifar10", seed=0)
    result.accuracy, result.clocks, result.history, result.model
    hotlap.predict(result.folder, ["cat.png"])

Everything here is loaded when it is first used, so importing hotlap costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hotlap._version import __version__

if TYPE_CHECKING:
    from hotlap.data import load as load_data
    from hotlap.errors import UserError
    from hotlap.plan import Plan, Trick
    from hotlap.predictor import Prediction, predict
    from hotlap.recipe import Recipe, Set, diff
    from hotlap.recipes import find as find_recipe
    from hotlap.run import Result
    from hotlap.run import start_run as train
    from hotlap.spec import DataSpec

_WHERE = {
    "DataSpec": ("hotlap.spec", "DataSpec"),
    "Plan": ("hotlap.plan", "Plan"),
    "Prediction": ("hotlap.predictor", "Prediction"),
    "Recipe": ("hotlap.recipe", "Recipe"),
    "Result": ("hotlap.run", "Result"),
    "Set": ("hotlap.recipe", "Set"),
    "Trick": ("hotlap.plan", "Trick"),
    "UserError": ("hotlap.errors", "UserError"),
    "diff": ("hotlap.recipe", "diff"),
    "find_recipe": ("hotlap.recipes", "find"),
    "load_data": ("hotlap.data", "load"),
    "predict": ("hotlap.predictor", "predict"),
    "train": ("hotlap.run", "start_run"),
}

__all__ = [
    "DataSpec",
    "Plan",
    "Prediction",
    "Recipe",
    "Result",
    "Set",
    "Trick",
    "UserError",
    "__version__",
    "diff",
    "find_recipe",
    "load_data",
    "predict",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hotlap' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
