"""Try changes to a recipe on training images that are held out, and show what each costs and reaches.

    python benchmarks/search/search.py benchmarks/search/fast94.toml --out FOLDER [--seeds 2] [--minutes 60]
    python benchmarks/search/search.py benchmarks/search/fast94.toml --out FOLDER --show

A space is a TOML file: `base = "..."` with optional `with`, `without`, `set` as in a recipe file, which all
tries share, and a `[[try]]` for each try: a name, its own `with`, `without`, `set`, and `vary`, a table of
keys with lists of values of which every combination is tried. 5,000 training images are held out and take the
place of the test images, which are never looked at. Seed 0 of every try runs first, then seed 1, and so on;
results are kept in FOLDER/runs.jsonl as they come, and the same command goes on where it was stopped.

The table puts tries by their arithmetic; `*` marks those that no try reaches with less. FLOPs are of training
and do not depend on the machine; seconds do, and are only worth comparing where nothing else was running.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import tomllib
from itertools import product
from pathlib import Path

from hotlap.errors import UserError
from hotlap.plan.flat import toml_value
from hotlap.plan.recipe import Recipe, Set
from hotlap.recipes import BUILTIN
from hotlap.recipes.reading import from_table


def tries(path: Path) -> list[Recipe]:
    """Every recipe of the space in a file, named by its try and what is varied in it."""
    space = tomllib.loads(path.read_text(encoding="utf-8"))
    shared = {key: space.pop(key) for key in ("base", "data", "with", "without", "set") if key in space}
    entries = space.pop("try", [])
    if space or not entries:
        raise UserError(f"{path}: give base, with, without, set and one or more [[try]]; has {sorted(space)}")
    made = []
    for entry in entries:
        name, vary = entry.pop("name", "?"), entry.pop("vary", {})
        table = {**shared, "name": name}
        for key, value in entry.items():
            together = isinstance(value, dict) and key in table
            table[key] = {**table[key], **value} if together else value
        recipe = from_table(table, BUILTIN, f"{path}: {name}")
        for values in product(*vary.values()):
            sets = [Set(k, v) for k, v in zip(vary, values, strict=True)]
            words = " ".join(f"{k}={toml_value(v)}" for k, v in zip(vary, values, strict=True))
            full = f"{name} {words}".strip()
            made.append(recipe.then(full, *sets))
            made[-1].plan()  # what is wrong in it is said now
    names = [r.name for r in made]
    for twice in {n for n in names if names.count(n) > 1}:
        raise UserError(f"{path}: two tries are called {twice!r}; name them apart")
    return made


def run_all(recipes: list[Recipe], folder: Path, seeds: int, held: int, minutes: float, device: str) -> None:
    """Run what is not there yet, as far as the time goes."""
    import torch

    from hotlap import data
    from hotlap.engine.clock import Clock
    from hotlap.engine.diverged import Diverged
    from hotlap.engine.evaluate import evaluate
    from hotlap.engine.loop import train
    from hotlap.engine.lower import lower
    from hotlap.inspect.cost import cost
    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.device import pick_device
    from hotlap.machine.facts import machine_facts
    from hotlap.machine.resolve import resolve

    end = time.monotonic() + 60 * minutes
    where = pick_device(device)
    if where.type == "cpu":
        tune_allocator()
    sets = {name: data.hold_out(data.load(name), held) for name in {r.data for r in recipes}}
    done = {(run["name"], run["seed"]): run for run in kept(folder)}
    for recipe in recipes:
        for seed in range(seeds):
            old = done.get((recipe.name, seed))
            if old and old["recipe"] != recipe.text():
                raise UserError(f"{folder}: {recipe.name!r} was another try there; name it anew")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "runs.jsonl"
    if path.exists() and not path.read_text(encoding="utf-8").endswith("\n"):
        with path.open("a", encoding="utf-8") as f:
            f.write("\n")  # a kill cut the last line off: the next one stands apart from it
    for seed in range(seeds):
        for recipe in recipes:
            if (recipe.name, seed) in done:
                continue
            if time.monotonic() > end:
                print("the time is up; the same command goes on", file=sys.stderr)
                return
            plan, dataset = recipe.plan(), sets[recipe.data]
            program = lower(plan, dataset, resolve(plan.numerics, where))
            program.compile()
            program.upload()
            clock = Clock(where)
            run = {
                "name": recipe.name,
                "seed": seed,
                "flops": cost(plan, dataset.spec).training,
                "steps": program.steps,
                "accuracy": None,
                "one_view": None,
            }
            try:
                for _ in train(program, clock, seed):
                    pass
                with clock.measure("eval"):
                    run["accuracy"] = evaluate(program).accuracy
                run["one_view"] = evaluate(program, "none").accuracy
            except Diverged as error:
                run["diverged"] = str(error)
            run |= {"train_s": clock.seconds["train"], "eval_s": clock.seconds["eval"]}
            run |= {"machine": machine_facts(), "recipe": recipe.text()}
            with path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(run) + "\n")
            reached = "diverged" if run["accuracy"] is None else f"{run['accuracy']:.2f}%"
            print(
                f"{recipe.name}, seed {seed}: {reached}, {run['flops'] / 1e12:.1f} TFLOP,"
                f" {run['train_s']:.1f} s",
                flush=True,
            )
            del program
            if where.type == "cuda":
                torch.cuda.empty_cache()


def kept(folder: Path) -> list[dict]:
    """The runs that are there; a line that a kill cut off is left out."""
    path = folder / "runs.jsonl"
    runs = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            runs.append(json.loads(line))
        except ValueError:
            continue
    return runs


def show(runs: list[dict]) -> list[str]:
    """A line for each try, by its arithmetic."""
    found: dict[str, list[dict]] = {}
    for run in runs:
        found.setdefault(run["name"], []).append(run)
    rows, best = [], -1.0
    for name, each in sorted(found.items(), key=lambda item: item[1][0]["flops"]):
        good = [r for r in each if r["accuracy"] is not None]
        mean = statistics.fmean(r["accuracy"] for r in good) if good else float("nan")
        one = statistics.fmean(r["one_view"] for r in good) if good else float("nan")
        mark = "*" if mean > best else " "
        best = max(best, mean) if good else best
        seconds = statistics.median(r["train_s"] for r in each)
        rows.append(
            f"{each[0]['flops'] / 1e12:8.1f}  {each[0]['steps']:6}  {len(each):2}  {mean:6.2f}  {one:6.2f}"
            f"  {seconds:8.1f}  {mark} {name}"
        )
    return ["   TFLOP   steps   n  views %   one %   train s    try", *rows]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--held-out", type=int, default=5000, metavar="N", help="images (default: 5000)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so long")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", metavar="WORD", help="tries whose name holds it")
    parser.add_argument("--show", action="store_true", help="only show what is there")
    args = parser.parse_args()
    try:
        recipes = [r for r in tries(args.space) if not args.only or args.only in r.name]
        if not args.show:
            run_all(recipes, args.out, args.seeds, args.held_out, args.minutes, args.device)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print()
    print("\n".join(show(kept(args.out))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
