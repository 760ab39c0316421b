"""`hotlap eval`: a saved model's accuracy on a test set."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import DONE, MISSED, Output
from hotlap.errors import UserError
from hotlap.report.words import describe_views, how_sure

EXAMPLES = (
    ("hotlap eval runs/first", "on what it was trained on"),
    ("hotlap eval runs/first --data more/ --tta flip", "on other images of the same classes"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("model", type=Path, help="a run's folder, or a model.safetensors")
    parser.add_argument("--data", metavar="SRC", help="default: what the run was trained on")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--tta", metavar="VIEWS", help="none, flip or flip_translate (default: the recipe's)")
    parser.add_argument(
        "--target", type=float, metavar="PCT", help="exit with status 3 if accuracy falls short"
    )
    parser.add_argument("--device", default="auto")
    common(parser)


def run(args: argparse.Namespace) -> int:
    from hotlap.deploy.model import evaluate_saved, trained_on

    out = Output(args.json)
    run = trained_on(args.model)
    if not args.model.exists():
        raise UserError(f"{args.model}: no such run or model; check the path")
    if run is None and args.data is None:
        raise UserError(f"{args.model}: does not say what it was trained on; name it with --data")
    data = args.data or (run.source if run else "")
    found = evaluate_saved(args.model, data, tta=args.tta, device=args.device, data_dir=args.data_dir)
    views = describe_views(found.views, found.share)
    beside = (views, how_sure(found.accuracy, found.count), f"loss {found.loss:.4f}")
    out.say(
        f"{found.accuracy:.2f}% of {found.count:,} test images of {data}, {'; '.join(filter(None, beside))}"
    )
    out.result({"model": str(args.model), "data": data, **asdict(found)})
    return MISSED if args.target is not None and found.accuracy < args.target else DONE
