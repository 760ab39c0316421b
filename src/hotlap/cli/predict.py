"""`hotlap predict`: class names and probabilities for pictures."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import BAD_INPUT, DONE, Output
from hotlap.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from hotlap.deploy.predict import Failure, Prediction

FORMATS = ("table", "csv", "jsonl")


EXAMPLES = (
    ("hotlap predict runs/first photo.jpg more/ 'other/*.png'", "a table, an image a row"),
    ("hotlap predict runs/first more/ --format csv --min-probability 0.8", "no label where it is unsure"),
    ("find . -name '*.png' | hotlap predict runs/first - --format jsonl", "paths from another program"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("model", type=Path, help="a run's folder, or a model.safetensors")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="PATHS",
        help="files, folders (all images below them), glob patterns; - reads paths from stdin, one a line",
    )
    parser.add_argument("--format", default="table", metavar="F", help="table, csv or jsonl")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes to print for each image")
    parser.add_argument(
        "--min-probability",
        type=float,
        default=0.0,
        metavar="P",
        help="0 to 1: where the best class has less, no label is given (table: uncertain; csv: an empty"
        " label; jsonl: null), only the probabilities",
    )
    parser.add_argument("--tta", default="none", metavar="VIEWS", help="none, flip or flip_translate")
    parser.add_argument("--device", default="auto")
    common(parser)


def run(args: argparse.Namespace) -> int:
    if args.top < 1:
        raise UserError(f"--top {args.top}: give 1 or more")
    if not 0 <= args.min_probability <= 1:
        raise UserError(f"--min-probability {args.min_probability:g}: give a share from 0 to 1")
    if args.format not in FORMATS:
        near = did_you_mean(args.format, FORMATS)
        raise UserError(f"--format {args.format}: no such format{near}; there are {', '.join(FORMATS)}")
    from hotlap.deploy.model import check_tta, open_model
    from hotlap.deploy.predict import Failure, find_images, stream

    for stream_ in (
        sys.stdout,
        sys.stderr,
    ):  # file names are bytes; those that are no text go out as they came
        if isinstance(stream_, io.TextIOWrapper):
            stream_.reconfigure(errors="surrogateescape")
    out = Output(args.json)
    loaded = open_model(args.model, args.device)
    tta = check_tta(args.tta)
    sources = list(find_images(given(args.images)))
    write = writer(args, out, sources)
    kept: list[Prediction] = []
    failed: list[Failure] = []
    count = resized = 0
    with progress(len(sources)) as advance:
        for answer in stream(loaded, sources, tta):
            advance()
            if isinstance(answer, Failure):
                failed.append(answer)
                out.note(f"{answer.path}: {answer.reason}")
                continue
            count += 1
            resized += answer.resized_from is not None
            if args.json:
                kept.append(answer)
            if not args.json or args.format == "table":  # whose text then goes to stderr
                write(answer)
    h, w = loaded.preprocessing.size
    if resized and args.format == "table":
        some = f"{resized:,} of {count:,} images were" if count > 1 else "the image was"
        out.note(f"{some} brought to the model's {h}x{w} ({loaded.preprocessing.fit})")
    predictions = [shortened(p, args.min_probability) for p in kept]
    out.result(
        {
            "model": str(args.model),
            "tta": tta,
            "temperature": loaded.temperature,
            "min_probability": args.min_probability,
            "predictions": predictions,
            "failed": [asdict(f) for f in failed],
        }
    )
    gone = any(isinstance(source, Failure) for source in sources)  # named, and nothing there
    return BAD_INPUT if gone or not count else DONE


def given(words: Iterable[str]) -> Iterator[str]:
    """The paths of the command line, with those of stdin where it says `-`."""
    for word in words:
        if word != "-":
            yield word
            continue
        text = sys.stdin.buffer.read().decode(errors="surrogateescape")
        yield from filter(None, text.split("\0") if "\0" in text else text.splitlines())


def shortened(p: Prediction, least: float) -> dict[str, Any]:
    """As JSON, with the label or, where it is uncertain, null."""
    return {**asdict(p), "label": p.label if p.probability >= least else None}


def writer(args: argparse.Namespace, out: Output, sources: Iterable[object]) -> Callable[[Prediction], None]:
    """What puts one prediction on stdout, in the format asked for."""
    least, top = args.min_probability, args.top
    if args.format == "csv":
        rows = csv.writer(sys.stdout, lineterminator="\n")
        titles = ["path", "label", "probability"]
        if not args.json:
            rows.writerow(titles + [f"{t}_{k}" for k in range(2, top + 1) for t in titles[1:]])

        def as_csv(p: Prediction) -> None:
            (label, probability), *others = p.best(top)
            cells: list[object] = [p.path, label if probability >= least else "", f"{probability:.6f}"]
            for name, share in others:
                cells += [name, f"{share:.6f}"]
            rows.writerow(cells + [""] * (1 + 2 * top - len(cells)))

        return as_csv
    if args.format == "jsonl":

        def as_json(p: Prediction) -> None:
            print(json.dumps({**shortened(p, least), "probabilities": dict(p.best(top))}))

        return as_json
    width = max((len(str(s)) for s in sources if isinstance(s, str | Path)), default=0)

    def as_text(p: Prediction) -> None:
        best = "  ".join(f"{name} {100 * share:.1f}%" for name, share in p.best(top))
        out.say(f"{p.path:<{width}}  {best if p.probability >= least else f'uncertain ({best})'}")

    return as_text


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal's stderr while several images are looked at; nothing elsewhere."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(40), TextColumn("{task.completed}/{task.total} images"), TimeRemainingColumn())
    bar = Progress(
        *columns,
        console=Console(stderr=True, highlight=False),
        transient=True,
        refresh_per_second=4,
        redirect_stdout=sys.stdout.isatty(),  # rows then go above the bar; into a pipe they go as they are
    )
    with bar:
        task = bar.add_task("predict", total=total)
        yield lambda: bar.advance(task)
