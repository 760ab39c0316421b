"""`hotlap explain`: the experiment behind an idea, run here, into a folder with a page and pictures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError
from hotlap.machine.processor import check_threads

if TYPE_CHECKING:
    from hotlap.explain import Outcome, Topic

QUIET_S = 10.0  # seconds between lines of progress
NOTE = "a quick run: it shows that the experiment runs, its numbers mean nothing"


EXAMPLES = (
    ("hotlap explain list", "every topic and its question"),
    ("hotlap explain momentum --quick", "in seconds, to see that it runs"),
    ("hotlap explain step-time --recipe muon94", "of this recipe's steps"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("topic", help="a topic's name, or `list` for all of them")
    parser.add_argument("--data", metavar="SRC", help="cifar10 (if it is on this machine), else patterns")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data set lies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat training runs, and average")
    parser.add_argument(
        "--quick", action="store_true", help="seconds instead of minutes, to see that it runs"
    )
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar="R",
        help="step-time: a recipe to look at; repeatable",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: under runs/)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    common(parser)


def run(args: argparse.Namespace) -> int:
    from hotlap.explain import discover, find

    out = Output(args.json)
    if args.topic == "list":
        topics = discover().values()
        out.columns([(t.name, f"{t.question} (docs/handbook/{t.chapter})") for t in topics])
        fields = ("name", "title", "question", "chapter")
        out.result({"topics": [{f: getattr(t, f) for f in fields} for t in topics]})
        return DONE
    topic = find(args.topic)
    check(args, topic)
    return explain(topic, args, out)


def check(args: argparse.Namespace, topic: Topic) -> None:
    from hotlap.report.plots import need_plots

    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: give 0 or more")
    if args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: give 1 or more")
    check_threads(args.threads)
    if args.recipe and not topic.takes_recipes:
        raise UserError(f"explain {topic.name}: takes no --recipe; leave it out")
    if args.recipe:
        from hotlap.recipes import find

        for name in args.recipe:
            find(name).plan()
    if args.out and args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UserError(f"{args.out}: is there already and not an empty folder; choose another --out")
    need_plots(f"explain {topic.name}")


def source(args: argparse.Namespace) -> tuple[str, str]:
    """The data to use, and why."""
    from hotlap import data

    if args.data:
        return args.data, "as asked"
    if args.data_dir:
        return "cifar10", f"looked for in {args.data_dir}"
    found = next(i for i in data.available() if i.name == "cifar10")
    if found.found:
        return "cifar10", f"found at {found.where}"
    return "patterns", f"built in, for cifar10 is not on this machine ({found.where})"


def explain(topic: Topic, args: argparse.Namespace, out: Output) -> int:
    from hotlap import data
    from hotlap.cli.progress import describe_backend
    from hotlap.explain import Setting
    from hotlap.machine.device import prepare
    from hotlap.machine.facts import machine_facts
    from hotlap.machine.numerics import Numerics
    from hotlap.machine.resolve import resolve
    from hotlap.runs.folder import default_folder

    device = prepare(args.device, args.threads)
    name, why = source(args)
    out.say(f"{topic.name}: {topic.title}")
    out.say(topic.question)
    out.say()
    out.say(f"data: {name}, {why}")
    dataset = data.load(name, data_dir=args.data_dir, notify=out.note)
    backend = resolve(Numerics(), device)
    out.say(describe_backend(backend))
    if args.quick:
        out.say(NOTE)
    seeds = tuple(range(args.seed, args.seed + args.seeds))
    ticker = Ticker(out)
    setting = Setting(dataset, backend, seeds, args.quick, tuple(args.recipe), out.say, ticker)
    start = time.perf_counter()
    outcome = topic.function(setting)
    seconds = time.perf_counter() - start
    ticker.end()
    for titled in outcome.tables:
        out.say()
        out.say(f"{titled.title}:")
        say_table(out, titled.table.head, titled.table.rows)
    out.say()
    out.say(outcome.answer)
    folder = args.out or default_folder(f"explain-{topic.name}", name, args.seed)
    facts = {
        "topic": topic.name,
        "question": topic.question,
        "chapter": topic.chapter,
        "data": name,
        "seeds": list(seeds),
        "quick": args.quick,
        "seconds": seconds,
        "backend": describe_backend(backend),
        "machine": machine_facts(),
    }
    files = save(topic, outcome, facts, folder)
    out.say()
    for path in files:
        out.say(str(path))
    names = {"folder": str(folder), "files": [p.name for p in files]}
    out.result({**facts, "answer": outcome.answer, "results": outcome.results, **names})
    return DONE


class Ticker:
    """Progress of an experiment: one line rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, out: Output):
        self.out, self.live = out, out.stream.isatty()
        self.start = time.monotonic()
        self.said = -QUIET_S

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic() - self.start
        left = f", about {now * (total - done) / done:.0f} s left" if done >= 3 else ""
        line = f"  {done + 1} of {total}, {now:.0f} s{left}: {what}"
        if self.live:
            print(f"\r\x1b[K{line}", end="", file=self.out.stream, flush=True)
        elif now - self.said >= QUIET_S:
            self.said = now
            self.out.say(line)

    def end(self) -> None:
        if self.live:
            print("\r\x1b[K", end="", file=self.out.stream, flush=True)
        self.out.say(f"  done in {time.monotonic() - self.start:.0f} s")


def say_table(out: Output, head: Any, rows: Any) -> None:
    """A table of words and figures: the first column left, the others right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        first, *others = (
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        out.say("  " + "  ".join([first, *others]).rstrip())


def save(topic: Topic, outcome: Outcome, facts: dict[str, Any], folder: Path) -> list[Path]:
    """Pictures, numbers and the page; returns what was written.

    Raises:
        UserError: if the folder cannot be written.
    """
    from hotlap.files import write_atomic
    from hotlap.report.page import Claim, Code, Heading, Picture, render_page
    from hotlap.report.plots import save_figure, svg_text

    pictures = [save_figure(d.figure, folder / f"{d.name}.svg") for d in outcome.drawings]
    numbers = json.dumps({**facts, "answer": outcome.answer, "results": outcome.results}, indent=1) + "\n"
    write_atomic(folder / "results.json", numbers.encode())
    blocks: list[Any] = [topic.question, *([NOTE] if facts["quick"] else []), Claim(outcome.answer)]
    blocks += [Picture(svg_text(d.figure), d.caption) for d in outcome.drawings]
    for titled in outcome.tables:
        blocks += [Heading(titled.title), titled.table]
    command = (
        " ".join(["hotlap", *sys.argv[1:]]) if facts["topic"] in sys.argv else f"hotlap explain {topic.name}"
    )
    seconds = f"{facts['seconds']:.0f} s on {facts['machine']['cpu']}, {facts['machine']['threads']} threads"
    blocks += [Heading("how it was run"), Code(command), f"{facts['data']}, {facts['backend']}; {seconds}."]
    page = folder / "report.html"
    write_atomic(page, render_page(topic.title, *blocks).encode())
    return [*pictures, folder / "results.json", page]


__all__ = ["arguments", "run"]
