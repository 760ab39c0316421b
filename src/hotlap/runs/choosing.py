"""Which recipe suits images of one's own, where none was named, and how large they are made for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotlap import data as datasets
from hotlap.data.surveying import Survey
from hotlap.errors import UserError
from hotlap.files import Notify
from hotlap.machine.device import prepare
from hotlap.machine.numerics import Numerics
from hotlap.machine.resolve import resolve
from hotlap.machine.telling import told
from hotlap.nets.describe import LITES, EfficientNetLite
from hotlap.nets.pretrained import INSTALL, available
from hotlap.plan.recipe import Recipe, Set
from hotlap.plan.start import ImageNet
from hotlap.recipes.fitting import fitted
from hotlap.recipes.photos import PHOTOS
from hotlap.transfer.trunk import choose, measured_speeds

LOOKING_S = 25.0  # to look at photographs in, where no time is given
SHARE = 0.35  # of a given time, to look in; in the rest the net learns on


@dataclass(frozen=True)
class Chosen:
    """A recipe for a set of one's own.

    Args:
        recipe: what to train.
        loading: arguments of `hotlap.data.load`, with the size that the recipe wants.
        reasons: why, a line each.
        found: what was seen of the set, if it was looked at.
        setup_s: seconds that it took to measure what this machine can do, where that was not known.
    """

    recipe: Recipe
    loading: Mapping[str, Any]
    reasons: tuple[str, ...]
    found: Survey | None = None
    setup_s: float = 0.0


def choose_recipe(
    source: Any,
    loading: Mapping[str, Any],
    data_dir: Path | None,
    notify: Notify,
    scratch: bool = False,
) -> Chosen | None:
    """The recipe for images at a path: `photos` for photographs where ImageNet weights are, else one fitted
    to the data. None for a set that has a name.

    Args:
        scratch: take the one fitted to the data in any case.

    Raises:
        UserError: the path cannot be read, or there is nothing to train on.
    """
    found = datasets.survey(source, data_dir=data_dir, notify=notify, **loading)
    if found is None:
        return None
    if found.photographs and available() and not scratch:
        why = f"photographs ({found.short_side:g} px), and ImageNet weights are here"
        return Chosen(PHOTOS, loading, (why,), found)
    made = fitted(found.spec)
    reasons = made.reasons
    if found.photographs and not scratch:
        reasons = (
            *reasons,
            f"these are photographs: learnt features would do far better, {INSTALL} brings them",
        )
    return Chosen(made.recipe, loading, reasons, found)


def sized(
    recipe: Recipe,
    source: Any,
    loading: Mapping[str, Any],
    data_dir: Path | None,
    device: str,
    threads: int | None,
    seconds: float | None,
    notify: Notify,
    found: Survey | None = None,
) -> Chosen:
    """A recipe that starts from ImageNet weights, with the trunk there is time for and images of its size.

    A trunk or a size that was asked for stays. Any other recipe comes back as it is.

    Args:
        seconds: for the whole run; None is so much that it ends within a minute.
        found: what was seen of the set before; None looks now.

    Raises:
        UserError: there is no data, or none that reads; no weights are on this machine.
    """
    if isinstance(source, str) and not source:
        raise UserError(f"{recipe.name} is for images of your own; give them with --data")
    plan = recipe.plan()
    if not (isinstance(plan.start, ImageNet) and isinstance(plan.net, EfficientNetLite)):
        return Chosen(recipe, loading, ())
    reasons: tuple[str, ...] = ()
    setup_s = 0.0
    if not any(step.key == "net.variant" for step in recipe.own):
        found = found or datasets.survey(source, data_dir=data_dir, notify=notify, **loading)
        looks = looked_at(found) * (1 + plan.evaluation.tta.startswith("flip"))
        where = prepare(device, threads)
        began = time.perf_counter()
        with told(notify):
            speeds = measured_speeds(resolve(Numerics(kernels="none"), where), notify=notify)
        setup_s = time.perf_counter() - began
        time_s = LOOKING_S if seconds is None else SHARE * seconds
        variant = choose(looks, time_s, speeds)
        rate = speeds[variant]
        reasons = (
            f"{variant}: {looks:,} looks at {rate.images_per_s:.0f} images/s in {rate.precision} take"
            f" {looks / rate.images_per_s:.0f} s",
        )
        recipe = recipe.then(recipe.name, Set("net.variant", variant), summary=recipe.summary)
    if "size" not in loading:
        net = recipe.plan().net
        assert isinstance(net, EfficientNetLite)
        loading = {**loading, "size": [LITES[net.variant].size] * 2}
    return Chosen(recipe, loading, reasons, setup_s=setup_s)


def looked_at(found: Survey | None) -> int:
    return found.images if found is not None else 10_000
