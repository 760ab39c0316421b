"""What the harness costs: hotlap's `muon94` step against the same step written flat, interleaved.

    python benchmarks/overhead.py [--data cifar10] [--pairs 30]

Both run in one process in this machine's precision and layout, and by PyTorch's operations, for the flat one
has no kernels of its own; one step each in turn (ABBA). The ratio of images per second (hotlap over flat) is
taken pair by pair. Aim: median >= 0.99.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace

from flat_muon import BATCH, Flat


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    import torch

    from hotlap import data
    from hotlap.engine.lower import lower
    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.facts import machine_facts
    from hotlap.machine.processor import cpu_name
    from hotlap.machine.resolve import resolve
    from hotlap.recipes import find

    tune_allocator()
    plan = find("muon94").plan()
    backend = resolve(replace(plan.numerics, kernels="none"), torch.device("cpu"))
    dataset = data.load(args.data)
    program = lower(plan, dataset, backend)
    program.compile()
    program.upload()
    program.begin(0)
    flat = Flat(
        torch.tensor(dataset.train.images),
        torch.tensor(dataset.train.labels),
        torch.tensor(dataset.spec.mean),
        torch.tensor(dataset.spec.std),
        backend.dtype,
        backend.format,
    )
    at = 0

    def ours() -> None:
        nonlocal at
        program.run(at, at + 1)
        at += 1

    sides = {"hotlap": ours, "flat": flat.step}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for pair in range(-2, args.pairs):  # the first two pairs warm up
        for name in sorted(sides, reverse=pair % 2 == 0):
            start = time.perf_counter()
            sides[name]()
            if pair >= 0:
                seconds[name].append(time.perf_counter() - start)
    ratios = sorted(f / h for h, f in zip(seconds["hotlap"], seconds["flat"], strict=True))
    rates = {name: BATCH / statistics.median(s) for name, s in seconds.items()}
    low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
    result = {
        "images_per_s": rates,
        "ratio_median": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "total_ratio": sum(seconds["flat"]) / sum(seconds["hotlap"]),
        "pairs": args.pairs,
        "precision": backend.precision,
        "memory_format": backend.memory_format,
        "machine": machine_facts(),
    }
    if args.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{args.pairs} pairs in {backend.precision}, {backend.memory_format}, on {cpu_name()}")
    for name, rate in rates.items():
        print(f"  {name:<7} {rate:7.0f} images/s")
    print(
        f"  hotlap / flat: median {result['ratio_median']:.3f} (quartiles {low:.3f} to {high:.3f}),"
        f" whole {result['total_ratio']:.3f}"
    )


if __name__ == "__main__":
    main()
