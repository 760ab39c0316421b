"""The published Muon recipe (airbench94_muon, Jordan, 2024) as one script: a peer for `hotlap bench`.

    python benchmarks/muon_port.py [--seed 0] [--data cifar10] [--epochs 8] [--threads N] [--images N]
                                   [--watch]
    hotlap bench fast94 --peer "port=python benchmarks/muon_port.py --seed {seed}"

Plain PyTorch on a CPU at its best settings. Before the clock starts its step is timed in bf16 and fp32,
channels-last and contiguous, on a few random images and then, where they are near each other, on more; the
fastest is taken, with a whole step of warm-up. Freed memory is kept. `train_s` is from uint8 images in memory
to the final weights, `eval_s` the test images with six views. Prints one JSON object that has what was taken
and how many times slower each of the others was, and on stderr the choice and a line an epoch. With `--watch`
the test images are looked at from one view after each epoch, while the clock stands: `history` has a row an
epoch with `epoch`, `train_s` and `test_accuracy`, as hotlap's own runs do. It changes no weight.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time

BUDGET_S = 8.0  # to find the fastest in
SIZES = (8, 200, 2000)  # images of a step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--images", type=int, help="at most this many of each split, for a quick check")
    parser.add_argument("--watch", action="store_true", help="test accuracy after each epoch, unclocked")
    args = parser.parse_args()
    import hotlap  # noqa: F401, before torch, so that HOTLAP_ISA holds both

    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read at the first large allocation

    import torch

    from flat_muon import BATCH, ONE_VIEW, VIEWS, Flat
    from hotlap import data
    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.backend import DTYPES, FORMATS
    from hotlap.machine.choices import likely_precisions
    from hotlap.machine.race import race

    tune_allocator()
    if args.threads:
        torch.set_num_threads(args.threads)
    dataset = data.load(args.data)
    train, test = (
        (torch.tensor(split.images[: args.images]), torch.tensor(split.labels[: args.images]))
        for split in (dataset.train, dataset.test)
    )
    if len(train[0]) < BATCH:
        raise SystemExit(f"{len(train[0])} images: give at least a batch of {BATCH}")
    mean, std = torch.tensor(dataset.spec.mean), torch.tensor(dataset.spec.std)

    def dummy(images: int, precision: str, layout: str) -> Flat:
        pixels = torch.randint(0, 256, (images, *train[0].shape[1:]), dtype=torch.uint8)
        labels = torch.zeros(images, dtype=torch.int64)
        how = DTYPES[precision], FORMATS[layout]
        return Flat(pixels, labels, mean, std, *how, epochs=1e6, batch=images)

    began = time.perf_counter()
    ways = [(p, m) for m in ("channels_last", "contiguous") for p in likely_precisions()]
    measured = race({way: lambda n, way=way: dummy(n, *way).step for way in ways}, SIZES, BUDGET_S)
    best = min(measured, key=lambda way: measured[way])
    how = DTYPES[best[0]], FORMATS[best[1]]
    dummy(BATCH, *best).step()
    choosing_s = time.perf_counter() - began
    print(f"{' '.join(best)}: the fastest of {len(measured)} in {choosing_s:.1f} s", file=sys.stderr)

    def accuracy(views) -> float:
        right = (flat.look(test[0], views=views).argmax(1) == test[1]).sum().item()
        return 100 * right / len(test[1])

    start = time.perf_counter()
    flat = Flat(*train, mean, std, *how, args.seed, args.epochs)
    per_epoch = len(train[0]) // BATCH
    losses: list[float] = []
    history: list[dict[str, float]] = []
    while flat.steps < flat.total:
        losses.append(flat.step().item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"diverged at step {flat.steps} of {flat.total}")
        if flat.steps % per_epoch == 0 or flat.steps == flat.total:
            seconds = time.perf_counter() - start
            said = f"step {flat.steps} of {flat.total}: loss {losses[-1]:.4f}, {seconds:.1f} s"
            if args.watch:
                tested = accuracy(ONE_VIEW)
                epoch = math.ceil(flat.steps / per_epoch)
                history.append({"epoch": epoch, "train_s": seconds, "test_accuracy": tested})
                said += f", test {tested:.2f}%"
                start = time.perf_counter() - seconds
            print(said, file=sys.stderr)
    train_s = time.perf_counter() - start

    start = time.perf_counter()
    reached = accuracy(VIEWS)
    eval_s = time.perf_counter() - start
    found = {
        "train_s": train_s,
        "eval_s": eval_s,
        "accuracy": reached,
        "seed": args.seed,
        "steps": flat.total,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "precision": best[0],
        "layout": best[1],
        "times_the_fastest": {" ".join(way): s / measured[best] for way, s in measured.items()},
        "choosing_s": choosing_s,
        "threads": torch.get_num_threads(),
    }
    if args.watch:
        found |= {"history": history, "command": " ".join(["python benchmarks/muon_port.py", *sys.argv[1:]])}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
