"""The rungs of Page's series: which there are, what each is made of, and what each changes of another."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatch
from typing import NamedTuple

import pytest

from hotlap.data.augment import Cutout
from hotlap.plan import Trick
from hotlap.plan.flat import flatten
from hotlap.plan.recipe import Recipe, Set
from hotlap.recipes import BUILTIN
from hotlap.recipes.published import PAGE


class Rung(NamedTuple):
    """What was published of a rung, and the rung it changes."""

    name: str
    base: str | None
    epochs: float
    batch: int
    peak: float  # learning rate for the batch mean
    cutout: int | None  # side of the square, pixels


RUNGS = [
    Rung("01-baseline", None, 35, 128, 0.1, None),
    Rung("02-tidy-stem-and-schedule", "01", 35, 128, 0.1, None),
    Rung("03-preprocess-once", "02", 35, 128, 0.1, None),
    Rung("04-bulk-random-numbers", "03", 35, 128, 0.1, None),
    Rung("05-main-thread-augmentation", "04", 35, 128, 0.1, None),
    Rung("06-larger-batch", "05", 35, 512, 0.44, None),
    Rung("07-norm-in-fp32", "06", 35, 512, 0.44, None),
    Rung("08-cutout-earlier-peak", "07", 30, 512, 0.4, 8),
    Rung("09-batch-768", "08", 30, 768, 0.6, 8),
    Rung("a1-backbone", "08", 20, 512, 0.4, 8),
    Rung("a2-no-repeated-norm", "a1", 20, 512, 0.4, 8),
    Rung("a3-3x3-down-sampling", "a2", 20, 512, 0.4, 8),
    Rung("a4-max-pool-down-sampling", "a3", 20, 512, 0.4, 8),
    Rung("a5-final-width-global-max-pool", "a4", 20, 512, 0.4, 8),
    Rung("a6-unit-norm-scales", "a5", 20, 512, 0.4, 8),
    Rung("a7-residuals", "a6", 20, 512, 0.4, 8),
    Rung("a8-double-width", "a6", 60, 512, 0.4, 8),
    Rung("a9-extra-layers", "a6", 60, 512, 0.4, 12),
    Rung("10-resnet9", "a7", 24, 512, 0.4, 8),
    Rung("11-device-augmentation", "10", 24, 512, 0.4, 8),
    Rung("12-pool-before-norm", "11", 25, 512, 0.4, 8),
    Rung("13-label-smoothing", "12", 23, 512, 0.4, 8),
    Rung("14-celu", "13", 20, 512, 0.4, 8),
    Rung("15-ghost-norm", "14", 18, 512, 0.6, 8),
    Rung("16-frozen-scales", "15", 17, 512, 0.6, 8),
    Rung("17-patch-whitening", "16", 14, 512, 1.0, 5),
    Rung("18-ema", "17", 13, 512, 1.0, 5),
    Rung("19-flip-tta", "18", 10, 512, 1.0, None),
    Rung("20-convergence", "19", 80, 512, 0.4, 12),
]
NAMES = [f"page/{r.name}" for r in RUNGS]
CHANGING = [name for name, r in BUILTIN.items() if r.base]  # the other recipes keep the same law


def test_the_rungs_stand_in_their_order():
    assert [name for name in BUILTIN if name.startswith("page/")] == NAMES
    assert [f"page/{name}" for name in PAGE] == NAMES


@pytest.mark.parametrize("rung", RUNGS, ids=lambda r: r.name)
def test_a_rung_is_as_published(rung):
    recipe = BUILTIN[f"page/{rung.name}"]
    plan = recipe.plan()
    base = recipe.base or ""
    assert base.startswith(f"page/{rung.base}-") if rung.base else not base
    assert (plan.epochs, plan.batch_size) == (rung.epochs, rung.batch)
    weights = next(r for r in plan.rules if "filter" in r.roles)
    values = plan.knob("lr", "test").values
    assert weights.lr * max(values) == pytest.approx(rung.peak)
    assert [op.pixels for op in plan.augment if isinstance(op, Cutout)] == (
        [rung.cutout] if rung.cutout else []
    )
    assert plan.target == (96 if rung.name.startswith("20") else 94)


# -- what a rung changes of its base ---------------------------------------------------------------


def under(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}.")


def own_tricks(recipe: Recipe, base: Recipe) -> list[Trick]:
    """The tricks that a recipe adds to its base, gives other settings, or drops (as the base has them)."""
    mine, theirs = set(recipe.tricks), set(base.tricks)
    return sorted(mine ^ theirs, key=lambda t: (t.name, repr(t)))


def changed_keys(recipe: Recipe, base: Recipe) -> set[str]:
    old, new = flatten(base.plan()), flatten(recipe.plan())
    return {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}


def follows_a_rate(key: str, recipe: Recipe, base: Recipe) -> bool:
    """Whether `key` is a rate that has kept its ratio to one that the recipe sets itself."""
    old, new = flatten(base.plan()), flatten(recipe.plan())
    rates = [s.key for s in recipe.own if fnmatch(s.key, "rules.*.lr")]
    return fnmatch(key, "rules.*.lr") and any(
        key in old and new[key] / new[rate] == pytest.approx(old[key] / old[rate]) for rate in rates
    )


def unclaimed(recipe: Recipe, base: Recipe) -> set[str]:
    """Keys that change though no trick or setting that is the recipe's own claims them."""
    claims = [t for trick in own_tricks(recipe, base) for t in trick.touches] + [s.key for s in recipe.own]
    return {
        key
        for key in changed_keys(recipe, base)
        if not any(under(key, claim) for claim in claims) and not follows_a_rate(key, recipe, base)
    }


