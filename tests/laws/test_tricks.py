"""Laws that every trick obeys, found by discovery; and tricks that break them are caught."""

from __future__ import annotations

import dataclasses
import inspect
import multiprocessing
import re
import statistics
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import cpu_graph
import hotlap.tricks
from helpers import BF16, FP32, noise_dataset, program
from hotlap.data.augment import Flip, Translate
from hotlap.data.loading import HostLoader
from hotlap.engine.evaluate import evaluate
from hotlap.engine.lower import lower
from hotlap.errors import UserError
from hotlap.nets import AirNet, ConvStem, EfficientNetLite, Norm, ResNet9, ResNet18
from hotlap.plan import HardExamples, Plan, Trick
from hotlap.plan.flat import flatten, unflatten
from hotlap.plan.recipe import check_order
from hotlap.plan.start import LearntHead
from hotlap.recipes import BUILTIN
from hotlap.tricks import discover

TRICKS = discover()
STEPPED = [n for n, r in BUILTIN.items() if isinstance(r.plan().head, LearntHead)]  # the others take no steps
SHAPES = {"1x28x28 in 37": ((1, 28, 28), 37), "3x48x64 in 5": ((3, 48, 64), 5)}
RESNET9 = Plan(net=ResNet9(widths=(4, 4, 6, 8)), batch_size=16, epochs=1.0)
SMALL = {
    "resnet9": RESNET9,
    "airnet": replace(
        BUILTIN["airnet"].plan(),
        net=AirNet(widths=(4, 6, 8), stem=ConvStem(), init="default"),
        batch_size=16,
        epochs=1.0,
    ),
    "resnet18": Plan(net=ResNet18(widths=(4, 4, 6, 6)), batch_size=16, epochs=1.0),
    "efficientnet": Plan(net=EfficientNetLite(dropout=0.2), batch_size=16, epochs=1.0),
    # where the series starts its loading, and where it starts its net: tricks take these two apart
    "host": replace(RESNET9, loader=HostLoader("epoch", "example", 1), augment=(Translate(1), Flip())),
    "backbone": replace(
        RESNET9,
        net=ResNet9(
            widths=(4, 4, 6, 8),
            residual=(),
            down="stride_1x1",
            norm_repeats=(3, 2, 2, 1),
            head="max_and_mean",
            head_bias=True,
            norm=Norm(scale_init="uniform"),
            logit_scale=1.0,
        ),
    ),
}
# settings for nets and sets as small as these
SETTINGS = {
    "batch-size": {"size": 8},
    "hard-examples": {"of": 32, "widths": (4, 4, 4)},
    "muon": {"lr": 0.05},
    "widths": {"channels": (4, 6, 6, 8)},
}
DATASETS = {
    name: noise_dataset(shape, classes, train=80, test=37) for name, (shape, classes) in SHAPES.items()
}

# in colour and not square, and small: what can be recorded does not depend on how many pixels there are
OBLONG = noise_dataset((3, 24, 32), 5, train=80, test=37)


def small(name: str) -> Trick:
    return TRICKS[name](**SETTINGS.get(name, {}))


def changed_keys(before: Plan, after: Plan) -> set[str]:
    old, new = flatten(before), flatten(after)
    return {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}


def breaks_declaration(trick: Trick, plan: Plan) -> list[str]:
    """Keys that the trick changes without declaring them."""
    changed = changed_keys(plan, trick(plan))
    return sorted(k for k in changed if not any(k == t or k.startswith(f"{t}.") for t in trick.touches))


