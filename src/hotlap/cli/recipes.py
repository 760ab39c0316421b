"""`hotlap recipes`: list, show, diff, copy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.cli.arguments import common, examples
from hotlap.cli.composing import loading, reading
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError

if TYPE_CHECKING:
    from hotlap.plan.recipe import Recipe


EXAMPLES = (
    ("hotlap recipes list", "every built-in recipe"),
    ("hotlap recipes show fast94", "its tricks, and every value of its plan"),
    ("hotlap recipes show --data photos/", "what would be trained on these, and why"),
    ("hotlap recipes diff airbench94 muon94", "exactly what changes from one to the other"),
    ("hotlap recipes copy muon94 mine.toml", "a recipe of your own, to edit and train"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    common(actions.add_parser("list", help="every built-in recipe"))
    show = actions.add_parser("show", help="a recipe's tricks and its whole plan")
    show.add_argument("recipe", nargs="?", help="a recipe's name, a TOML file, or a run's folder")
    show.add_argument(
        "--data", metavar="SRC", help="images of your own: what recipe suits them, fitted to them, and why"
    )
    show.add_argument("--data-dir", type=Path, metavar="DIR", help="what a table's paths start from")
    reading(show)
    common(show)
    compare = actions.add_parser("diff", help="what changes from one recipe to another")
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B")
    common(compare)
    copy = actions.add_parser("copy", help="start a recipe of your own from a built-in one")
    copy.add_argument("recipe")
    copy.add_argument("file", type=Path, help="the TOML file to write; must not be there yet")
    common(copy)


def run(args: argparse.Namespace) -> int:
    from hotlap.files import write_atomic
    from hotlap.plan.recipe import diff, settings_text, starter
    from hotlap.recipes import BUILTIN, find

    out = Output(args.json)
    if args.action == "list":
        out.columns([(r.name, f"from {r.base}" if r.base else "", r.summary) for r in BUILTIN.values()])
        out.result(
            {"recipes": [{"name": r.name, "base": r.base, "summary": r.summary} for r in BUILTIN.values()]}
        )
    elif args.action == "show":
        recipe, reasons = suited(args, out) if args.data else (find(named(args)), ())
        out.say(f"{recipe.name}: {recipe.summary}" if recipe.summary else recipe.name)
        for reason in reasons:
            out.say(f"  {reason}")
        if recipe.base:
            made_for = f"; made for --data {recipe.data}" if recipe.data else ""
            out.say(f"a diff of {recipe.base}{made_for}")
        if recipe.tricks:
            out.say("\ntricks, in order:")
            for trick in recipe.tricks:
                out.say(f"  {settings_text(trick)}")
        out.say("\nthe whole plan:")
        out.say("".join(f"  {line}\n" for line in recipe.text().splitlines()).rstrip())
        tricks = [t.name for t in recipe.tricks]
        out.result({"recipe": recipe.flat(), "tricks": tricks, "base": recipe.base, "reasons": list(reasons)})
    elif args.action == "diff":
        lines = diff(find(args.a), find(args.b))
        for line in lines or ["no difference"]:
            out.say(line)
        out.result({"a": args.a, "b": args.b, "diff": lines})
    else:
        recipe = find(args.recipe)
        if args.file.suffix != ".toml":
            raise UserError(f"{args.file}: recipes are TOML files; give a name that ends in .toml")
        if args.file.exists():
            raise UserError(f"{args.file}: is there already; choose another name")
        if recipe.name not in BUILTIN:
            raise UserError(f"{args.recipe}: only built-in recipes can be a base; see `hotlap recipes list`")
        write_atomic(args.file, starter(recipe).encode())
        out.say(f"wrote {args.file}; edit it, then: hotlap train {args.file}")
        out.result({"file": str(args.file), "base": recipe.name})
    return DONE


def named(args: argparse.Namespace) -> str:
    """The recipe asked for."""
    if args.recipe is None:
        raise UserError("hotlap recipes show: name a recipe, or give --data; see `hotlap recipes list`")
    return str(args.recipe)


def suited(args: argparse.Namespace, out: Output) -> tuple[Recipe, tuple[str, ...]]:
    """What `hotlap train --data SRC` would train, and why."""
    from hotlap.recipes import find
    from hotlap.runs.choosing import choose_recipe, sized  # imports torch

    how = loading(args)
    chosen = None if args.recipe else choose_recipe(args.data, how, args.data_dir, out.note)
    if chosen is None and args.recipe is None:
        raise UserError(f"--data {args.data}: a set with a name has no recipe of its own; name one")
    recipe = find(args.recipe) if chosen is None else chosen.recipe
    fits = sized(
        recipe, args.data, how, args.data_dir, "auto", None, None, out.note, chosen.found if chosen else None
    )
    return fits.recipe, (*(chosen.reasons if chosen else ()), *fits.reasons)