@pytest.mark.parametrize("name", CHANGING)
def test_a_recipe_changes_only_what_its_own_tricks_and_settings_claim(name):
    assert unclaimed(BUILTIN[name], BUILTIN[BUILTIN[name].base]) == set()


@pytest.mark.parametrize("name", CHANGING)
def test_every_trick_and_setting_of_its_own_changes_something(name):
    recipe, base = BUILTIN[name], BUILTIN[BUILTIN[name].base]
    changed = changed_keys(recipe, base)
    for claims in [t.touches for t in own_tricks(recipe, base)] + [(s.key,) for s in recipe.own]:
        assert any(under(key, claim) for key in changed for claim in claims), claims


def test_a_recipe_that_changes_more_than_it_claims_is_caught():
    base = BUILTIN["page/13-label-smoothing"]
    celu = BUILTIN["page/14-celu"]
    assert unclaimed(celu, base) == set()
    more = replace(celu, steps=(*celu.steps, Set("loss.smoothing", 0.1)))  # not given as its own
    assert unclaimed(more, base) == {"loss.smoothing"}
    # an inherited trick's slots are no excuse: label smoothing is a trick of both
    assert any("loss.smoothing" in t.touches for t in celu.tricks)
    faster = BUILTIN["page/19-flip-tta"].then("x", Set("rules.weights.lr", 0.5))
    assert unclaimed(faster, BUILTIN["page/19-flip-tta"]) == set()  # the shifts' rate follows, 64-fold
    apart = replace(faster, steps=(*faster.steps, Set("rules.norms.lr", 1.0)))
    assert unclaimed(apart, BUILTIN["page/19-flip-tta"]) == {"rules.norms.lr"}


# -- on the command line -------------------------------------------------------------------------

CELU = [
    "- epochs = 23.0",
    "+ epochs = 20.0",
    '- net.activation = "relu"',
    '+ net.activation = "celu"',
    "- net.celu_alpha = 1.0",
    "+ net.celu_alpha = 0.075",
]


def test_the_command_line_prints_exactly_what_a_rung_changes(cli):
    words = ("recipes", "diff", "page/13-label-smoothing", "page/14-celu")
    assert cli(*words).out.splitlines() == CELU
    assert json.loads(cli(*words, "--json").out)["diff"] == CELU


@pytest.mark.parametrize("name", CHANGING)
def test_what_it_prints_is_all_that_a_recipe_changes(cli, name):
    recipe, base = BUILTIN[name], BUILTIN[BUILTIN[name].base]
    old, new = set(base.text().splitlines()), set(recipe.text().splitlines())
    lines = {f"- {line}" for line in old - new} | {f"+ {line}" for line in new - old}
    printed = cli("recipes", "diff", base.name, name).out.splitlines()
    assert len(printed) == len(set(printed))
    outside = ("name = ", "data = ")  # what a recipe is called and made for is no part of its plan
    assert set(printed) == {line for line in lines if not line[2:].startswith(outside)}