def shrunk(plan: Plan, workers: int = 0) -> Plan:
    """The plan with few channels, on few images a step, everything else as it is."""
    net = plan.net
    if not isinstance(net, EfficientNetLite):  # there are no small ones
        net = replace(net, widths=tuple(min(w, 8) for w in net.widths))
    if isinstance(net, AirNet):
        net = replace(net, middle=tuple(min(w, 6) for w in net.middle))
    plan = replace(plan, net=net, batch_size=min(plan.batch_size, 16), epochs=1.0)
    if isinstance(plan.loader, HostLoader):
        plan = replace(plan, loader=replace(plan.loader, workers=min(plan.loader.workers, workers)))
    if isinstance(plan.sampler, HardExamples):  # half as many steps an epoch; averages wait for the fifth
        proxy = replace(plan.sampler.net, widths=(4, 4, 4))
        plan = replace(plan, sampler=replace(plan.sampler, of=32, net=proxy), epochs=3.0)
    return plan


def trains(plan: Plan, dataset) -> None:
    """Some five steps and an evaluation on such data, with finite results of the right shapes."""
    made = program(plan, dataset, BF16 if plan.numerics.precision == "half" else FP32)
    before = {k: v.clone() for k, v in made.model.state_dict().items()}
    for start, stop in made.segments(0, None):
        made.run(start, stop)
    made.finish()
    assert torch.isfinite(made.losses).all()
    assert any(not torch.equal(before[k], v) for k, v in made.model.state_dict().items())
    assert multiprocessing.active_children() == [], "loader processes outlive the training"
    found = evaluate(made)
    assert found.count == len(dataset.test)
    assert 0 <= found.accuracy <= 100


def replays(plan: Plan, dataset, monkeypatch) -> None:
    """Steps and the evaluation recorded once, on dummy data, and replayed are those of the plan."""
    monkeypatch.setattr("hotlap.engine.program.captured", cpu_graph.captured)
    found = []
    for capture in (False, True):
        made = lower(plan, dataset, FP32)
        if capture:
            if made.feed.prelude is not None:
                made.feed.prelude.rehearse(capture=True)
                made.feed.assume_prelude()
            made.rehearse(capture=True)
        made.upload()
        made.begin(seed=3)
        for start, stop in made.segments(0, None):
            made.run(start, stop)
        made.finish()
        logits = made.logits(plan.evaluation.tta, plan.evaluation.share)
        found.append({**{k: v.clone() for k, v in made.state().items()}, "logits": logits.clone()})
    assert [k for k, v in found[0].items() if not torch.equal(v, found[1][k])] == []


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


# -- cards and files -----------------------------------------------------------------------------


def test_there_are_tricks_and_each_is_in_a_file_of_its_own():
    assert len(TRICKS) >= 50
    assert len({cls.__module__ for cls in TRICKS.values()}) == len(TRICKS)


def test_a_trick_is_called_as_its_file():
    files = {name: cls.__module__.rpartition(".")[2].replace("_", "-") for name, cls in TRICKS.items()}
    assert [name for name, file in files.items() if file != name] == []


def test_a_trick_from_anywhere_has_a_name_of_its_own():
    @dataclass(frozen=True)
    class HalfTheEpochs(Trick):
        touches = ("epochs",)

        def __call__(self, plan: Plan) -> Plan:
            return replace(plan, epochs=plan.epochs / 2)

    @dataclass(frozen=True)
    class B2(HalfTheEpochs):
        pass

    assert HalfTheEpochs().name == "half-the-epochs"
    mine = BUILTIN["demo"].then("mine", HalfTheEpochs(), B2())
    assert [t.name for t in mine.tricks[-2:]] == ["half-the-epochs", "b2"]
    assert mine.plan().epochs == BUILTIN["demo"].plan().epochs / 4


def test_tricks_are_short():
    files = [p for p in Path(hotlap.tricks.__file__).parent.glob("*.py") if p.stem != "__init__"]
    lines = {p.name: len(p.read_text().splitlines()) for p in files}
    assert len(lines) == len(TRICKS)
    assert [name for name, n in lines.items() if n > 80] == []
    assert statistics.median(lines.values()) <= 40


