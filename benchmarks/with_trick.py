"""What tricks add to a recipe: the same seeds without and with each, on real data.

    python benchmarks/with_trick.py muon94 mixup cutmix:pixels=8 --set 'net.widths=[32,64,64]' --seeds 3

Prints the test accuracy of every run, and for each trick its mean difference to the plain recipe,
seed by seed, with its standard error. Runs go to a temporary folder and are thrown away.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("tricks", nargs="+", metavar="TRICK[:k=v,...]")
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()

    from hotlap.cli.arguments import settings_of
    from hotlap.machine.facts import machine_facts
    from hotlap.plan.recipe import Set
    from hotlap.recipes import find
    from hotlap.recipes.reading import make_trick
    from hotlap.runs.reporter import Reporter
    from hotlap.runs.start import start_run

    base = find(args.recipe)
    settings = [Set(k, v) for k, v in settings_of(args.set).items()]
    kinds = {"plain": base.then(args.recipe, *settings)}
    for word in args.tricks:
        name, _, text = word.partition(":")
        trick = make_trick(name, settings_of([w for w in text.split(",") if w]), "benchmark")
        kinds[word] = base.then(args.recipe, *settings, trick)
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in range(args.seeds):
        for kind, recipe in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                result = start_run(
                    recipe, args.data, seed=seed, out=Path(folder) / "run", reporter=Reporter()
                )
            found[kind].append(result.accuracy)
            print(
                f"seed {seed} {kind:<24} {result.accuracy:.2f}% in {result.clocks['train']:.0f} s", flush=True
            )
    print()
    rows = []
    for kind, accuracies in found.items():
        pairs = [a - b for a, b in zip(accuracies, found["plain"], strict=True)]
        error = statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else float("nan")
        rows.append({"kind": kind, "accuracies": accuracies, "mean_difference": statistics.fmean(pairs)})
        line = f"{kind:<24} mean {statistics.fmean(accuracies):.2f}%"
        print(line + ("" if kind == "plain" else f", {rows[-1]['mean_difference']:+.2f} +- {error:.2f}"))
    if args.out:
        report = {"command": sys.argv[1:], "machine": machine_facts(), "rows": rows}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
