"""`hotlap bench`: recipes and other programs, many full runs in turn, and what they claim."""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.cli.arguments import common, examples
from hotlap.cli.composing import set_in_all
from hotlap.cli.engines import check_engine, cluster_of, engines
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError
from hotlap.machine.processor import check_threads

if TYPE_CHECKING:
    from hotlap.measure.bench import Bench
    from hotlap.measure.standings import Summary, Timed
    from hotlap.plan.recipe import Recipe


EXAMPLES = (
    ("hotlap bench fast94 --runs 10", "ten seeds: mean, spread, interval"),
    ("hotlap bench muon94 hiverge94 --runs 4", "in turn, and their seconds' ratio"),
    ("hotlap bench muon94 --peer 'port=python port.py --seed {seed}'", "against another program"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="a recipe's name or a TOML file")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="another program, run without a shell; {seed} in it is replaced, and its last line is a JSON"
        " object with train_s, accuracy (percent) and perhaps eval_s; repeatable",
    )
    parser.add_argument(
        "--peer-seconds", metavar="REGEX", help="for a peer without that line: a run's seconds, in a group"
    )
    parser.add_argument(
        "--peer-accuracy", metavar="REGEX", help="the same for its accuracy in percent; each match is a run"
    )
    parser.add_argument(
        "--runs", type=int, default=4, metavar="N", help="rounds of one launch of each (default: 4)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of the first round; then S + 1, ..."
    )
    parser.add_argument("--data", metavar="SRC", help="in place of the data that the recipes were made for")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data set lies")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a value in every recipe's plan; `hotlap recipes show RECIPE` lists the keys",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go; the same again goes on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads; peers are told by OMP_NUM_THREADS"
    )
    parser.add_argument(
        "--parallel", type=int, default=1, metavar="K", help="seeds of a recipe that train beside each other"
    )
    engines(parser)
    common(parser)


def run(args: argparse.Namespace) -> int:
    check(args)
    named = [named_command(word) for word in args.peer]
    from hotlap.recipes import find

    recipes = set_in_all([find(word) for word in args.recipes], args.set)
    out = Output(args.json)
    from hotlap.engine.clock import process_age  # everything from here on imports torch

    age_s = process_age()
    from hotlap.measure.bench import Bench
    from hotlap.measure.bench_page import save
    from hotlap.measure.peer import Peer
    from hotlap.runs.signals import Interrupted

    folder = args.out or Path("runs") / f"bench-{time.strftime('%Y%m%d-%H%M%S')}"
    peers = [Peer(*words, args.peer_seconds, args.peer_accuracy) for words in named]
    contenders: list[Recipe | Peer] = [*recipes, *peers]
    try:
        bench = Bench(
            contenders,
            folder,
            args.seed,
            args.device,
            args.data,
            args.data_dir,
            args.threads,
            shlex.join(["hotlap", *args.words]),
            age_s,
            out.note,
        )
        names = ", ".join(c.name for c in contenders)
        out.say(f"{args.runs} rounds of {names} on {bench.data}, seeds from {args.seed} on")
        out.say(f"folder: {folder}")

        def tell(runs: list[Timed], n: int, total: int) -> None:
            say_runs(runs, n, total, out)

        if args.engine == "ray":
            with cluster_of(args, str(bench.device), out.note) as cluster:
                out.say(f"by Ray: {cluster.workers} workers of {cluster.threads} threads")
                bench.go_on(cluster, args.runs, tell)
        else:
            if args.parallel > 1 and bench.device.type == "cpu":
                out.note("--parallel: on a CPU runs beside each other take as long as one after another")
            bench.go(args.runs, tell, args.parallel)
    except KeyboardInterrupt:
        raise Interrupted(resume_line(args.words, folder)) from None
    summary = bench.summary()
    say_summary(bench, summary, out)
    files = save(bench, summary)
    out.files(files)
    out.result(
        {
            "folder": str(folder),
            "machine": bench.facts,
            "data": bench.data,
            "peaks": bench.peaks,
            **asdict(summary),
            **{name: str(path) for name, path in files.items()},
        }
    )
    return DONE


def check(args: argparse.Namespace) -> None:
    if args.runs < 1:
        raise UserError(f"--runs {args.runs}: give 1 or more")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: give 0 or more")
    check_threads(args.threads)
    check_engine(args)
    if not 1 <= args.parallel <= args.runs:
        raise UserError(f"--parallel {args.parallel}: give 1 to the {args.runs} of --runs")
    if args.peer and args.engine == "ray":
        raise UserError(
            "--peer: is timed beside recipes, one at a time on one machine; leave out --engine ray"
        )
    for option in ("peer_seconds", "peer_accuracy"):
        if getattr(args, option) is not None and not args.peer:
            raise UserError(f"--{option.replace('_', '-')}: reads what a peer prints; give --peer too")


def named_command(word: str) -> tuple[str, str]:
    """The name and the command of `NAME=COMMAND`."""
    name, equals, command = (part.strip() for part in word.partition("="))
    if not (name and equals and command):
        raise UserError(f"--peer {word!r}: give it as NAME='command'")
    return name, command


def resume_line(words: list[str], folder: Path) -> str:
    """The line that goes on with what was started by `words`."""
    given = any(w == "--out" or w.startswith("--out=") for w in words)
    return shlex.join(["hotlap", *words, *([] if given else ["--out", str(folder)])])


def say_runs(runs: list[Timed], n: int, total: int, out: Output) -> None:
    from hotlap.report.page import digits

    for r in runs:
        if r.accuracy is None:
            where, _, _ = r.diverged.partition(":")
            out.say(f"{n}/{total} {r.contender}, seed {r.seed}: {where}")
            continue
        apart = "" if r.eval_s is None else f" + {digits(r.eval_s)}"
        whose = "" if r.clock != "wall" else " (wall)"
        out.say(
            f"{n}/{total} {r.contender}, seed {r.seed}: {r.accuracy:.2f}% in"
            f" {digits(r.train_s)}{apart} s{whose}"
        )


def say_summary(bench: Bench, summary: Summary, out: Output) -> None:
    from hotlap.measure.bench_page import claim, comparison, peaks, remarks, table

    out.say()
    out.aligned(table(summary.standings))
    out.say()
    for text in (
        *(claim(s) for s in summary.standings),
        *(comparison(a) for a in summary.against),
        *remarks(summary, bench.runs()),
        *peaks(bench.peaks),
    ):
        out.say(text)
    out.say()
