"""`hotlap train`: a recipe, a data set, a run's folder."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.cli.arguments import common
from hotlap.cli.composing import changes, compose
from hotlap.cli.output import DONE, MISSED, Output
from hotlap.errors import UserError
from hotlap.machine.processor import check_threads
from hotlap.report.words import describe_views

if TYPE_CHECKING:
    pass


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recipe",
        nargs="?",
        default="demo",
        help="a recipe's name (`hotlap recipes list`) or a TOML file (default: demo)",
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


def run(args: argparse.Namespace) -> int:
    check(args)
    recipe = None if args.resume else compose(args)
    from hotlap.cli.progress import TerminalReporter  # everything from here on imports torch
    from hotlap.engine.clock import process_age
    from hotlap.report.curve import save_curve
    from hotlap.runs.execute import execute
    from hotlap.runs.folder import default_folder, reopen
    from hotlap.runs.run import Run

    out = Output(args.json)
    if recipe is None:
        this = reopen(args.resume)
    else:
        data = args.data or recipe.data
        folder = args.out or default_folder(recipe.name, data, args.seed)
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
        )
    with TerminalReporter(out) as reporter:
        result = execute(
            this,
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
    if result.summary["lacks"]:
        out.say(f"slower than it could be, without hotlap's own kernels: {result.summary['lacks']}")
    out.say(f"run:   {result.folder}")
    if curve:
        out.say(f"curve: {curve}")
    if result.report:
        out.say(f"report: {result.report}")
    drawn = {
        "curve": str(curve) if curve else None,
        "report": str(result.report) if result.report else None,
    }
    out.result({**result.summary, "folder": str(result.folder), **drawn})
    return MISSED if args.target is not None and result.accuracy < args.target else DONE


def check(args: argparse.Namespace) -> None:
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: give 0 or more")
    if args.target is not None and not 0 < args.target <= 100:
        raise UserError(f"--target {args.target:g}: give a percentage above 0, up to 100")
    check_threads(args.threads)
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
