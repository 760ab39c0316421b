"""`hotlap profile`: where each millisecond goes, and how far from the machine's limit."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hotlap.cli.arguments import common, examples
from hotlap.cli.composing import changes, compose, loading
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError
from hotlap.files import slug
from hotlap.machine.processor import check_threads

EXAMPLES = (
    ("hotlap profile muon94", "by operation and part of the net; a roofline"),
    ("hotlap profile muon94 --set numerics.kernels=none", "with PyTorch's operations only"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument(
        "recipe", nargs="?", default="muon94", help="a recipe's name or a TOML file (default: muon94)"
    )
    changes(parser)
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="seconds of timed steps (default: 20)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: one under runs/)")
    common(parser)


def run(args: argparse.Namespace) -> int:
    if not 0 < args.seconds < float("inf"):
        raise UserError(f"--seconds {args.seconds:g}: give a number of seconds above 0")
    check_threads(args.threads)
    recipe = compose(args)
    from hotlap import data
    from hotlap.cli.decoding import Decoding
    from hotlap.engine.lower import lower
    from hotlap.machine.device import prepare
    from hotlap.machine.facts import machine_facts
    from hotlap.machine.resolve import resolve
    from hotlap.measure.profile import profile_run
    from hotlap.measure.profile_page import as_json, parts_table, save, seconds_table, summary

    out, plan = Output(args.json), recipe.plan()
    folder = args.out or Path("runs") / f"profile-{slug(recipe.name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; choose another --out")
    device = prepare(args.device, args.threads)
    with Decoding(out) as decoding:
        dataset = data.load(
            args.data or recipe.data,
            data_dir=args.data_dir,
            notify=out.note,
            progress=decoding.tell,
            **loading(args),
        )
    program = lower(plan, dataset, resolve(plan.numerics, device))
    program.upload()
    found = profile_run(program, recipe.name, args.seconds, tell=out.note)
    for table in (seconds_table(found), parts_table(found)):
        out.say()
        out.aligned(table)
    out.say()
    for sentence in summary(found):
        out.say(sentence)
    out.say()
    facts = machine_facts()
    files = save(found, folder, facts)
    out.files(files)
    paths = {what: str(path) for what, path in files.items()}
    out.result({**as_json(found), "machine": facts, "folder": str(folder), "files": paths})
    return DONE
