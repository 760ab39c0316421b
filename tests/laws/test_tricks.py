"""Laws that every trick obeys, found by discovery; and tricks that break them are caught."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from helpers import FP32, noise_dataset, program
from hotlap.errors import UserError
from hotlap.evaluate import evaluate
from hotlap.flat import flatten, unflatten
from hotlap.nets import AirNet, ConvStem, ResNet9, ResNet18
from hotlap.plan import Plan, Trick
from hotlap.recipe import check_order
from hotlap.recipes import BUILTIN
from hotlap.tricks import discover

TRICKS = discover()
SHAPES = {"1x28x28 in 37": ((1, 28, 28), 37), "3x48x64 in 5": ((3, 48, 64), 5)}
SMALL = {
    "resnet9": Plan(net=ResNet9(widths=(4, 4, 6, 8)), batch_size=32, epochs=1.0),
    "airnet": replace(
        BUILTIN["airnet"].plan(),
        net=AirNet(widths=(4, 6, 8), stem=ConvStem(), init="default"),
        batch_size=32,
        epochs=1.0,
    ),
    "resnet18": Plan(net=ResNet18(widths=(4, 4, 6, 6)), batch_size=32, epochs=1.0),
}
DATASETS = {
    name: noise_dataset(shape, classes, train=160, test=37) for name, (shape, classes) in SHAPES.items()
}


def breaks_declaration(trick: Trick, plan: Plan) -> list[str]:
    """Keys that the trick changes without declaring them."""
    before, after = flatten(plan), flatten(trick(plan))
    changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    return sorted(k for k in changed if not any(k == t or k.startswith(f"{t}.") for t in trick.touches))


def trains(plan: Plan, dataset) -> None:
    """Five steps and an evaluation on such data, with finite results of the right shapes."""
    made = program(plan, dataset, FP32)
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    made.run(0, made.steps)
    made.finish()
    assert torch.isfinite(made.losses).all()
    assert any(not torch.equal(before[k], v) for k, v in made.model.state_dict().items())
    found = evaluate(made)
    assert found.count == len(dataset.test)
    assert 0 <= found.accuracy <= 100


def applicable(trick: Trick, plan: Plan) -> bool:
    try:
        trick(plan)
    except UserError as error:
        refusal = str(error)
    else:
        return True
    assert refusal.startswith(f"{trick.name}:"), f"an error must name the trick: {refusal}"
    assert "\n" not in refusal
    return False


def test_there_are_tricks_and_each_is_in_a_file_of_its_own():
    assert len(TRICKS) >= 15
    assert len({cls.__module__ for cls in TRICKS.values()}) == len(TRICKS)


@pytest.mark.parametrize("name", TRICKS)
def test_card_is_complete(name):
    cls = TRICKS[name]
    first, blank, *rest = [*(inspect.getdoc(cls) or "").splitlines(), "", ""]
    assert first.endswith(".")
    assert blank == ""
    assert any(rest), "the card stops after the idea"
    assert cls.source
    assert cls.effect
    assert cls.touches
    documented = inspect.getdoc(cls) or ""
    for field in dataclasses.fields(cls):
        assert f"{field.name}" in documented, f"setting {field.name} is not on the card"


@pytest.mark.parametrize("name", TRICKS)
def test_orders_and_exclusions_name_real_tricks_and_are_mutual(name):
    cls = TRICKS[name]
    for other in cls.after:
        assert other in TRICKS
    for other in cls.excludes:
        assert name in TRICKS[other].excludes, f"{name} excludes {other}, which does not exclude it back"
        with pytest.raises(UserError, match="excludes"):
            check_order([cls(), TRICKS[other]()], "test")


@pytest.mark.parametrize("base", SMALL)
@pytest.mark.parametrize("name", TRICKS)
def test_touches_only_what_it_declares(name, base):
    trick, plan = TRICKS[name](), SMALL[base]
    if applicable(trick, plan):
        assert breaks_declaration(trick, plan) == []
        assert trick(plan) == trick(plan)
        assert unflatten(Plan, flatten(trick(plan)), "test") == trick(plan)


@pytest.mark.parametrize("name", TRICKS)
def test_applies_to_some_net(name):
    assert any(applicable(TRICKS[name](), plan) for plan in SMALL.values())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TRICKS)
def test_trains_on_shapes_and_classes_nobody_tuned_for(name, shape):
    for base, plan in SMALL.items():
        if applicable(TRICKS[name](), plan):
            if base == "resnet18" and name not in ("ema", "muon"):
                continue  # the slowest of the three nets: where the net does not matter, two will do
            trains(TRICKS[name](**SETTINGS.get(name, {}))(plan), DATASETS[shape])


SETTINGS = {"muon": {"lr": 0.05}}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", BUILTIN)
def test_every_recipe_trains_on_them_too(name, shape):
    plan = BUILTIN[name].plan()
    widths = tuple(8 for _ in plan.net.widths)
    plan = replace(plan, net=replace(plan.net, widths=widths), batch_size=32, epochs=1.0)
    trains(plan, DATASETS[shape])


@dataclass(frozen=True)
class Sneaky(Trick):
    """Changes more than it says."""

    touches = ("loss.smoothing",)
    source = effect = "a test"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, loss=replace(plan.loss, smoothing=0.1), epochs=plan.epochs + 1)


@dataclass(frozen=True)
class Unstable(Trick):
    """Trains to nothing."""

    touches: ClassVar = ("rules",)
    source = effect = "a test"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, rules=tuple(replace(r, lr=float("inf")) for r in plan.rules))


def test_a_trick_that_touches_more_than_it_declares_is_caught():
    assert breaks_declaration(Sneaky(), SMALL["airnet"]) == ["epochs"]


def test_a_trick_that_breaks_training_is_caught():
    with pytest.raises(AssertionError):
        trains(Unstable()(SMALL["airnet"]), DATASETS["1x28x28 in 37"])