def missing_from_card(cls: type[Trick]) -> list[str]:
    """What the card of a trick lacks."""
    card = inspect.getdoc(cls) or ""
    first, blank, *rest = [*card.splitlines(), "", ""]
    settings = card.partition("\nArgs:\n")[2]
    documented = {
        name.strip()
        for line in settings.splitlines()
        if (found := re.match(r"    ([a-z_]+(?:, [a-z_]+)*): \S", line))
        for name in found[1].split(",")
    }
    missing = [] if first.endswith(".") and blank == "" else ["an idea in its first line"]
    missing += [] if any(rest) else ["more than the idea"]
    for attribute in ("touches", "source", "effect", "failures"):
        missing += [] if getattr(cls, attribute, None) else [attribute]
    fields = {f.name for f in dataclasses.fields(cls)}
    return missing + sorted(fields - documented) + [f"no setting {n}" for n in sorted(documented - fields)]


@pytest.mark.parametrize("name", TRICKS)
def test_card_is_complete(name):
    assert missing_from_card(TRICKS[name]) == []


# -- what a trick may do to a plan ---------------------------------------------------------------


@pytest.mark.parametrize("base", SMALL)
@pytest.mark.parametrize("name", TRICKS)
def test_touches_only_what_it_declares(name, base):
    for trick in (TRICKS[name](), small(name)):
        plan = SMALL[base]
        if applicable(trick, plan):
            assert breaks_declaration(trick, plan) == []
            assert trick(plan) == trick(plan)
            assert unflatten(Plan, flatten(trick(plan)), "test") == trick(plan)


@pytest.mark.parametrize("name", TRICKS)
def test_applies_to_some_plan_and_changes_it(name):
    trick = TRICKS[name]()
    plans = [plan for plan in SMALL.values() if applicable(trick, plan)]
    assert plans
    assert any(trick(plan) != plan for plan in plans), "changes nothing anywhere"


FACTORS = ("frozen-scales", "norm-bias-rate")  # their setting multiplies what is there


@pytest.mark.parametrize("name", TRICKS)
def test_applied_twice_is_applied_once(name):
    for trick, plan in ((t, p) for t in (TRICKS[name](), small(name)) for p in SMALL.values()):
        if applicable(trick, plan):
            once = trick(plan)
            twice = trick(once)
            if name in FACTORS:
                assert changed_keys(once, twice) == {"rules.norms.lr", "rules.norms.weight_decay"}
            else:
                assert twice == once


# -- which tricks go together --------------------------------------------------------------------


@pytest.mark.parametrize("name", TRICKS)
def test_orders_and_exclusions_name_real_tricks_and_are_mutual(name):
    cls = TRICKS[name]
    assert set(cls.after).isdisjoint(cls.excludes)
    for other in cls.after:
        check_order([TRICKS[other](), cls()], "test")
        with pytest.raises(UserError, match=f"^test: {name} must come after {other}; give {other} first$"):
            check_order([cls(), TRICKS[other]()], "test")
    for other in cls.excludes:
        assert name in TRICKS[other].excludes, f"{name} excludes {other}, which does not exclude it back"
        with pytest.raises(UserError, match="excludes"):
            check_order([cls(), TRICKS[other]()], "test")


# What comes to another plan in the other order without saying so, and why that is as it should be.
EITHER_WAY = {
    # starts the net anew, whatever was done to it before
    *(
        frozenset(("backbone", other))
        for other in TRICKS
        if any(t.startswith("net") for t in TRICKS[other].touches)
    ),
    # the last one says how large the batch is; the one before says how rates followed it until then
    frozenset(("batch-size", "hard-examples")),
    # cuts the batch: decay that is quoted for an example follows if it is given later, and else stays
    *(frozenset(("hard-examples", other)) for other in ("lars", "muon")),
}


def outcome(tricks: tuple[Trick, ...], plan: Plan) -> Plan | None:
    """What the plan comes to, without the sequence of augmentations; None if a trick refuses it."""
    try:
        for trick in tricks:
            plan = trick(plan)
    except UserError:
        return None
    return replace(plan, augment=tuple(sorted(plan.augment, key=repr)))


