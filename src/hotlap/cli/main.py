"""`hotlap`: parse, run one verb, and turn what happens into an exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
import warnings
from typing import TextIO

from hotlap._version import __version__
from hotlap.cli.arguments import HelpFormatter, Parser
from hotlap.cli.output import BAD_INPUT, DONE, INTERNAL, INTERRUPTED, LAUNCHED
from hotlap.errors import RankLost, UserError, did_you_mean
from hotlap.files import silent
from hotlap.machine.isa import level
from hotlap.machine.telling import told

VERBS = {
    "train": "train a recipe on a data set",
    "eval": "measure a saved model's accuracy",
    "report": "the page of a run: what it came to, where its seconds went, what it gets wrong",
    "predict": "classify image files with a saved model",
    "export": "a saved model as one file that runs without hotlap: ONNX, int8, or a torch program",
    "serve": "a saved model behind a page and an address on this machine",
    "recipes": "list, show, compare and copy recipes",
    "tricks": "list and show tricks",
    "ladder": "what each rung of a ladder of recipes takes, reaches and buys",
    "profile": "where each millisecond of a recipe's run goes, and how far it is from the machine's limit",
    "bench": "recipes and other programs: many full runs in turn, and what they claim",
    "explain": "the experiment behind an idea, run here, as a page with plots",
    "data": "list, get and check data sets",
    "doctor": "this machine: what it measures, what will be used and why",
}


def build_parser() -> Parser:
    parser = Parser(
        prog="hotlap",
        description="Train image classifiers to a target accuracy in the least time,"
        " and see where every second went.",
        epilog="Exit status: 0 done, 1 internal error, 2 bad input, 3 target missed, 130 interrupted.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hotlap {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(
            name, help=summary, description=summary.capitalize() + ".", formatter_class=HelpFormatter
        )
        importlib.import_module(f"hotlap.cli.{name}").arguments(verb)
    return parser


def options_of(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """The options of the verb and action that `words` name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = next((w for w in words if w in action.choices), None)
            if chosen:
                return options_of(action.choices[chosen], words)
    return [o for a in parser._actions for o in a.option_strings]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status and never raises for what a user did."""
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        return answer(list(sys.argv[1:] if argv is None else argv))


def answer(words: list[str]) -> int:
    """The exit status of the command line `words`."""
    debug = "--debug" in words
    quiet = is_led()
    try:
        if words and not words[0].startswith("-") and words[0] not in VERBS:
            raise UserError(
                f"hotlap: no verb {words[0]!r}{did_you_mean(words[0], VERBS)}; see `hotlap --help`"
            )
        parser = build_parser()
        args, rest = parser.parse_known_args(words)
        if rest:
            near = did_you_mean(rest[0].partition("=")[0], options_of(parser, words))
            raise UserError(f"hotlap {args.verb}: unrecognized arguments: {' '.join(rest)}{near}")
        args.words = words
        if args.verb is None:
            parser.print_help()
            return DONE
        if "WORLD_SIZE" in os.environ and args.verb != "train":
            raise UserError(f"hotlap {args.verb}: one process does it; torchrun is for `hotlap train`")
        level()
        # read by torch at its first large allocation: huge pages for tensors, a few percent for nothing
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        verb = importlib.import_module(f"hotlap.cli.{args.verb}")
        with told(silent if quiet else lambda text: print(text, file=sys.stderr, flush=True)):
            status: int = verb.run(args)
        sys.stdout.flush()
        return status
    except UserError as error:
        return BAD_INPUT if quiet else fail(str(error), BAD_INPUT, debug)
    except KeyboardInterrupt as stop:
        if quiet:
            return INTERRUPTED
        resume = getattr(stop, "resume", None)
        return fail(
            f"interrupted; state saved, go on with: {resume}" if resume else "interrupted", INTERRUPTED, debug
        )
    except RankLost as error:
        lost = (
            f"another process of this run was lost ({error}); go on from the last saved state with --resume"
        )
        return INTERNAL if quiet or LAUNCHED in os.environ else fail(lost, INTERNAL, debug)
    except BrokenPipeError:  # the reader of a pipe went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        hint = "" if debug else " (--debug shows where)"
        return fail(f"internal error: {type(error).__name__}: {error}{hint}", INTERNAL, debug)
    finally:
        if "hotlap.machine.ranks" in sys.modules:
            sys.modules["hotlap.machine.ranks"].leave()


def is_led() -> bool:
    """Whether this is one of several processes of a run and another speaks for them; it then keeps quiet."""
    return "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0"


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line, without the code it comes from."""
    print(f"hotlap: {' '.join(str(message).split())}", file=file or sys.stderr, flush=True)


def fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    line = message if message.startswith("hotlap") else f"hotlap: {message}"
    print(" ".join(line.split()), file=sys.stderr)
    return status
