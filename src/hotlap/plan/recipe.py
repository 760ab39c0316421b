"""Recipes: a base and what is changed, resolved to a plan and to flat text."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from hotlap.errors import UserError, did_you_mean
from hotlap.plan.flat import Flat, Value, flatten, render, toml_value, unflatten
from hotlap.plan.plan import Plan
from hotlap.plan.start import FromRun
from hotlap.plan.trick import Trick


@dataclass(frozen=True)
class Set:
    """One value of the plan given outright: `Set("epochs", 10.0)`.

    Args:
        key: dotted, as `hotlap recipes show` lists it.
        value: what it shall be.
    """

    key: str
    value: Value


Step = Trick | Set


@dataclass(frozen=True)
class Recipe:
    """A named way to train: a root plan and the steps that change it, in sequence.

    Args:
        name: what it is called.
        summary: one line for lists.
        root: the plan that the first step changes.
        steps: tricks and settings; a trick stands in it once.
        base: the name of the recipe this one is a diff of; none for a root.
        data: the data set it was made for, in the words of `--data`.
        own: the settings that it gives itself, and does not inherit from its base.
    """

    name: str
    summary: str
    root: Plan
    steps: tuple[Step, ...] = ()
    base: str | None = None
    data: str = "cifar10"
    own: tuple[Set, ...] = ()

    def then(
        self,
        name: str,
        *steps: Step,
        without: Iterable[str] = (),
        summary: str = "",
        data: str | None = None,
        **settings: Value,
    ) -> Recipe:
        """The next recipe: this one without some tricks, then with further steps and settings.

        A trick or setting that is already there is replaced where it stands.

        Args:
            name: what the next one is called.
            steps: tricks, and settings whose keys have dots.
            without: names of tricks to leave out.
            summary, data: its own; by default those of this one.
            settings: values of the plan by keys without dots, such as `epochs=4.0`.

        Raises:
            UserError: if `without` names a trick that is not there, or tricks exclude each other.
        """
        kept = list(self.steps)
        for word in without:
            names = [step.name for step in kept if isinstance(step, Trick)]
            if word not in names:
                raise UserError(f"recipe {self.name!r} has no trick {word!r}{did_you_mean(word, names)}")
            kept = [s for s in kept if not (isinstance(s, Trick) and s.name == word)]
        given = (*steps, *(Set(k, v) for k, v in settings.items()))
        for step in given:
            same = [i for i, s in enumerate(kept) if slot_of(s) == slot_of(step)]
            if same:
                kept[same[0]] = step
            else:
                kept.append(step)
        own = tuple(step for step in given if isinstance(step, Set))
        made = Recipe(
            name, summary or self.summary, self.root, tuple(kept), self.name, data or self.data, own
        )
        check_order([s for s in kept if isinstance(s, Trick)], name)
        return made

    def starting_from(self, path: str) -> Recipe:
        """This recipe, from the weights at `path`: a run's folder, or a safetensors file."""
        return replace(self, root=replace(self.root, start=FromRun(path)))

    @property
    def tricks(self) -> tuple[Trick, ...]:
        """Its tricks, in sequence."""
        return tuple(step for step in self.steps if isinstance(step, Trick))

    def plan(self) -> Plan:
        """The plan this recipe comes to.

        Raises:
            UserError: from a trick that cannot apply, a setting with an unknown key or a wrong value, or one
                that a later trick changes again.
        """
        plan = self.root
        for is_trick, steps in groupby(self.steps, key=lambda s: isinstance(s, Trick)):
            if is_trick:
                for trick in typing.cast(Iterable[Trick], steps):
                    plan = trick(plan)
            else:  # settings in a row go together: one may be wrong without the other
                plan = apply_settings(plan, typing.cast(Iterable[Set], steps), self.name)
        self._check_own(plan)
        return plan

    def _check_own(self, plan: Plan) -> None:
        """Refuse a setting of this recipe's own that does not hold in the end.

        A setting inherited from a base may be changed further by a trick, as a rate is by a larger batch.
        """
        flat = flatten(plan) if self.own else {}
        for step in {step.key: step for step in self.own}.values():
            came_to = toml_value(flat[step.key]) if step.key in flat else "nothing"
            if came_to != toml_value(as_held(step.value, flat.get(step.key))):
                raise UserError(
                    f"{self.name}: {step.key} is set to {step.value!r}, and a trick after it makes {came_to}"
                    " of it; leave one of them out"
                )

    def flat(self) -> Flat:
        """The resolved plan by dotted key, with the recipe's name and data set."""
        return {"name": self.name, "data": self.data, **flatten(self.plan())}

    def text(self) -> str:
        """The resolved plan as flat, sorted TOML; the same text always means the same training."""
        return render(self.flat())


def as_held(value: Any, held: Any) -> Any:
    """A value in the form in which the flat text holds it: tuples as lists, whole numbers as floats."""
    if isinstance(held, list) and len(value) == len(held):
        return [as_held(v, h) for v, h in zip(value, held, strict=True)]
    return float(value) if isinstance(held, float) else value


def slot_of(step: Step) -> str:
    """What a later step of the same recipe replaces: the trick by its name, the setting by its key."""
    return step.name if isinstance(step, Trick) else f"set {step.key}"


def apply_settings(plan: Plan, settings: Iterable[Set], where: str) -> Plan:
    """The plan with keys of its flat text replaced."""
    flat = flatten(plan)
    given = {s.key: s.value for s in settings}
    for key in given:
        if key not in flat:
            near = did_you_mean(key, flat)
            raise UserError(f"{where}: unknown key {key!r}{near}; `hotlap recipes show` lists the keys")
    return unflatten(Plan, {**flat, **given}, where)


def check_order(tricks: list[Trick], where: str) -> None:
    """Whether the tricks may stand together in this sequence.

    Raises:
        UserError: naming the two that may not.
    """
    names = [t.name for t in tricks]
    for i, trick in enumerate(tricks):
        for other in trick.excludes:
            if other in names:
                raise UserError(f"{where}: {trick.name} excludes {other}; leave one out with --without")
        for other in trick.after:
            if other in names[i + 1 :]:
                raise UserError(f"{where}: {trick.name} must come after {other}; give {other} first")


def diff(a: Recipe, b: Recipe) -> list[str]:
    """What changes from a to b: lines `- key = value` and `+ key = value`, in key order, names left out."""
    old, new = (render(flatten(r.plan())).splitlines() for r in (a, b))
    return [line for line in difflib.ndiff(old, new) if line[0] in "+-"]


def starter(recipe: Recipe) -> str:
    """A TOML file that starts as `recipe` and shows every key that can be changed."""
    lines = [
        f"# A recipe of your own: everything is as in {recipe.name} until you change it here.",
        f'base = "{recipe.name}"',
        "",
        "# without = [" + ", ".join(f'"{t.name}"' for t in recipe.tricks) + "]",
    ]
    for trick in recipe.tricks:
        lines.append(f"# [with.{trick.name}]")
        lines += [f"# {k} = {v}" for k, v in _settings(trick)]
    lines += ["", "[set]"]
    lines += [f"# {line}" for line in render(flatten(recipe.plan())).splitlines()]
    return "\n".join(lines) + "\n"


def _settings(trick: Trick) -> list[tuple[str, str]]:
    return [(f.name, toml_value(getattr(trick, f.name))) for f in dataclasses.fields(trick)]


def settings_text(trick: Trick) -> str:
    """`label-smoothing(smoothing=0.2)`"""
    return f"{trick.name}({', '.join(f'{k}={v}' for k, v in _settings(trick))})"
