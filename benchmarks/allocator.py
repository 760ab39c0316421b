"""What keeping freed memory is worth on a CPU: the muon94 step with and without `tune_allocator`.

    python benchmarks/allocator.py [--rounds 3] [--batch 2000]

Each side runs in a process of its own, the two in turn: the flat step in bf16 channels-last (random data),
and forward plus backward of single operations on a (batch, 64, 31, 31) tensor.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def side(tuned: bool, batch: int) -> dict[str, float]:
    """Milliseconds of each operation, and of the step."""
    if tuned:
        os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    import torch
    import torch.nn.functional as F

    import flat_muon

    if tuned:
        from hotlap.machine.allocator import tune_allocator

        tune_allocator()
    flat_muon.BATCH = batch
    images = torch.randint(0, 256, (2 * batch, 32, 32, 3), dtype=torch.uint8)
    labels = torch.randint(0, 10, (2 * batch,))
    flat = flat_muon.Flat(
        images, labels, torch.full((3,), 128.0), torch.full((3,), 64.0), torch.bfloat16, torch.channels_last
    )
    flat.total = 1000  # rates stay positive however often it is stepped
    x = torch.randn(batch, 64, 31, 31).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    ones, zeros = torch.ones(64), torch.zeros(64)
    operations = {
        "relu": F.relu,
        "gelu": F.gelu,
        "max pool": lambda t: F.max_pool2d(t, 2),
        "batch norm": lambda t: F.batch_norm(t, None, None, ones, zeros, training=True),
    }

    def backward(op):
        y = op(x)
        torch.autograd.grad(y, x, y.detach())

    found = {name: milliseconds(lambda op=op: backward(op), 5) for name, op in operations.items()}
    return found | {"step": milliseconds(flat.step, 4)}


def milliseconds(work, times: int) -> float:
    work()
    work()
    start = time.perf_counter()
    for _ in range(times):
        work()
    return 1e3 * (time.perf_counter() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--side", choices=("tuned", "plain"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(side(args.side == "tuned", args.batch)))
        return
    found: dict[str, list[dict[str, float]]] = {"plain": [], "tuned": []}
    for i in range(args.rounds):
        for name in ("plain", "tuned") if i % 2 == 0 else ("tuned", "plain"):
            command = [sys.executable, __file__, "--side", name, "--batch", str(args.batch)]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[name].append(json.loads(text))
    print(f"{'':<12}{'plain ms':>10}{'tuned ms':>10}{'ratio':>8}   medians of {args.rounds}")
    for key in found["plain"][0]:
        plain, tuned = (statistics.median(r[key] for r in found[name]) for name in ("plain", "tuned"))
        print(f"{key:<12}{plain:>10.1f}{tuned:>10.1f}{plain / tuned:>8.2f}")


if __name__ == "__main__":
    main()
