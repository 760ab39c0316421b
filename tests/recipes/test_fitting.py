"""The recipe that fits itself to data: its rules, and that it runs on all kinds of shapes."""

from __future__ import annotations

import pytest

from hotlap.plan.checks import check_plan
from hotlap.recipes.fitting import fitted, handed
from hotlap.spec import DataSpec


def spec(side: int, count: int, classes: int = 10, channels: int = 3, names=None) -> DataSpec:
    names = names or tuple(f"kind of thing {chr(97 + i)}{i}" for i in range(classes))
    return DataSpec((channels, side, side), names, count, 10, (0.0,) * channels, (1.0,) * channels)


@pytest.mark.parametrize("side", [8, 12, 16, 28, 32, 48, 64, 96, 128, 224])
@pytest.mark.parametrize("count", [2, 20, 245, 5_000, 60_000])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_can_run_on_every_shape_and_number(side, count, channels):
    data = spec(side, count, classes=2, channels=channels)
    plan = fitted(data).recipe.plan()
    check_plan(plan, data)
    assert 8 <= plan.epochs <= 100
    assert plan.batch_size <= max(1, count // 2)  # so that half of a few images may turn out not to read


def test_groups_follow_the_side_and_widths_the_number():
    assert len(fitted(spec(8, 9_000)).recipe.plan().net.widths) == 1
    assert fitted(spec(32, 50_000)).recipe.plan().net.widths == (64, 256, 256)
    assert fitted(spec(32, 1_000)).recipe.plan().net.widths == (32, 128, 128)
    assert fitted(spec(128, 50_000)).recipe.plan().net.widths == (32, 32, 64, 256, 256)


def test_on_cifars_shape_it_is_nearly_fast94_amx():
    plan = fitted(spec(32, 50_000)).recipe.plan()
    assert (plan.epochs, plan.batch_size) == (8.0, 768)
    assert plan.target == 0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (tuple("0123456789"), True),
        (tuple("abcdefgh"), True),
        (("zero", "one", "two"), True),
        (("digit_0", "digit_1", "class 2"), True),
        (("cat", "dog"), False),
        (("cat", "dog", "7"), False),
        (("T-shirt", "Bag"), False),
    ],
)
def test_classes_called_like_characters_are_not_mirrored(names, expected):
    assert handed(names) is expected
    made = fitted(spec(28, 9_000, names=names))
    kinds = {type(op).__name__ for op in made.recipe.plan().augment}
    assert ("Flip" in kinds) is not expected
    assert any("mirror" in reason for reason in made.reasons)
    assert made.recipe.plan().evaluation.tta == ("none" if expected else "flip_translate_even")
