"""A recipe's own settings hold in its plan, or are refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from hotlap.errors import UserError
from hotlap.plan import Shuffle, Trick
from hotlap.plan.flat import flatten
from hotlap.plan.recipe import Set
from hotlap.recipes import BUILTIN
from hotlap.tricks.batch_size import BatchSize
from hotlap.tricks.bulk_random import BulkRandom
from hotlap.tricks.freeze_stages import FreezeStages
from hotlap.tricks.host_loading import HostLoading

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


@dataclass(frozen=True)
class Shuffled(Trick):
    def __call__(self, plan):
        return replace(plan, sampler=Shuffle())


def test_a_setting_of_what_a_later_trick_takes_out_is_refused():
    made = BUILTIN["fast94"].then("mine", Set("sampler.full", 4), Shuffled())
    with pytest.raises(
        UserError, match=r"^mine: sampler\.full is set to 4, and a trick .* makes nothing of it"
    ):
        made.plan()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("epoch", 9.0, "mine: unknown key 'epoch'; did you mean 'epochs'?; `hotlap recipes show` lists"),
        ("epochs", "9", "mine: epochs: '9' given, a number wanted"),
    ],
)
def test_a_setting_that_cannot_be_is_said_of_the_recipe(key, value, words):
    with pytest.raises(UserError) as caught:
        BASE.then("mine", Set(key, value)).plan()
    assert str(caught.value).startswith(words)


def test_tricks_in_a_wrong_order_are_said_of_the_recipe():
    with pytest.raises(
        UserError, match=r"^mine: bulk-random must come after host-loading; give host-loading"
    ):
        BUILTIN["fast94"].then("mine", BulkRandom(), HostLoading())


def test_of_two_settings_of_one_key_the_last_holds():
    assert BUILTIN["muon94"].then("mine", Set("epochs", 9.0), Set("epochs", 4.0)).plan().epochs == 4.0


@pytest.mark.parametrize("name", BUILTIN)
def test_every_built_in_recipe_keeps_its_own(name):
    flat = flatten(BUILTIN[name].plan())
    for step in BUILTIN[name].own:
        assert flat[step.key] == step.value
