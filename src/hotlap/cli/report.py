"""`hotlap report`: the page of a run, made again from what lies in its folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import DONE, Output

EXAMPLES = (("hotlap report runs/first", "draw its page again"),)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    common(parser)


def run(args: argparse.Namespace) -> int:
    from hotlap.runs.report import write_report

    out = Output(args.json)
    path = write_report(args.run)
    out.say(f"report: {path}")
    out.result({"folder": str(args.run), "report": str(path)})
    return DONE
