"""A recipe changed on the command line: the options that change it, and the recipe they make."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.cli.arguments import settings_of

if TYPE_CHECKING:
    from hotlap.plan import Trick
    from hotlap.plan.recipe import Recipe


def changes(parser: argparse.ArgumentParser) -> None:
    """The options that say what a recipe runs on and what of it is changed; `compose` reads them."""
    parser.add_argument(
        "--data",
        metavar="SRC",
        help="cifar10, cifar100, patterns, patterns:TRAIN,TEST, or images of your own: a folder with a folder"
        " a class, a table of paths and labels, Parquet, .npz, .npy, IDX, or archives of these"
        " (default: what the recipe was made for)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where the data set lies, or what a table's paths start from",
    )
    reading(parser)
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
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")


def reading(parser: argparse.ArgumentParser) -> None:
    """The options that say how images of one's own are read; `loading` makes `load`'s arguments of them."""
    parser.add_argument(
        "--size",
        type=size_of,
        metavar="PX",
        help="the side that images of your own are brought to, or height and width as 48x64"
        " (default: chosen from the images)",
    )
    parser.add_argument("--fit", choices=("crop", "pad", "stretch"), help="how they are (default: crop)")
    parser.add_argument("--strict", action="store_true", help="stop if an image does not read")
    parser.add_argument("--label-column", metavar="NAME", help="the column of labels in a table")
    parser.add_argument("--image-column", metavar="NAME", help="the column of paths, or of images in Parquet")


def size_of(word: str) -> tuple[int, int]:
    """(height, width) of `64` or `48x64`."""
    match = re.fullmatch(r"([0-9]{1,4})(?:x([0-9]{1,4}))?", word, re.ASCII)
    if match is None or int(match[1]) == 0 or int(match[2] or 1) == 0:
        raise argparse.ArgumentTypeError(f"{word!r}: give the pixels of a side, or height and width as 48x64")
    return int(match[1]), int(match[2] or match[1])


def loading(args: argparse.Namespace) -> dict[str, Any]:
    """What of `hotlap.data.load`'s arguments the command line gives; it goes to JSON and back.

    Without those that were not given: empty for a set by name.
    """
    asked = {
        "size": list(args.size) if args.size else None,
        "fit": args.fit,
        "strict": args.strict or None,
        "labels": args.label_column,
        "images": args.image_column,
    }
    return {name: value for name, value in asked.items() if value is not None}


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


def compose(args: argparse.Namespace, base: Recipe | None = None) -> Recipe:
    """The recipe asked for, or `base` where none was, with what the command line changes."""
    from hotlap.plan.recipe import Set
    from hotlap.recipes import find

    recipe = base or find(args.recipe or "demo")
    tricks = [trick_of(word) for word in args.with_]
    settings = settings_of(args.set)
    if args.epochs is not None:
        settings["epochs"] = args.epochs
    if getattr(args, "target", None) is not None:
        settings["target"] = args.target
    if getattr(args, "balance", False):
        settings["loss.balance"] = "classes"
    if tricks or args.without or settings:
        sets = [Set(k, v) for k, v in settings.items()]
        recipe = recipe.then(recipe.name, *tricks, *sets, without=args.without)
    if getattr(args, "from_", None) is not None:
        recipe = recipe.starting_from(str(args.from_))
    recipe.plan()  # what is wrong in it is said now, before torch is imported
    return recipe
