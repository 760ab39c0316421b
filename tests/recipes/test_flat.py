"""A plan as flat text and back: nothing is lost on the way, and what is wrong in a text is said."""

from __future__ import annotations

import math
import tomllib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.data.augment import ColorJitter, Cutmix, Cutout, Flip, Mixup, Translate
from hotlap.data.loading import DeviceLoader, HostLoader, Resolution
from hotlap.errors import UserError
from hotlap.nets import AirNet, ResNet9, ResNet18, WhitenStem
from hotlap.optim import EMA, LARS, SGD, Lookahead, Muon, Rule
from hotlap.plan import CrossEntropy, Evaluation, HardExamples, HighestLoss, Knob, Plan, Shuffle
from hotlap.plan.flat import convert, element_key, flatten, from_nested, put, render, toml_value, unflatten
from hotlap.plan.schedule import Constant, Piecewise, Power
from hotlap.plan.start import FittedHead, FromRun, ImageNet, LearntHead, Scratch

SHARE = st.floats(0, 1)
WHOLE = st.integers(0, 10**6)


def some_of(*elements: st.SearchStrategy) -> st.SearchStrategy:
    """Some of these, each at most once, in any order."""
    chosen = st.lists(st.sampled_from(range(len(elements))), unique=True)
    return chosen.flatmap(lambda which: st.tuples(*(elements[i] for i in which)))


def named(*elements: st.SearchStrategy) -> st.SearchStrategy:
    """Some of these, in the order of their names, as text has them."""
    return some_of(*elements).map(lambda made: tuple(sorted(made, key=lambda e: e.name)))


SCHEDULES = st.one_of(
    st.builds(Constant, SHARE),
    st.builds(Power, SHARE, st.floats(0, 9), st.sampled_from(["start", "end"])),
    st.just(Piecewise((0.0, 0.25, 1.0), (0.0, 1.0, 1e-300), "end")),
)
OPTIMIZERS = st.one_of(
    st.builds(SGD, st.booleans(), st.sampled_from(["sum", "mean"])),
    st.builds(LARS, SHARE),
    st.builds(Muon, WHOLE, st.tuples(SHARE, SHARE, SHARE), WHOLE, WHOLE),
)
PLANS = st.builds(
    Plan,
    augment=some_of(
        st.builds(Flip, st.sampled_from(["random", "balanced", "alternating"])),
        st.builds(Translate, WHOLE),
        st.builds(Cutout, WHOLE, st.just("balanced")),
        st.builds(ColorJitter, SHARE, SHARE),
        st.builds(Mixup, SHARE, SHARE),
        st.builds(Cutmix, WHOLE, SHARE),
    ),
    loader=st.one_of(st.just(DeviceLoader()), st.builds(HostLoader, workers=WHOLE)),
    sampler=st.one_of(
        st.just(Shuffle()),
        st.builds(HighestLoss, WHOLE, SHARE),
        st.builds(HardExamples, WHOLE, WHOLE, st.just(AirNet(widths=(4, 5, 6), stem=WhitenStem(bias=False)))),
    ),
    resolution=st.builds(Resolution, st.just((0.5, 0.75)), st.tuples(SHARE, SHARE)),
    net=st.sampled_from([ResNet9(residual=()), ResNet18(stem_norm=False), AirNet(kernels=(3,) * 6)]),
    start=st.one_of(st.just(Scratch()), st.just(ImageNet()), st.builds(FromRun, st.text())),
    head=st.one_of(st.just(LearntHead()), st.builds(FittedHead, st.booleans())),
    loss=st.builds(CrossEntropy, SHARE, st.sampled_from(["none", "classes"])),
    rules=named(
        *(
            st.builds(Rule, st.just(name), st.just(roles), OPTIMIZERS, SHARE, SHARE, SHARE)
            for name, roles in {"b": ("filter", "norm_bias"), "a-1": ("head_weight",), "c_2": ()}.items()
        )
    ),
    knobs=named(*(st.builds(Knob, st.just(name), SCHEDULES) for name in ("lr", "decay", "LR2"))),
    freeze=st.lists(SHARE).map(tuple),
    after=some_of(st.builds(EMA, SHARE, WHOLE, WHOLE), st.builds(Lookahead, st.just("decay"), WHOLE, WHOLE)),
    evaluation=st.builds(Evaluation, st.just("ema"), st.just("flip"), SHARE),
    epochs=st.floats(0, 1e9),
    batch_size=WHOLE,
    target=SHARE,
)


@given(PLANS)
def test_a_plan_survives_its_text(plan):
    text = render(flatten(plan))
    assert unflatten(Plan, from_nested(tomllib.loads(text)), "test") == plan
    keys = [line.partition(" = ")[0] for line in text.splitlines()]
    assert keys == sorted(set(keys))
    assert text.isascii()


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text()),
    lambda inner: st.lists(inner, max_size=4),
)


@given(VALUES)
def test_a_value_is_toml_in_one_line(value):
    text = toml_value(value)
    assert len(text.splitlines()) == 1
    got = tomllib.loads(f"key = {text}")["key"]
    assert (got, repr(got)) == (value, repr(value))  # -0.0 is another than 0.0, 1 another than True


