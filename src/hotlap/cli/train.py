"""`hotlap train`: a recipe, a data set, a run's folder."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.cli.main import DONE, MISSED, check_threads, common, settings_of
from hotlap.cli.output import Output, describe_views
from hotlap.errors import UserError

if TYPE_CHECKING:
    from hotlap.plan import Trick
    from hotlap.recipe import Recipe


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe", nargs="?", default="demo", help="a recipe's name or a TOML file (default: demo)"
    )
    changes(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--target", type=float, metavar="PCT", help="exit with status 3 if accuracy falls short"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default: one under runs/)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with an interrupted run")
    parser.add_argument(
        "--eval-every",
        type=int,
        metavar="N",
        help="epochs between evaluations; 0: at the end only",
    )
    parser.add_argument(
        "--checkpoint-every", type=float, default=60.0, metavar="S", help="seconds between saved states"
    )
    common(parser)


def changes(parser: argparse.ArgumentParser) -> None:
    """The options that say what a recipe runs on and what of it is changed; `compose` reads them."""
    parser.add_argument("--data", metavar="SRC", help="cifar10, cifar100, patterns, patterns:TRAIN,TEST")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data set lies")
    parser.add_argument("--epochs", type=float, metavar="E", help="run the recipe over this many epochs")
    parser.add_argument(
        "--with", dest="with_", action="append", default=[], metavar="TRICK[:k=v,...]", help="add a trick"
    )
    parser.add_argument("--without", action="append", default=[], metavar="TRICK", help="leave a trick out")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="set a value of the plan"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")


def run(args: argparse.Namespace) -> int:
    check(args)
    recipe = None if args.resume else compose(args)
    from hotlap.cli.progress import TerminalReporter  # everything from here on imports torch
    from hotlap.clock import process_age
    from hotlap.report.curve import save_curve
    from hotlap.run import Run, default_folder, reopen

    out = Output(args.json)
    if recipe is None:
        this = reopen(args.resume)
    else:
        data = args.data or recipe.data
        folder = args.out or default_folder(recipe.name, data, args.seed)
        eval_every = 1 if args.eval_every is None else args.eval_every
        this = Run(recipe, data, args.seed, folder, args.device, args.data_dir, args.threads, eval_every)
    with TerminalReporter(out) as reporter:
        result = this.go(
            reporter,
            resume=args.resume is not None,
            age_s=process_age(),
            checkpoint_s=args.checkpoint_every,
        )
    curve = save_curve(result.summary, result.history, result.folder / "curve.png")
    met = result.accuracy >= result.target
    out.say()
    out.say(
        f"{result.recipe} on {result.data}: {result.accuracy:.2f}% on {result.spec.test_count:,} test images"
        f" ({describe_views(result.summary['views'], result.summary['view_share'])}),"
        f" target {result.target:g}% {'met' if met else 'missed'}"
    )
    clocks = result.clocks
    out.say(
        f"seconds: train {clocks['train']:.1f}, eval {clocks['eval']:.1f} (cold {clocks['cold']:.1f},"
        f" load {clocks['load']:.1f}, compile {clocks['compile']:.1f}, watch {clocks['watch']:.1f})"
    )
    out.say(f"run:   {result.folder}")
    if curve:
        out.say(f"curve: {curve}")
    out.result({**result.summary, "folder": str(result.folder), "curve": str(curve) if curve else None})
    return MISSED if args.target is not None and result.accuracy < args.target else DONE


def check(args: argparse.Namespace) -> None:
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: give 0 or more")
    if args.target is not None and not 0 < args.target <= 100:
        raise UserError(f"--target {args.target:g}: give a percentage above 0, up to 100")
    check_threads(args)
    if args.eval_every is not None and args.eval_every < 0:
        raise UserError(f"--eval-every {args.eval_every}: give 0 or more epochs")
    if not args.checkpoint_every >= 0:
        raise UserError(f"--checkpoint-every {args.checkpoint_every:g}: give 0 or more seconds")
    if args.resume:
        changed = [
            w
            for w in ("data", "data_dir", "epochs", "out", "threads", "eval_every")
            if getattr(args, w) is not None
        ]
        changed += [w for w in ("with_", "without", "set") if getattr(args, w)]
        if changed:
            word = changed[0].rstrip("_").replace("_", "-")
            raise UserError(f"--resume goes on with the run's own recipe and data; leave out --{word}")


def set_in_all(recipes: list[Recipe], words: list[str]) -> list[Recipe]:
    """The recipes with the `--set` of the command line in each.

    Raises:
        UserError: a wrong setting, or a recipe that comes to no plan.
    """
    from hotlap.recipe import Set

    settings = [Set(k, v) for k, v in settings_of(words).items()]
    made = [r.then(r.name, *settings) for r in recipes] if settings else recipes
    for recipe in made:
        recipe.plan()  # what is wrong in it is said now
    return made


def trick_of(word: str) -> Trick:
    """The trick that `--with` asks for: its name, and after a colon its settings, a comma apart."""
    from hotlap.recipe import make_trick

    name, _, text = word.partition(":")
    settings = re.split(r",(?![^\[]*\])", text)  # not at the commas of a list
    return make_trick(name, settings_of([s for s in settings if s]), "--with")


def compose(args: argparse.Namespace) -> Recipe:
    """The recipe asked for, with what the command line changes."""
    from hotlap.recipe import Set
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
