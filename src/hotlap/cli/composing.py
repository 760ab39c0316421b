"""A recipe changed on the command line: the options that change it, and the recipe they make."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.cli.arguments import settings_of

if TYPE_CHECKING:
    from hotlap.plan import Trick
    from hotlap.plan.recipe import Recipe


def changes(parser: argparse.ArgumentParser) -> None:
    """The options that say what a recipe runs on and what of it is changed; `compose` reads them."""
    parser.add_argument(
        "--data",
        metavar="SRC",
        help="cifar10, cifar100, patterns, patterns:TRAIN,TEST (default: what the recipe was made for)",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data set lies")
    parser.add_argument("--epochs", type=float, metavar="E", help="run the recipe over this many epochs")
    parser.add_argument(
        "--with", dest="with_", action="append", default=[], metavar="TRICK[:k=v,...]", help="add a trick"
    )
    parser.add_argument("--without", action="append", default=[], metavar="TRICK", help="leave a trick out")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a value of the plan, such as batch_size=1000 or net.widths=[64,128,256];"
        " `hotlap recipes show RECIPE` lists every key with its value",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")


def set_in_all(recipes: list[Recipe], words: list[str]) -> list[Recipe]:
    """The recipes with the `--set` of the command line in each.

    Raises:
        UserError: a wrong setting, or a recipe that comes to no plan.
    """
    from hotlap.plan.recipe import Set

    settings = [Set(k, v) for k, v in settings_of(words).items()]
    made = [r.then(r.name, *settings) for r in recipes] if settings else recipes
    for recipe in made:
        recipe.plan()  # what is wrong in it is said now
    return made


def trick_of(word: str) -> Trick:
    """The trick that `--with` asks for: its name, and after a colon its settings, a comma apart."""
    from hotlap.recipes.reading import make_trick

    name, _, text = word.partition(":")
    settings = re.split(r",(?![^\[]*\])", text)  # not at the commas of a list
    return make_trick(name, settings_of([s for s in settings if s]), "--with")


def compose(args: argparse.Namespace) -> Recipe:
    """The recipe asked for, with what the command line changes."""
    from hotlap.plan.recipe import Set
    from hotlap.recipes import find

    recipe = find(args.recipe)
    tricks = [trick_of(word) for word in args.with_]
    settings = settings_of(args.set)
    if args.epochs is not None:
        settings["epochs"] = args.epochs
    if getattr(args, "target", None) is not None:
        settings["target"] = args.target
    if tricks or args.without or settings:
        sets = [Set(k, v) for k, v in settings.items()]
        recipe = recipe.then(recipe.name, *tricks, *sets, without=args.without)
    recipe.plan()  # what is wrong in it is said now, before torch is imported
    return recipe