def test_text_beyond_16_bits_and_no_number_are_toml_too():
    assert toml_value("\U0001f4f7 \u00e9\x7f\\ud83d") == r'"\U0001f4f7 \u00e9\u007f\\ud83d"'
    assert math.isnan(tomllib.loads(f"key = {toml_value(math.nan)}")["key"])


@pytest.mark.parametrize("text", ["\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"])
def test_all_of_unicode_is_kept(text):
    line = f"a = {toml_value(text)}"
    assert line.isascii()
    assert tomllib.loads(line) == {"a": text}


@pytest.mark.parametrize("half", [0xD800, 0xDBFF, 0xDC00, 0xDCFF, 0xDFFF])
def test_a_name_that_is_no_utf8_is_refused(half):
    words = rf"^'runs/\\u{half:x}' is not UTF-8 and cannot be kept in a recipe; give"
    with pytest.raises(UserError, match=words):
        render(flatten(Plan(start=FromRun(f"runs/{chr(half)}"))))


@pytest.mark.parametrize(
    ("hint", "value", "want"),
    [
        (float, 3, 3.0),
        (float, 0.5, 0.5),
        (int, 3, 3),
        (str, "3", "3"),
        (bool, False, False),
        (Literal["a", "b"], "b", "b"),
        (tuple[int, ...], [], ()),
        (tuple[float, ...], [1, 2.5], (1.0, 2.5)),
        (tuple[int, ...], (4, 5), (4, 5)),
        (tuple[str, ...], ["a"], ("a",)),
        (tuple[float, float], [1, 2], (1.0, 2.0)),
    ],
)
def test_a_value_is_taken_as_its_type(hint, value, want):
    got = convert(hint, value, "here")
    assert (got, repr(got)) == (want, repr(want))


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (float, "3", "'3' given, a number wanted"),
        (float, True, "True given, a number wanted"),
        (float, [1.0], "[1.0] given, a number wanted"),
        (int, 3.0, "3.0 given, a whole number wanted"),
        (int, True, "True given, a whole number wanted"),
        (bool, 1, "1 given, true or false wanted"),
        (str, 1, "1 given, a string wanted"),
        (tuple[int, ...], 5, "5 given, a list wanted"),
        (tuple[int, ...], "55", "'55' given, a list wanted"),
        (tuple[int, ...], [5, "5"], "'5' given, a whole number wanted"),
        (tuple[float, float, float], [1, 2], "2 values given, 3 wanted"),
        (Literal["flip", "none"], "flop", "'flop' is not one of 'flip', 'none'; did you mean 'flip'?"),
        (Literal["flip", "none"], 1, "1 is not one of 'flip', 'none'"),
    ],
)
def test_a_value_of_another_type_is_refused(hint, value, words):
    with pytest.raises(UserError) as caught:
        convert(hint, value, "here")
    assert str(caught.value) == f"here: {words}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_siz": 3}, "unknown key 'batch_siz'; did you mean 'batch_size'?"),
        ({"epochs": None}, "the key 'epochs' is missing"),
        ({"sampler.kind": None}, "the key 'sampler.kind' is missing"),
        ({"augment.order": None}, "the key 'augment.order' is missing"),
        ({"net.kind": "resnet10"}, "net.kind: no 'resnet10'; did you mean 'resnet18'?; there are airnet, "),
        ({"augment.order": ["flop"]}, "augment.order: no 'flop'; did you mean 'flip'?; there are colorjit"),
        ({"augment.order": ["flip"]}, "the key 'augment.flip.mode' is missing"),
        ({"knobs.lr.schedule.progress": [0.0, 0.0, 1.0]}, "knobs.lr.schedule: piecewise schedule: positions"),
        ({"rules.weights.roles": ["filtre"]}, "rules.weights.roles: 'filtre' is not one of 'filter', "),
        ({"start.path": "x"}, "unknown key 'start.path'"),
    ],
)
def test_what_is_wrong_in_a_text_is_named(changes, words):
    flat = {**flatten(Plan()), **changes}
    with pytest.raises(UserError) as caught:
        unflatten(Plan, {k: v for k, v in flat.items() if v is not None}, "mine.toml")
    assert str(caught.value).startswith(f"mine.toml: {words}")


def test_one_of_a_kind_is_put_in_its_place():
    elements = (Flip(), Translate(2), Cutout(8))
    assert put(elements, Translate(4)) == (Flip(), Translate(4), Cutout(8))
    assert put(elements, Mixup(0.1)) == (*elements, Mixup(0.1))
    assert put((), Flip()) == (Flip(),)
    knobs = (Knob("a", Constant(1.0)), Knob("b", Constant(2.0)))
    assert put(knobs, Knob("a", Constant(3.0))) == (Knob("a", Constant(3.0)), knobs[1])
    assert [element_key(e) for e in (*elements, *knobs)] == ["flip", "translate", "cutout", "a", "b"]
