"""`hotlap ladder`: what each rung takes, reaches and buys."""

from __future__ import annotations

import argparse
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from hotlap.cli.arguments import common, examples
from hotlap.cli.composing import set_in_all
from hotlap.cli.engines import check_engine, cluster_of, engines
from hotlap.cli.output import DONE, Output
from hotlap.errors import UserError
from hotlap.machine.processor import check_threads

if TYPE_CHECKING:
    from hotlap.measure.ladder import Ladder, Row
    from hotlap.plan.recipe import Recipe


EXAMPLES = (
    ("hotlap ladder page", "time every rung of the series, and project its run"),
    ("hotlap ladder after", "what came later"),
    ("hotlap ladder 'page/1*' --full --seeds 3", "train the last ten, three seeds each"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument(
        "rungs",
        nargs="*",
        default=["page"],
        metavar="RUNG",
        help="page: the series; after: what came later; or recipes, TOML files, patterns such as 'page/1*'"
        " (default: page)",
    )
    parser.add_argument("--full", action="store_true", help="train every rung instead of projecting its time")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="full runs of a rung (default: 1)")
    parser.add_argument(
        "--budget", type=float, default=0.0, metavar="MIN", help="minutes of full runs, cheapest rungs first"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="seconds of timed steps a rung (default: 20)"
    )
    parser.add_argument("--data", metavar="SRC", help="in place of the data that the recipes were made for")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data set lies")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a value in every rung's plan; `hotlap recipes show RECIPE` lists the keys",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go; the same again goes on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    engines(parser)
    common(parser)


def run(args: argparse.Namespace) -> int:
    check(args)
    out = Output(args.json)
    recipes = choose(args, out)
    from hotlap.measure.ladder import Ladder, compare, within_budget
    from hotlap.measure.ladder_page import as_json, save
    from hotlap.runs.signals import Interrupted

    folder = args.out or Path("runs") / f"ladder-{time.strftime('%Y%m%d-%H%M%S')}"
    ladder = Ladder(recipes, folder, args.device, args.data, args.data_dir, args.threads)
    try:
        if args.full:
            chosen = [r.name for r in recipes]
        else:
            project_all(ladder, args.seconds, out)
            chosen = within_budget(ladder.rungs(), 60 * args.budget, args.seeds)
        if args.engine == "ray":
            train_by_cluster(ladder, chosen, args, out)
        else:
            train_all(ladder, chosen, args.seeds, out)
    except KeyboardInterrupt:
        raise Interrupted(f"the same command and --out {folder}") from None
    rows = compare(ladder.rungs())
    say_table(rows, out)
    files = save(ladder, rows, args.full)
    out.files(files)
    out.result(
        {
            "folder": str(folder),
            "depth": "full" if args.full else "projected",
            "machine": ladder.facts,
            "rungs": [as_json(row) for row in rows],
            **{name: str(path) for name, path in files.items()},
        }
    )
    return DONE


def check(args: argparse.Namespace) -> None:
    if args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: give 1 or more")
    if not 0 <= args.budget < float("inf"):
        raise UserError(f"--budget {args.budget:g}: give 0 or more minutes")
    if not 0 < args.seconds < float("inf"):
        raise UserError(f"--seconds {args.seconds:g}: give a number of seconds above 0")
    check_threads(args.threads)
    check_engine(args)
    if args.full and args.budget:
        raise UserError("--full trains every rung; leave out --budget")


def choose(args: argparse.Namespace, out: Output) -> list[Recipe]:
    """The recipes that the words name, in order, each once, with the settings given for all.

    Raises:
        UserError: a word that names none, or a wrong setting.
    """
    from hotlap.recipes import BUILTIN, find
    from hotlap.recipes.published import AFTER, PAGE

    groups = {"page": [f"page/{name}" for name in PAGE], "after": list(AFTER)}
    found: dict[str, Recipe] = {}
    for word in args.rungs:
        if word in groups:
            hits = [BUILTIN[name] for name in groups[word]]
            hits = [r for r in hits if args.data or has_data(r, args.data_dir, out)]
        elif any(c in word for c in "*?[") and not word.endswith(".toml"):
            hits = [r for r in BUILTIN.values() if fnmatchcase(r.name, word)]
            if not hits:
                raise UserError(f"no recipe fits {word!r}; see `hotlap recipes list`")
        else:
            hits = [find(word)]
        found |= {r.name: r for r in hits}
    if not found:
        raise UserError("no rung is left; `hotlap data list` says what data is here, --data takes other data")
    return set_in_all(list(found.values()), args.set)


def has_data(recipe: Recipe, data_dir: Path | None, out: Output) -> bool:
    """Whether the recipe's data is on this machine; says so if it is not."""
    from hotlap import data

    try:
        data.load(recipe.data, data_dir=data_dir, download=False)
    except UserError as error:
        out.note(f"{recipe.name} is left out: {error}")
        return False
    return True


def project_all(ladder: Ladder, measure_s: float, out: Output) -> None:
    for n, recipe in enumerate(ladder.recipes, start=1):
        start, kept = time.monotonic(), ladder.has_measured(recipe)
        rung = ladder.measure(recipe, measure_s)
        found = rung.projection
        assert found is not None
        out.say(
            f"{n}/{len(ladder.recipes)} {rung.name}: {found.images_per_s:,.0f} images/s"
            f" ({found.timed_steps} steps, +-{100 * found.spread:.0f}%) in {rung.arithmetic},"
            f" {found.train_s:,.0f} s projected;"
            f" {'kept from before' if kept else f'took {time.monotonic() - start:.0f} s'}"
        )
    out.say()


def train_all(ladder: Ladder, names: list[str], seeds: int, out: Output) -> None:
    from hotlap.cli.progress import TerminalReporter

    for recipe in ladder.recipes:
        for seed in range(seeds if recipe.name in names else 0):
            with TerminalReporter(out) as reporter:
                ladder.train(recipe, seed, reporter)
            say_run(ladder, recipe, seed, out)
            out.say()


def train_by_cluster(ladder: Ladder, names: list[str], args: argparse.Namespace, out: Output) -> None:
    recipes = [recipe for recipe in ladder.recipes if recipe.name in names]
    with cluster_of(args, str(ladder.torch_device), out.note) as cluster:
        out.say(f"by Ray: {cluster.workers} workers of {cluster.threads} threads")
        ladder.train_all(
            cluster, recipes, args.seeds, lambda recipe, seed: say_run(ladder, recipe, seed, out)
        )
    out.say()


def say_run(ladder: Ladder, recipe: Recipe, seed: int, out: Output) -> None:
    done = next((r for r in ladder.rung(recipe).runs if r.seed == seed), None)
    came_to = f"{done.accuracy:.2f}% in {done.train_s:,.0f} s" if done else "diverged"
    out.say(f"{recipe.name}, seed {seed}: {came_to}")


def say_table(rows: list[Row], out: Output) -> None:
    from hotlap.measure.ladder_page import remarks, table

    out.aligned(table(rows))
    out.say()
    for remark in remarks([row.rung for row in rows]):
        out.say(remark)
    out.say()
