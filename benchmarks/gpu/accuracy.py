"""What fast94 reaches on CIFAR-10 with 20 seeds, and fast95 and fast96 with as many as there is time for.

PYTHONPATH=src python benchmarks/gpu/accuracy.py --data FOLDER [--out DIR] [--budget 480]
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from common import Session, arguments, made_ready, timed_run

SEEDS = 20
AIMS = {"fast94": 94.0, "fast95": 95.0, "fast96": 96.0}


def summary(accuracies: list[float], aim: float) -> dict[str, float]:
    """Mean, and what it may be off by: 1.96 standard errors."""
    n = len(accuracies)
    off = 1.96 * statistics.stdev(accuracies) / n**0.5 if n > 1 else float("nan")
    return {"runs": n, "mean": statistics.mean(accuracies), "plus_or_minus": off, "aim": aim}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="the folder that CIFAR-10 is in; not with --tiny")
    args = parser.parse_args()
    if args.data is None and not args.tiny:
        parser.error("--data FOLDER is missing: where CIFAR-10 is")
    session = Session("accuracy", args)
    from hotlap import data

    name, seeds = ("patterns:200,50", 2) if args.tiny else ("cifar10", SEEDS)
    dataset = None

    def loaded() -> dict[str, int]:
        nonlocal dataset
        dataset = data.load(name, data_dir=args.data)
        return {"train": len(dataset.train), "test": len(dataset.test)}

    session.step(f"data {name}", loaded)
    if dataset is None:
        return session.end()
    session.record["found"] = {}
    reached: dict[str, list[float]] = {}
    programs: dict[str, Any] = {}
    took: dict[str, float] = {}

    def ready(recipe: str) -> dict[str, Any]:
        programs[recipe], found = made_ready(recipe, dataset, session, args.tiny)
        return found

    def run(recipe: str, seed: int) -> None:
        start = time.perf_counter()
        wanted = 1.1 * took.get(recipe, 0.0)
        found = session.step(f"{recipe}, seed {seed}", lambda: timed_run(programs[recipe], seed), wanted)
        took[recipe] = max(took.get(recipe, 0.0), time.perf_counter() - start)
        if found:
            reached.setdefault(recipe, []).append(found["accuracy"])
            session.record["found"][recipe] = summary(reached[recipe], AIMS[recipe])

    session.step("fast94 compiled", lambda: ready("fast94"))
    if "fast94" in programs:
        for seed in range(seeds):
            run("fast94", seed)
    rest = ("fast95", "fast96")
    for recipe in rest:
        session.step(f"{recipe} compiled", lambda recipe=recipe: ready(recipe), 30)
    for seed in range(seeds):
        for recipe in rest:
            if recipe in programs and session.left_s > 1.1 * took.get(recipe, 0.0):
                run(recipe, seed)
    for recipe, found in session.record["found"].items():
        print(f"{recipe}: {found['mean']:.2f}% +- {found['plus_or_minus']:.2f} ({found['runs']} runs)")
    return session.end()


if __name__ == "__main__":
    sys.exit(main())
