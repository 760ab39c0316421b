"""Steady-state training speed of `muon94` against the naive port: fp32, contiguous, eager, as PyTorch comes.

    python benchmarks/cpu_speed.py [--data cifar10] [--rounds 3] [--steps 6]

Each side runs in a process of its own (hotlap's allocator setting is process-wide), the two in turn
(ABBA). Aim: hotlap >= 2.2 times the naive port's images per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from flat_muon import BATCH, Flat


def naive(data_name: str, steps: int) -> float:
    """Images per second of the naive port, after two steps of warm-up."""
    import torch

    from hotlap import data

    dataset = data.load(data_name)
    flat = Flat(
        torch.tensor(dataset.train.images),
        torch.tensor(dataset.train.labels),
        torch.tensor(dataset.spec.mean),
        torch.tensor(dataset.spec.std),
        torch.float32,
        torch.contiguous_format,
    )
    return rate(flat.step, steps)


def hotlap(data_name: str, steps: int) -> float:
    """Images per second of `muon94` as the command line runs it, after two steps of warm-up."""
    import torch

    from hotlap import data
    from hotlap.engine.lower import lower
    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.resolve import resolve
    from hotlap.recipes import find

    tune_allocator()
    plan = find("muon94").plan()
    program = lower(plan, data.load(data_name), resolve(plan.numerics, torch.device("cpu")))
    program.compile()
    program.upload()
    program.begin(0)
    position = iter(range(10**6))

    def step() -> None:
        at = next(position)
        program.run(at, at + 1)

    return rate(step, steps)


def rate(step, steps: int) -> float:
    for _ in range(2):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=("naive", "hotlap"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print({"naive": naive, "hotlap": hotlap}[args.side](args.data, args.steps))
        return
    rates: dict[str, list[float]] = {"hotlap": [], "naive": []}
    for i in range(args.rounds):
        for side in ("hotlap", "naive") if i % 2 == 0 else ("naive", "hotlap"):
            command = [
                sys.executable,
                __file__,
                "--side",
                side,
                "--data",
                args.data,
                "--steps",
                str(args.steps),
            ]
            rates[side].append(
                float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            )
    ratios = [h / n for h, n in zip(rates["hotlap"], rates["naive"], strict=True)]
    result = {"images_per_s": rates, "ratios": ratios, "ratio_median": statistics.median(ratios)}
    if args.json:
        print(json.dumps(result, indent=1))
        return
    for side, values in rates.items():
        each = ", ".join(f"{v:.0f}" for v in values)
        print(f"  {side:<7} median {statistics.median(values):5.0f} images/s  ({each})")
    print(f"  hotlap / naive: median {result['ratio_median']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
