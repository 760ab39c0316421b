"""`hotlap train`: a recipe, a data set, a run's folder."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.cli.arguments import common, examples
from hotlap.cli.composing import changes, compose, loading
from hotlap.cli.output import DONE, MISSED, Output
from hotlap.errors import UserError
from hotlap.machine.processor import check_threads
from hotlap.report.words import describe_views, how_sure

FITTED = "fitted"  # the recipe that is made for the data

if TYPE_CHECKING:
    from hotlap.data.surveying import Survey
    from hotlap.plan.recipe import Recipe


EXAMPLES = (
    ("hotlap train demo --data patterns --target 94", "the images that come with hotlap"),
    ("hotlap train --data photos/", "a folder a class; the recipe is chosen"),
    ("hotlap train --data photos/ --minutes 5 --balance", "all of it in five minutes"),
    ("hotlap train muon94 --seed 1 --set batch_size=1000", "CIFAR-10, downloaded if it must be"),
    ("hotlap train airbench94 --without lookahead --with ema", "one trick in place of another"),
    ("hotlap train fast94 --data set.npz --from runs/first", "from another run's weights"),
    ("hotlap train --resume runs/first", "go on with an interrupted run"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument(
        "recipe",
        nargs="?",
        help="a recipe's name (`hotlap recipes list`) or a TOML file (default: demo; for images of your own"
        " what suits them, or `fitted`: from scratch in any case)",
    )
    changes(parser)
    parser.add_argument(
        "--from",
        dest="from_",
        type=Path,
        metavar="RUN",
        help="start from the weights of a run's folder or of a .safetensors file",
    )
    parser.add_argument(
        "--balance", action="store_true", help="let rare classes count as much as common ones"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="take so long for all of it: epochs and resolution are fitted to the time",
    )
    parser.add_argument(
        "--batch",
        type=batch_of,
        metavar="N",
        help="images a step; `auto`: the recipe's, or as many of them as fit in memory",
    )
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
        "--devices",
        type=int,
        metavar="N",
        help="train on so many devices of this machine together, CUDA's or parts of the processor",
    )
    parser.add_argument(
        "--checkpoint-every", type=float, default=60.0, metavar="S", help="seconds between saved states"
    )
    common(parser)


def run(args: argparse.Namespace) -> int:
    check(args)
    if args.devices and args.devices > 1 and "WORLD_SIZE" not in os.environ:
        from hotlap.cli.launching import launch

        return launch(args)
    if isinstance(args.batch, int):
        args.set.append(f"batch_size={args.batch}")
    out = Output(args.json)
    own = args.data is not None and args.recipe in (None, FITTED) and not args.resume
    recipe = None if args.resume or own else compose(args)
    from hotlap.cli.progress import TerminalReporter  # everything from here on imports torch
    from hotlap.engine.clock import process_age
    from hotlap.machine.ranks import joined
    from hotlap.report.curve import save_curve
    from hotlap.report.plots import NOT_DRAWN
    from hotlap.runs.choosing import sized
    from hotlap.runs.execute import execute
    from hotlap.runs.folder import default_folder, reopen
    from hotlap.runs.run import Run

    setup_s = 0.0
    if args.resume:
        this = reopen(args.resume)
    else:
        how = loading(args)
        seconds = None if args.minutes is None else 60 * args.minutes
        found = None
        if recipe is None:
            recipe, found = choose(args, how, out)
        data = args.data or recipe.data
        fits = sized(recipe, data, how, args.data_dir, args.device, args.threads, seconds, out.note, found)
        recipe, how, setup_s = fits.recipe, dict(fits.loading), fits.setup_s
        for reason in fits.reasons:
            out.say(reason)
        folder = joined().same(args.out or default_folder(recipe.name, data, args.seed))
        eval_every = 1 if args.eval_every is None else args.eval_every
        this = Run(
            recipe,
            data,
            args.seed,
            folder,
            args.device,
            args.data_dir,
            args.threads,
            eval_every,
            command=shlex.join(["hotlap", *args.words]),
            loading=how,
            minutes=args.minutes,
            fit_batch=args.batch == "auto",
        )
    with TerminalReporter(out) as reporter:
        result = execute(
            this,
            reporter,
            resume=args.resume is not None,
            age_s=process_age(),
            setup_s=setup_s,
            checkpoint_s=args.checkpoint_every,
        )
    if not joined().leads:
        return DONE
    fitted_once = not result.summary["steps"]  # a classifier fitted at once has no curve
    path = result.folder / "curve.png"
    curve = None if fitted_once else save_curve(result.summary, result.history, path)
    summary, split = result.summary, result.summary["test_split"]
    met = "met" if result.accuracy >= result.target else "missed"
    aim = f", target {result.target:g}% {met}" if result.target else ""
    out.say()
    count = result.spec.test_count
    views = describe_views(summary["views"], summary["view_share"])
    beside = "; ".join(filter(None, (views, how_sure(result.accuracy, count))))
    out.say(
        f"{result.recipe} on {result.data}: {result.accuracy:.2f}% on {count:,} {split} images"
        f" ({beside}){aim}"
    )
    for name, accuracy in summary["held"].items():
        out.say(f"{name}: {accuracy:.2f}%, 1 view each, looked at now for the first time")
    clocks = result.clocks
    out.say(
        f"seconds: train {clocks['train']:.1f}, eval {clocks['eval']:.1f} (cold {clocks['cold']:.1f},"
        f" load {clocks['load']:.1f}, compile {clocks['compile']:.1f}, watch {clocks['watch']:.1f})"
    )
    if result.summary["lacks"]:
        out.say(f"slower than it could be, without hotlap's own kernels: {result.summary['lacks']}")
    out.say(f"run:   {result.folder}")
    if not fitted_once:
        out.say(f"curve: {curve or NOT_DRAWN}")
    if result.report:
        out.say(f"report: {result.report}")
    drawn = {
        "curve": str(curve) if curve else None,
        "report": str(result.report) if result.report else None,
    }
    out.result({**result.summary, "folder": str(result.folder), **drawn})
    return MISSED if args.target is not None and result.accuracy < args.target else DONE


def choose(args: argparse.Namespace, how: dict[str, Any], out: Output) -> tuple[Recipe, Survey | None]:
    """The recipe that suits the data, where none was named, with what the command line changes; and what was
    seen of the data for it."""
    from hotlap.runs.choosing import choose_recipe

    scratch = args.recipe == FITTED
    chosen = choose_recipe(args.data, how, args.data_dir, out.note, scratch)
    if chosen is None and scratch:
        raise UserError(f"--data {args.data}: a set with a name; `fitted` is for images of your own")
    recipe = compose(args, chosen.recipe if chosen else None)
    if chosen:
        out.say(f"recipe: {recipe.name}")
        for reason in chosen.reasons:
            out.say(f"  {reason}")
    return recipe, chosen.found if chosen else None


def batch_of(word: str) -> int | str:
    """`auto`, or a number of images."""
    if word == "auto":
        return word
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r}; give a whole number of images, or auto")
    return int(word)


def check(args: argparse.Namespace) -> None:
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: give 0 or more")
    if args.target is not None and not 0 < args.target <= 100:
        raise UserError(f"--target {args.target:g}: give a percentage above 0, up to 100")
    check_threads(args.threads)
    if args.devices is not None and args.devices < 1:
        raise UserError(f"--devices {args.devices}: give 1 or more")
    if args.minutes is not None and not 0 < args.minutes < float("inf"):
        raise UserError(f"--minutes {args.minutes:g}: give a number of minutes above 0")
    if args.minutes is not None and args.epochs is not None:
        raise UserError("--minutes chooses the epochs; leave out --epochs")
    if args.eval_every is not None and args.eval_every < 0:
        raise UserError(f"--eval-every {args.eval_every}: give 0 or more epochs")
    if not args.checkpoint_every >= 0:
        raise UserError(f"--checkpoint-every {args.checkpoint_every:g}: give 0 or more seconds")
    if args.resume:
        changed = [
            w
            for w in (
                *("data", "data_dir", "epochs", "out", "threads", "eval_every", "minutes", "from_"),
                *("size", "fit", "label_column", "image_column", "batch"),
            )
            if getattr(args, w) is not None
        ]
        changed += [w for w in ("with_", "without", "set", "strict", "balance") if getattr(args, w)]
        if changed:
            word = changed[0].rstrip("_").replace("_", "-")
            raise UserError(f"--resume goes on with the run's own recipe and data; leave out --{word}")
