"""`hotlap.train`: a recipe trained in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotlap.data import load as load_data
from hotlap.plan.recipe import Recipe
from hotlap.recipes import find
from hotlap.recipes.fitting import fitted
from hotlap.runs.choosing import choose_recipe, sized
from hotlap.runs.execute import execute
from hotlap.runs.folder import default_folder
from hotlap.runs.reporter import PrintRows, Reporter
from hotlap.runs.result import Result
from hotlap.runs.run import Run


def start_run(
    recipe: str | Recipe | None = None,
    data: Any = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    data_dir: str | Path | None = None,
    threads: int | None = None,
    reporter: Reporter | None = None,
    size: int | tuple[int, int] | None = None,
    fit: str | None = None,
    strict: bool = False,
    start_from: str | Path | None = None,
    balance: bool = False,
    minutes: float | None = None,
    **settings: Any,
) -> Result:
    """Train: `hotlap.train("muon94", data="cifar10", seed=0)`, or `hotlap.train(data="photos/")`.

    Args:
        recipe: a built-in recipe's name, a TOML file, or a `Recipe`; None takes what suits images of one's
            own, and `muon94` for a set that has a name.
        data: a source as in `--data`, or what `hotlap.load_data` takes in Python: arrays (images, labels),
            two pairs of them, or an iterable of (PIL image, label). None takes the recipe's own set.
        seed: of everything random.
        out: the run's folder; None makes one under `runs/`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        data_dir: where to look for the data.
        threads: CPU threads.
        reporter: told about progress; None prints one line an epoch.
        size, fit, strict: how images of one's own are read; see `hotlap.load_data`.
        start_from: a run's folder or a safetensors file, whose weights the run starts with.
        balance: whether rare classes count as much as common ones.
        minutes: that the whole run is to take, in place of the recipe's epochs.
        settings: values of the plan by key, with `__` for a dot: `epochs=4.0, net__widths=[32, 64, 64]`.

    Raises:
        UserError: bad input of any kind, in one line.
    """
    tell, root = reporter or PrintRows(), Path(data_dir) if data_dir else None
    asked = {"size": size, "fit": fit, "strict": strict or None}
    how: Mapping[str, Any] = {k: v for k, v in asked.items() if v is not None}
    named = isinstance(data, str | Path)
    if data is not None and not named:  # what Python holds is looked at once, and is its own description
        data = held = load_data(data, notify=tell.note, **how)
        chosen = fitted(held.spec).recipe if recipe is None else None
    else:
        suited = choose_recipe(data, how, root, tell.note) if recipe is None and named else None
        chosen = suited.recipe if suited else None
        found = suited.found if suited else None
    made = chosen or (recipe if isinstance(recipe, Recipe) else find(recipe or "muon94"))
    values = {k.replace("__", "."): v for k, v in settings.items()}
    if balance:
        values["loss.balance"] = "classes"
    if values:
        made = made.then(made.name, **values)
    if start_from is not None:
        made = made.starting_from(str(start_from))
    source = data if data is not None else made.data
    setup_s = 0.0
    if named or data is None:
        seconds = None if minutes is None else 60 * minutes
        fits = sized(made, source, how, root, device, threads, seconds, tell.note, found)
        made, how, setup_s = fits.recipe, fits.loading, fits.setup_s
    name = str(source) if named or data is None else "images in memory"
    folder = Path(out) if out else default_folder(made.name, name, seed)
    run = Run(made, name, seed, folder, device, root, threads, loading=how, minutes=minutes)
    in_memory = None if named or data is None else data
    return execute(run, tell, age_s=setup_s, setup_s=setup_s, dataset=in_memory)
