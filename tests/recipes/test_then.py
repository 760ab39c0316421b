"""A recipe made of another: what is replaced, left out, inherited, and refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotlap.errors import UserError
from hotlap.optim import SGD, Rule
from hotlap.plan import Knob, Plan
from hotlap.plan.recipe import Recipe, Set, check_order, diff, settings_text, starter
from hotlap.plan.schedule import Constant
from hotlap.plan.start import FromRun, Scratch
from hotlap.tricks.batch_size import BatchSize
from hotlap.tricks.cutout import Cutout
from hotlap.tricks.ema import Ema
from hotlap.tricks.label_smoothing import LabelSmoothing
from hotlap.tricks.lookahead import Lookahead
from hotlap.tricks.muon import Muon
from hotlap.tricks.patch_whitening import PatchWhitening

ROOT = Recipe("root", "where all begins", Plan(), data="patterns")
BASE = ROOT.then("base", LabelSmoothing(0.1), Cutout(4), Set("epochs", 9.0), summary="with two tricks")


def test_the_next_recipe_inherits_what_it_is_not_given():
    made = BASE.then("mine", batch_size=64)
    assert (made.name, made.base, made.summary, made.data) == ("mine", "base", "with two tricks", "patterns")
    assert made.own == (Set("batch_size", 64),)
    other = BASE.then("mine", Set("target", 90.0), summary="mine", data="cifar100", epochs=3.0)
    assert (other.summary, other.data) == ("mine", "cifar100")
    assert other.own == (Set("target", 90.0), Set("epochs", 3.0))
    assert ROOT.base is None


def test_what_is_there_already_is_replaced_where_it_stands():
    made = BASE.then("mine", Cutout(8), Set("epochs", 3.0), LabelSmoothing(0.3), Set("batch_size", 64))
    assert made.steps == (LabelSmoothing(0.3), Cutout(8), Set("epochs", 3.0), Set("batch_size", 64))
    assert made.tricks == (LabelSmoothing(0.3), Cutout(8))
    assert (made.plan().epochs, made.plan().batch_size, made.plan().loss.smoothing) == (3.0, 64, 0.3)


def test_tricks_are_left_out_by_name_and_settings_stay():
    assert BASE.then("mine", without=["cutout"]).steps == (LabelSmoothing(0.1), Set("epochs", 9.0))
    assert BASE.then("mine", without=("cutout", "label-smoothing")).steps == (Set("epochs", 9.0),)
    again = BASE.then("mine", Cutout(2), without=["cutout"])  # left out where it was, and added at the end
    assert again.steps == (LabelSmoothing(0.1), Set("epochs", 9.0), Cutout(2))
    for missing in ("epochs", "cutuot"):
        with pytest.raises(UserError, match=f"^recipe 'base' has no trick '{missing}'"):
            BASE.then("mine", without=["label-smoothing", missing])


def test_steps_are_taken_in_their_sequence():
    """A rate that is set before the batch grows grows with it; one that is set after does not."""
    rate = "rules.weights.lr"
    before = ROOT.then("a", Set(rate, 0.4)).then("b", BatchSize(1024))
    after = ROOT.then("a", BatchSize(1024)).then("b", Set(rate, 0.4))
    assert before.plan().rules[0].lr == pytest.approx(0.8)
    assert after.plan().rules[0].lr == 0.4


def test_a_start_is_of_the_root_and_leaves_all_else():
    made = BASE.starting_from("runs/a")
    assert made.plan() == replace(BASE.plan(), start=FromRun("runs/a"))
    assert (made.name, made.steps) == (BASE.name, BASE.steps)
    assert BASE.plan().start == Scratch()


def test_the_order_of_tricks_is_checked_whichever_comes_first():
    check_order([PatchWhitening(), Muon(), Ema()], "mine")
    check_order([Muon()], "mine")  # what it must come after need not be there
    with pytest.raises(UserError, match=r"^mine: muon must come after patch-whitening; give patch-whitening"):
        check_order([Cutout(), Muon(), PatchWhitening()], "mine")
    for pair in ([Ema(), Lookahead()], [Lookahead(), Ema()]):
        names = [trick.name for trick in pair]
        with pytest.raises(UserError, match=f"^mine: {names[0]} excludes {names[1]}; leave one out with --w"):
            check_order([Cutout(), *pair], "mine")


def test_a_diff_is_in_the_order_of_the_keys_with_each_line_signed():
    assert diff(ROOT, BASE) == [
        '+ augment.cutout.mode = "random"',
        "+ augment.cutout.pixels = 4",
        "- augment.order = []",
        '+ augment.order = ["cutout"]',
        "- epochs = 24.0",
        "+ epochs = 9.0",
        "- loss.smoothing = 0.0",
        "+ loss.smoothing = 0.1",
    ]
    assert [line[2:] for line in diff(BASE, ROOT) if line[0] == "+"] == [
        line[2:] for line in diff(ROOT, BASE) if line[0] == "-"
    ]
    assert diff(BASE, BASE.then("other", summary="another")) == []


def test_a_starter_says_what_there_is_to_change():
    lines = starter(BASE).splitlines()
    assert lines[:9] == [
        "# A recipe of your own: everything is as in base until you change it here.",
        'base = "base"',
        "",
        '# without = ["label-smoothing", "cutout"]',
        "# [with.label-smoothing]",
        "# smoothing = 0.1",
        "# [with.cutout]",
        "# pixels = 4",
        '# mode = "random"',
    ]
    assert lines[9:11] == ["", "[set]"]
    assert all(line.startswith("# ") for line in lines[11:])
    assert settings_text(Cutout(4)) == 'cutout(pixels=4, mode="random")'


# -- knobs and rules of a plan ---------------------------------------------------------------------


def test_a_knob_is_set_or_added_and_all_stand_by_name():
    plan = Plan(knobs=(Knob("b", Constant(1.0)), Knob("d", Constant(2.0))))
    added = plan.with_knob("c", Constant(3.0)).with_knob("a", Constant(4.0))
    assert [(k.name, k.schedule.value) for k in added.knobs] == [("a", 4), ("b", 1), ("c", 3), ("d", 2)]
    assert plan.with_knob("b", Constant(5.0)).knobs == (Knob("b", Constant(5.0)), plan.knobs[1])
    assert added.knob("c", "test") == Constant(3.0)
    with pytest.raises(UserError, match=r"^rules.x: no knob called 'bb'; did you mean 'b'"):
        plan.knob("bb", "rules.x")


RULES = (
    Rule("others", ("head_weight", "head_bias"), SGD(), lr=0.1),
    Rule("weights", ("filter", "norm_weight", "norm_bias"), SGD(), lr=0.4, momentum=0.9, until=0.5),
)


def test_roles_are_carved_out_of_the_one_rule_that_holds_them():
    plan = Plan(rules=RULES).carve("norms", "norm_bias", "norm_weight", lr=2.0, lr_knob="other")
    norms, others, weights = plan.rules
    assert others == RULES[0]
    assert norms == replace(
        RULES[1], name="norms", roles=("norm_bias", "norm_weight"), lr=2.0, lr_knob="other"
    )
    assert weights == replace(RULES[1], roles=("filter",))


def test_a_rule_without_roles_goes():
    plan = Plan(rules=RULES).carve("all", "filter", "norm_weight", "norm_bias", momentum=0.0)
    assert [rule.name for rule in plan.rules] == ["all", "others"]
    assert plan.rules[0] == replace(RULES[1], name="all", momentum=0.0)


def test_roles_of_two_rules_are_not_carved_out():
    with pytest.raises(UserError, match=r"^rule 'x': no single rule holds the roles filter, head_bias$"):
        Plan(rules=RULES).carve("x", "filter", "head_bias")
