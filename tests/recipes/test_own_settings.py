"""A recipe's own settings hold in its plan, or are refused."""

from __future__ import annotations

import pytest

from hotlap.errors import UserError
from hotlap.plan.flat import flatten
from hotlap.plan.recipe import Set
from hotlap.recipes import BUILTIN
from hotlap.tricks.batch_size import BatchSize
from hotlap.tricks.freeze_stages import FreezeStages

BASE = BUILTIN["page/05-main-thread-augmentation"]
LR = "rules.weights.lr"


def test_a_setting_that_a_later_trick_changes_is_refused():
    made = BASE.then("mine", BatchSize(512), Set(LR, 0.44))
    with pytest.raises(UserError, match=rf"^mine: {LR} is set to 0\.44, and .* makes 1\.76 of it; leave one"):
        made.plan()


def test_an_inherited_setting_may_be_changed_by_a_trick():
    assert flatten(BASE.then("mine", BatchSize(512)).plan())[LR] == pytest.approx(0.4)


def test_what_follows_a_setting_follows_it():
    made = flatten(BUILTIN["page/19-flip-tta"].then("mine", Set(LR, 0.5)).plan())
    assert (made[LR], made["rules.norms.lr"]) == (0.5, 32.0)


@pytest.mark.parametrize("value", [[8, 8, 8], (8, 8, 8)])
def test_lists_tuples_and_whole_numbers_hold(value):
    made = BUILTIN["muon94"].then("mine", Set("net.widths", value), Set("epochs", 9))
    assert (made.plan().net.widths, made.plan().epochs) == ((8, 8, 8), 9.0)


def test_whole_numbers_hold_in_a_list_of_others():
    made = BUILTIN["muon94"].then("mine", Set("freeze", [0, 1]), Set("net.widths", (8, 16, 32)))
    assert made.plan().freeze == (0.0, 1.0)
    rates = Set("knobs.lr.schedule.values", [0, 1, 0]), Set("knobs.lr.schedule.progress", [0, 0.5, 1])
    assert BUILTIN["muon94"].then("mine", *rates).plan().knob("lr", "test").values == (0.0, 1.0, 0.0)


def test_a_list_that_a_later_trick_changes_is_refused():
    made = BASE.then("mine", Set("freeze", [0, 0.5]), FreezeStages((0.0, 0.25)))
    with pytest.raises(UserError, match=r"freeze is set to \[0, 0\.5\], and .* makes \[0\.0, 0\.25\] of it"):
        made.plan()
    made = BASE.then("mine", Set("freeze", [0.0]), FreezeStages((0.0, 0.25)))
    with pytest.raises(UserError, match=r"freeze is set to \[0\.0\], and .* makes \[0\.0, 0\.25\] of it"):
        made.plan()


def test_of_two_settings_of_one_key_the_last_holds():
    assert BUILTIN["muon94"].then("mine", Set("epochs", 9.0), Set("epochs", 4.0)).plan().epochs == 4.0


@pytest.mark.parametrize("name", BUILTIN)
def test_every_built_in_recipe_keeps_its_own(name):
    flat = flatten(BUILTIN[name].plan())
    for step in BUILTIN[name].own:
        assert flat[step.key] == step.value
