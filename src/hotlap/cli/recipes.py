"""`hotlap recipes`: list, show, diff, copy."""

from __future__ import annotations

import argparse
from pathlib import Path

from hotlap.cli.arguments import common
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    common(actions.add_parser("list", help="every built-in recipe"))
    show = actions.add_parser("show", help="a recipe's tricks and its whole plan")
    show.add_argument("recipe", help="a recipe's name, a TOML file, or a run's folder")
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
        recipe = find(args.recipe)
        out.say(f"{recipe.name}: {recipe.summary}" if recipe.summary else recipe.name)
        if recipe.base:
            out.say(f"a diff of {recipe.base}; made for --data {recipe.data}")
        if recipe.tricks:
            out.say("\ntricks, in order:")
            for trick in recipe.tricks:
                out.say(f"  {settings_text(trick)}")
        out.say("\nthe whole plan:")
        out.say("".join(f"  {line}\n" for line in recipe.text().splitlines()).rstrip())
        out.result({"recipe": recipe.flat(), "tricks": [t.name for t in recipe.tricks], "base": recipe.base})
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
