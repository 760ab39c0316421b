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
    from hotlap.runs.net import NetPicture


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
    show.add_argument(
        "--net",
        action="store_true",
        help="in place of the plan the layers of its net: shapes, parameters, shares of the multiply-adds,"
        " for the images it is made for or those of --data, --size and --classes",
    )
    show.add_argument("--svg", type=Path, metavar="FILE", help="draw the net as well")
    show.add_argument("--classes", type=int, metavar="N", help="of the net, if others than the data's")
    show.add_argument(
        "--against",
        metavar="R",
        help="compare the net with that of R (default: what the recipe is a diff of)",
    )
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
    from hotlap.plan.recipe import diff, starter
    from hotlap.recipes import BUILTIN, find

    out = Output(args.json)
    if args.action == "list":
        out.columns([(r.name, f"from {r.base}" if r.base else "", r.summary) for r in BUILTIN.values()])
        out.result(
            {"recipes": [{"name": r.name, "base": r.base, "summary": r.summary} for r in BUILTIN.values()]}
        )
    elif args.action == "show":
        check_net_options(args)
        recipe, reasons = suited(args, out) if args.data else (find(named(args)), ())
        drawn = picture(args, recipe, out) if args.net else None
        out.say(f"{recipe.name}: {recipe.summary}" if recipe.summary else recipe.name)
        for reason in reasons:
            out.say(f"  {reason}")
        if recipe.base:
            made_for = f"; made for --data {recipe.data}" if recipe.data else ""
            out.say(f"a diff of {recipe.base}{made_for}")
        tricks = [t.name for t in recipe.tricks]
        result = {"recipe": recipe.flat(), "tricks": tricks, "base": recipe.base, "reasons": list(reasons)}
        if drawn is None:
            plan(recipe, out)
        else:
            net(drawn, args.svg, out)
            result |= {"net": drawn.outline.as_json(), "svg": str(args.svg) if args.svg else None}
        out.result(result)
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


def plan(recipe: Recipe, out: Output) -> None:
    """Print a recipe's tricks and every value of its plan."""
    from hotlap.plan.recipe import settings_text

    if recipe.tricks:
        out.say("\ntricks, in order:")
        for trick in recipe.tricks:
            out.say(f"  {settings_text(trick)}")
    out.say("\nthe whole plan:")
    out.say("".join(f"  {line}\n" for line in recipe.text().splitlines()).rstrip())


def check_net_options(args: argparse.Namespace) -> None:
    """Whether the options of a net go together; `--net` is not needed where another asks for it."""
    asked = args.svg is not None or args.classes is not None or args.against is not None
    args.net = args.net or asked
    if args.svg is not None and args.svg.suffix != ".svg":
        raise UserError(f"{args.svg}: the picture is an SVG file; give a name that ends in .svg")
    if args.classes is not None and args.classes < 1:
        raise UserError(f"--classes {args.classes}: give 1 or more")


def picture(args: argparse.Namespace, recipe: Recipe, out: Output) -> NetPicture:
    """The net of a recipe, written to a file where the command line asks for that."""
    from hotlap.recipes import find
    from hotlap.runs.net import base_of, picture_of, run_of, spec_for

    how = loading(args)
    how.pop("size", None)
    spec = spec_for(
        recipe,
        args.data,
        data_dir=args.data_dir,
        folder=run_of(args.recipe or ""),
        size=args.size,
        classes=args.classes,
        notify=out.note,
        **how,
    )
    drawn = picture_of(recipe, spec, find(args.against) if args.against else base_of(recipe))
    if args.svg:
        drawn.save(args.svg)
    return drawn


def net(drawn: NetPicture, file: Path | None, out: Output) -> None:
    """Print a net's layers and where its picture is."""
    from hotlap.report.net_words import HEADS, costs, difference, marks, rows

    found = drawn.outline
    out.say(f"\n{costs(found)}, {found.classes:,} classes\n")
    out.aligned([HEADS, *rows(found)], words=(0, 1))
    for line in marks(found):
        out.say(line)
    out.columns(difference(found))
    if file:
        out.say(f"\npicture: {file}")


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
