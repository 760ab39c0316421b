"""hotlap: train image classifiers to a target accuracy in the least time, and see where every second went::

    import hotlap

    result = hotlap.train("muon94", data="cifar10", seed=0)
    result.accuracy, result.clocks, result.history, result.model
    hotlap.predict(result.folder, ["cat.png"])
    hotlap.draw_net("muon94").save("net.svg")

Everything here is loaded when it is first used, so importing hotlap costs nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from hotlap._version import __version__

if TYPE_CHECKING:
    from hotlap.data import load as load_data
    from hotlap.deploy.predict import Prediction, predict
    from hotlap.errors import UserError
    from hotlap.plan import Plan, Trick
    from hotlap.plan.recipe import Recipe, Set, diff
    from hotlap.recipes import find as find_recipe
    from hotlap.runs.net import NetPicture, draw_net
    from hotlap.runs.result import Result
    from hotlap.runs.start import start_run as train
    from hotlap.spec import DataSpec

_WHERE = {
    "DataSpec": ("hotlap.spec", "DataSpec"),
    "NetPicture": ("hotlap.runs.net", "NetPicture"),
    "Plan": ("hotlap.plan", "Plan"),
    "Prediction": ("hotlap.deploy.predict", "Prediction"),
    "Recipe": ("hotlap.plan.recipe", "Recipe"),
    "Result": ("hotlap.runs.result", "Result"),
    "Set": ("hotlap.plan.recipe", "Set"),
    "Trick": ("hotlap.plan", "Trick"),
    "UserError": ("hotlap.errors", "UserError"),
    "diff": ("hotlap.plan.recipe", "diff"),
    "draw_net": ("hotlap.runs.net", "draw_net"),
    "find_recipe": ("hotlap.recipes", "find"),
    "load_data": ("hotlap.data", "load"),
    "predict": ("hotlap.deploy.predict", "predict"),
    "train": ("hotlap.runs.start", "start_run"),
}

__all__ = [
    "DataSpec",
    "NetPicture",
    "Plan",
    "Prediction",
    "Recipe",
    "Result",
    "Set",
    "Trick",
    "UserError",
    "__version__",
    "diff",
    "draw_net",
    "find_recipe",
    "load_data",
    "predict",
    "train",
]

if os.environ.get("HOTLAP_ISA"):  # PyTorch's libraries read what they are held to as they start
    importlib.import_module("hotlap.machine.isa").hold()


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hotlap' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
