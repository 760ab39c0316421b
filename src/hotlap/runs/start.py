"""`hotlap.train`: a recipe trained in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hotlap.plan.recipe import Recipe
from hotlap.recipes import find
from hotlap.runs.execute import execute
from hotlap.runs.folder import default_folder
from hotlap.runs.reporter import PrintRows, Reporter
from hotlap.runs.result import Result
from hotlap.runs.run import Run


def start_run(
    recipe: str | Recipe = "muon94",
    data: str | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
    threads: int | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Result:
    """Train a recipe: `hotlap.train("muon94", data="cifar10", seed=0)`.

    Args:
        recipe: a built-in recipe's name, a TOML file, or a `Recipe`.
        data: a source as in `--data`; None takes the one the recipe was made for.
        seed: of everything random.
        out: the run's folder; None makes one under `runs/`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: where to look for the data.
        threads: CPU threads.
        reporter: told about progress; None prints one line an epoch.
        settings: values of the plan by key, with `__` for a dot: `epochs=4.0, net__widths=[32, 64, 64]`.

    Raises:
        UserError: bad input of any kind, in one line.
    """
    made = recipe if isinstance(recipe, Recipe) else find(recipe)
    if settings:
        made = made.then(made.name, **{k.replace("__", "."): v for k, v in settings.items()})
    source = data or made.data
    folder = Path(out) if out else default_folder(made.name, source, seed)
    run = Run(made, source, seed, folder, device, Path(data_dir) if data_dir else None, threads)
    return execute(run, reporter or PrintRows())
