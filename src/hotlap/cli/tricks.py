"""`hotlap tricks`: list, show."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from hotlap.plan import Trick


EXAMPLES = (
    ("hotlap tricks list", "every trick, in a line each"),
    ("hotlap tricks show ghost-norm", "its idea, source, settings, and what it changes"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    common(actions.add_parser("list", help="every trick"))
    show = actions.add_parser("show", help="a trick's card")
    show.add_argument("trick")
    common(show)


def run(args: argparse.Namespace) -> int:
    from hotlap.plan.flat import toml_value
    from hotlap.tricks import discover

    out, tricks = Output(args.json), discover()
    if args.action == "list":
        firsts = {name: card_text(cls).splitlines()[0] for name, cls in tricks.items()}
        out.columns(firsts.items())
        out.result({"tricks": [{"name": n, "idea": idea} for n, idea in firsts.items()]})
        return DONE
    if args.trick not in tricks:
        raise UserError(
            f"no trick called {args.trick!r}{did_you_mean(args.trick, tricks)}; see `hotlap tricks list`"
        )
    card = card_of(tricks[args.trick])
    out.say(args.trick)
    out.say()
    out.say(card["card"])
    out.say()
    settings = ", ".join(f"{k} = {toml_value(v)}" for k, v in card["settings"].items())
    rows = [
        ("source", card["source"]),
        ("expected", card["expected"]),
        ("failures", card["failures"]),
        ("touches", ", ".join(card["touches"])),
        ("settings", settings or "none"),
        ("comes after", ", ".join(card["after"]) or "any"),
        ("excludes", ", ".join(card["excludes"]) or "none"),
        ("used in", ", ".join(card["used_in"]) or "no built-in recipe"),
        ("try it", f"hotlap train RECIPE --with {args.trick}, or --without {args.trick}"),
    ]
    out.columns(rows)
    out.say(f"\nwhat it changes, in {card['diff_in']}:")
    for line in card["diff"]:
        out.say(f"  {line}")
    out.result(card)
    return DONE


def card_text(cls: type[Trick]) -> str:
    return inspect.getdoc(cls) or ""


def card_of(cls: type[Trick]) -> dict[str, Any]:
    """All there is to know of a trick: what `hotlap tricks show` prints, and the reference."""
    from hotlap.plan import trick_name
    from hotlap.recipes import BUILTIN

    name = trick_name(cls)
    recipe, lines = changes_of(cls)
    return {
        "name": name,
        "card": card_text(cls),
        "source": cls.source,
        "expected": cls.effect,
        "failures": cls.failures,
        "touches": cls.touches,
        "settings": {f.name: f.default for f in dataclasses.fields(cls)},
        "after": cls.after,
        "excludes": cls.excludes,
        "used_in": [r.name for r in BUILTIN.values() if name in {t.name for t in r.tricks}],
        "diff_in": recipe,
        "diff": lines,
    }


def changes_of(cls: type[Trick]) -> tuple[str, list[str]]:
    """A recipe's name, and the lines that the trick changes in its plan: where it stands in the first recipe
    that uses it; else after the first one that it changes."""
    from hotlap.plan.recipe import Recipe, diff
    from hotlap.recipes import BUILTIN

    for recipe in BUILTIN.values():
        for i, step in enumerate(recipe.steps):
            before, after = (replace(recipe, steps=recipe.steps[:n], own=()) for n in (i, i + 1))
            if type(step) is cls and (lines := diff(before, after)):
                return recipe.name, lines
    for recipe in BUILTIN.values():
        with suppress(UserError):  # it does not go with this net
            if lines := diff(recipe, Recipe(recipe.name, "", recipe.plan(), (cls(),))):
                return recipe.name, lines
    return "no built-in recipe", []