def order_matters(a: Trick, b: Trick, plan: Plan) -> bool:
    """Whether two tricks that may stand together come to another plan in the other order."""
    return outcome((a, b), plan) != outcome((b, a), plan)


def test_where_the_order_matters_a_trick_says_so():
    silent = set()
    for a, b in combinations([cls() for cls in TRICKS.values()], 2):
        if b.name in (*a.excludes, *a.after) or a.name in b.after:
            continue
        if any(order_matters(a, b, plan) for plan in SMALL.values()):
            silent.add(frozenset((a.name, b.name)))
    assert silent - EITHER_WAY == set()


# -- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TRICKS)
def test_trains_on_shapes_and_classes_nobody_tuned_for(name, shape):
    trick = small(name)
    bases = [base for base in SMALL if applicable(trick, SMALL[base])]
    if set(bases) > {"host"} and "loader" not in trick.touches:
        bases.remove("host")
    if set(bases) > {"backbone"} and not any(t.startswith("net") for t in trick.touches):
        bases.remove("backbone")
    # the slowest of the nets: where the net does not matter, others will do
    slow = () if name in ("ema", "muon") else ("resnet18", "efficientnet")
    bases = [base for base in bases if base not in slow] or bases
    for base in bases:
        trains(shrunk(trick(SMALL[base])), DATASETS[shape])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", STEPPED)
def test_every_recipe_trains_on_them_too(name, shape):
    trains(shrunk(BUILTIN[name].plan()), DATASETS[shape])


@pytest.mark.parametrize("name", TRICKS)
def test_its_steps_can_be_captured(name, monkeypatch):
    trick = small(name)
    base = next(plan for plan in SMALL.values() if applicable(trick, plan))
    replays(shrunk(trick(base)), DATASETS["1x28x28 in 37"], monkeypatch)


@pytest.mark.parametrize("name", STEPPED)
def test_a_recipes_steps_and_its_evaluation_can_be_captured(name, monkeypatch):
    replays(shrunk(BUILTIN[name].plan()), OBLONG, monkeypatch)


def test_loader_processes_come_and_go():
    plan = shrunk(BUILTIN["page/01-baseline"].plan(), workers=1)
    assert plan.loader.workers == 1
    trains(replace(plan, epochs=2.0), DATASETS["1x28x28 in 37"])


# -- tricks that break the laws ------------------------------------------------------------------


@dataclass(frozen=True)
class Sneaky(Trick):
    """Changes more than it says."""

    share: float = 0.1

    touches = ("loss.smoothing",)
    source = effect = "a test"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, loss=replace(plan.loss, smoothing=self.share), epochs=plan.epochs + 1)


@dataclass(frozen=True)
class Unstable(Trick):
    """Trains to nothing."""

    touches: ClassVar = ("rules",)
    source = effect = failures = "a test"

    def __call__(self, plan: Plan) -> Plan:
        return replace(plan, rules=tuple(replace(r, lr=float("inf")) for r in plan.rules))


def test_a_trick_that_touches_more_than_it_declares_is_caught():
    assert breaks_declaration(Sneaky(), SMALL["airnet"]) == ["epochs"]


def test_a_card_that_is_not_complete_is_caught():
    assert missing_from_card(Sneaky) == ["more than the idea", "failures", "share"]


def test_tricks_whose_order_matters_are_caught():
    assert order_matters(TRICKS["one-cycle"](), TRICKS["muon"](), SMALL["airnet"])
    assert not order_matters(TRICKS["one-cycle"](), TRICKS["cutout"](), SMALL["airnet"])


def test_a_trick_that_breaks_training_is_caught():
    with pytest.raises(AssertionError):
        trains(Unstable()(SMALL["airnet"]), DATASETS["1x28x28 in 37"])
