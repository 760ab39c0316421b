"""One run in two processes of a core each, against one process with both cores: what it costs and reaches.

    python benchmarks/ranks.py [fast94] [--data cifar10] [--steps 20] [--pairs 6] [--ranks 2]
    python benchmarks/ranks.py demo --data patterns --seeds 5     # whole runs, in turn: accuracy of both

Prints images/s of either side in turn and the ratio with its interval, and the bytes of messages in a step
beside the least there could be: gradients summed over W ranks pass 2 (W - 1) / W times their size through
each, and what Muon's ranks make for each other (W - 1) / W times. Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="fast94")
    parser.add_argument("--data", default="")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=0, help="whole runs of each side instead of steps")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", metavar="SEED", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        return work(args)
    sides: dict[str, list[dict]] = {"one": [], "ranks": []}
    for n in range(args.seeds or args.pairs):
        for name in list(sides)[:: 1 if n % 2 == 0 else -1]:
            found = launch(args, args.ranks if name == "ranks" else 1, n)
            sides[name].append(found)
            print(f"{n + 1} {name}: {found['images_per_s']:,.0f} images/s", end="", file=sys.stderr)
            print(f", {found['accuracy']:.2f}%" if args.seeds else "", file=sys.stderr, flush=True)
    from hotlap.measure.stats import mean_of, ratio_of

    speed = {k: [f["images_per_s"] for f in v] for k, v in sides.items()}
    ratio = ratio_of(speed["ranks"], speed["one"])
    sent = sides["ranks"][0]
    report = {
        "recipe": args.recipe,
        "ranks": args.ranks,
        "images_per_s": {k: statistics.median(v) for k, v in speed.items()},
        "ratio": asdict(ratio),
        "bytes_a_step": sent["bytes_a_step"],
        "least_bytes_a_step": sent["least_bytes_a_step"],
        "messages_a_step": sent["messages_a_step"],
        "machine": sent["machine"],
    }
    if args.seeds:
        report["accuracy"] = {k: [f["accuracy"] for f in v] for k, v in sides.items()}
    if args.json:
        print(json.dumps(report, indent=1, default=str))
        return 0
    one, ranks = report["images_per_s"].values()
    low, high = ratio.interval or (ratio.ratio, ratio.ratio)
    shown = f", ratio {ratio.ratio:.3f} ({low:.3f} to {high:.3f})"
    print(f"{args.recipe}: {one:,.0f} images/s in one process, {ranks:,.0f} in {args.ranks} ranks{shown}")
    through, least = (sent[k] / 1e6 for k in ("bytes_a_step", "least_bytes_a_step"))
    messages = f"{sent['messages_a_step']:g} messages and {through:.2f} MB"
    print(f"a step sends {messages} through each rank; the least would be {least:.2f} MB")
    for name, values in report.get("accuracy", {}).items():
        mean = mean_of(values)
        low, high = mean.interval or (mean.mean, mean.mean)
        each = ", ".join(f"{v:.2f}" for v in values)
        print(f"{name}: {each}; mean {mean.mean:.2f} ({low:.2f} to {high:.2f})")
    return 0


def launch(args: argparse.Namespace, count: int, seed: int) -> dict:
    """The figures of one side's run, by rank 0."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = [sys.executable, __file__, args.recipe, "--data", args.data, "--steps", str(args.steps)]
    words += ["--seeds", str(args.seeds), "--worker", str(seed)]
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    running = []
    for rank in range(count):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MASTER_ADDR": "127.0.0.1"}
        if count > 1:
            env |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
            env |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        running.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True))
    outs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a rank failed; see above")
    return json.loads(outs[0].splitlines()[-1])


def work(args: argparse.Namespace) -> int:
    """One process of a side."""
    import torch.distributed as dist

    from hotlap import data
    from hotlap.engine.evaluate import evaluate
    from hotlap.engine.lower import lower
    from hotlap.machine.device import prepare
    from hotlap.machine.facts import machine_facts
    from hotlap.machine.ranks import joined, leave
    from hotlap.machine.resolve import resolve
    from hotlap.optim import Muon
    from hotlap.recipes import find

    ranks = joined()
    device = prepare("cpu", ranks.threads(None))
    recipe = find(args.recipe)
    plan = recipe.plan()
    with ranks.in_turn():
        dataset = data.load(args.data or recipe.data)
        backend = resolve(plan.numerics, device)
    program = lower(plan, dataset, ranks.same(backend), ranks=ranks)
    program.upload()
    program.begin(args.worker)
    sent = {"bytes": 0.0, "messages": 0}
    share = (ranks.count - 1) / ranks.count

    def count(name: str, times: float) -> None:
        message = getattr(dist, name)

        def counted(*what: Any, **how: Any) -> object:
            tensor = what[-1]  # of a gathering, this rank's own
            sent["bytes"] += tensor.numel() * tensor.element_size() * times
            sent["messages"] += 1
            return message(*what, **how)

        setattr(dist, name, counted)

    count("all_reduce", 2 * share)
    count("all_gather", ranks.count - 1)
    warm = 0 if args.seeds else 3
    stop = program.steps if args.seeds else min(program.steps, warm + args.steps)
    program.run(0, warm)
    sent.update(bytes=0, messages=0)
    start = time.perf_counter()
    for a, b in program.segments(warm, None):
        program.run(a, min(b, stop))
        if b >= stop:
            break
    seconds = time.perf_counter() - start
    steps = stop - warm
    of = dict.fromkeys((False, True), 0)  # bytes of parameters, by whether Muon steps them
    for group in program.groups:
        of[isinstance(group.rule.optimizer, Muon)] += sum(4 * p.numel() for p in group.weights)
    found = {
        "images_per_s": steps * plan.batch_size / seconds,
        "bytes_a_step": sent["bytes"] / steps,
        "messages_a_step": sent["messages"] / steps,
        "least_bytes_a_step": share * (2 * sum(of.values()) + of[True]),
        "accuracy": None,
        "machine": machine_facts(),
    }
    if args.seeds:
        program.finish()
        found["accuracy"] = evaluate(program).accuracy
    if ranks.leads:
        print(json.dumps(found))
    leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
