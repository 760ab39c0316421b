"""The first steps of recipes, at their own batch size: is the loss finite, and does it fall?

    python benchmarks/first_steps.py airbench95 airbench96 aidda100 [--steps 50] [--data cifar10] [--out FILE]

A check that a large recipe is sound where training all of it would take days. The rates are those that the
whole run starts with. The loss falls if its mean over the last 10 steps is below that over the first 10 (over
half of the steps each, if there are fewer than 20). Exit status 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any


def first_steps(name: str, source: str | None, steps: int, batch: int | None, seed: int) -> dict[str, Any]:
    """What the first steps of a recipe come to.

    Args:
        source: of the data; None is what the recipe was made for.
        batch: images a step in place of the recipe's, with rates that move each example as far.
    """
    import torch

    from hotlap import data
    from hotlap.engine.lower import lower
    from hotlap.inspect.cost import cost
    from hotlap.machine.resolve import resolve
    from hotlap.plan import HardExamples
    from hotlap.recipes import find
    from hotlap.tricks.batch_size import BatchSize

    recipe = find(name)
    plan = recipe.plan()
    if batch:
        if isinstance(plan.sampler, HardExamples):  # draws in proportion
            drawn = plan.sampler.of * batch // plan.batch_size
            plan = replace(plan, sampler=replace(plan.sampler, of=drawn))
        plan = BatchSize(batch)(plan)
    backend = resolve(plan.numerics, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    dataset = data.load(source or recipe.data)
    counted = cost(plan, dataset.spec)
    program = lower(plan, dataset, backend)
    program.compile()
    program.upload()
    start = time.perf_counter()
    if program.feed.prelude is not None:  # a proxy net is trained as far as its choices are needed
        program.feed.prelude.begin(seed)
        run(program.feed.prelude, steps)
        program.feed.assume_prelude()
    program.begin(seed)
    done = run(program, steps)
    losses = program.losses[:done].tolist()
    seconds = time.perf_counter() - start
    window = max(1, min(10, done // 2))
    first, last = (sum(part) / window for part in (losses[:window], losses[-window:]))
    finite = bool(torch.isfinite(program.losses[:done]).all())
    return {
        "recipe": name,
        "data": dataset.name,
        "steps": done,
        "steps_of_the_recipe": program.steps,
        "batch_size": plan.batch_size,
        "seed": seed,
        "window": window,
        "first_loss": first,
        "last_loss": last,
        "finite": finite,
        "falling": finite and last < first,
        "losses": losses,
        "seconds": seconds,
        "parameters": counted.parameters,
        "forward_flops": counted.forward,
        "training_flops": counted.training,
        "nominal_training_flops": counted.nominal,
        "precision": backend.precision,
        "memory_format": backend.memory_format,
    }


def run(program: Any, steps: int) -> int:
    """Run the program's first steps, at most all; says how many."""
    steps = min(steps, program.steps)
    for start, stop in program.segments(0, None):
        if start >= steps:
            break
        program.run(start, min(stop, steps))
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--data", help="in place of each recipe's own")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, help="images a step, for a slow machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON, written again after each recipe")
    args = parser.parse_args()
    if args.steps < 2 or (args.batch is not None and args.batch < 1):
        parser.error("give --steps 2 or more, and --batch 1 or more")

    from hotlap.files import write_atomic
    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.facts import machine_facts

    tune_allocator()
    results = []
    for name in args.recipes:
        found = first_steps(name, args.data, args.steps, args.batch, args.seed)
        results.append(found)
        verdict = "falling" if found["falling"] else "NOT FALLING" if found["finite"] else "NOT FINITE"
        millions, teraflops = found["parameters"] / 1e6, found["training_flops"] / 1e12
        print(
            f"{name:<28} {found['steps']} steps of {found['batch_size']}: loss {found['first_loss']:.4f} ->"
            f" {found['last_loss']:.4f} {verdict}, {found['seconds']:.0f} s in {found['precision']};"
            f" {millions:.2f} M parameters, {teraflops:.1f} TFLOPs for the whole run",
            flush=True,
        )
        if args.out:
            facts = {"machine": machine_facts(), "runs": results}
            write_atomic(args.out, (json.dumps(facts, indent=1) + "\n").encode())
    return 0 if all(r["falling"] for r in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
