"""Our CPU kernels against PyTorch's operations for the same, at the shapes of a recipe's net, in turn.

    python benchmarks/kernels.py [muon94] [--batch 500] [--precision fp32] [--threads 1] [--json]

Prints the median milliseconds of each convolution in each direction, and of each pool, norm and activation
there and back; GFLOP/s count all products of a convolution, done or not. The limit of an operation is the
longer of two times: its products at the rate of a product of large matrices, of which 3x3 filters count as
many as our kernels do (Winograd), and its tensors at the rate of memory, each read or written once in each
direction. Shares of it can pass 100% where a tensor stays in a cache.
Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial

import hotlap  # noqa: F401  HOTLAP_ISA holds PyTorch to it only if it comes first


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="muon94")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    import torch

    from hotlap import data
    from hotlap.inspect.roofline import (
        Convolution,
        convolutions,
        flops_done,
        memory_rate,
        product_rate,
        time_convolution,
    )
    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.backend import Backend
    from hotlap.machine.facts import machine_facts
    from hotlap.machine.kernels.cpu import library_of
    from hotlap.nets.build import build_net
    from hotlap.nets.layers import Chain, together
    from hotlap.recipes import find

    backends = [
        Backend(torch.device("cpu"), args.precision, "channels_last", False, "", k) for k in ("all", "none")
    ]
    dtype = backends[0].dtype
    if isinstance(library_of(dtype), str):
        print(f"no kernels here: {library_of(dtype)}", file=sys.stderr)
        return 2
    tune_allocator()
    if args.threads:
        torch.set_num_threads(args.threads)
    recipe = find(args.recipe)
    plan, spec = recipe.plan(), data.load(recipe.data).spec

    def seconds_alone(c: Convolution, backend: Backend) -> float:
        return time_convolution(c, backend, rounds=1).seconds

    def seconds_there_and_back(unit: Chain, x: torch.Tensor, weights: list, grad: torch.Tensor) -> float:
        start = time.perf_counter()
        torch.autograd.grad(unit(x), [x, *weights], grad)
        return time.perf_counter() - start

    def images(*shape: int) -> torch.Tensor:
        return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)

    def in_turn(ours, theirs) -> list[float]:
        """Median milliseconds of each side, which return their seconds; the first round is left out."""
        times = [[], []]
        for i in range(args.rounds + 1):
            for at, side in list(enumerate((ours, theirs)))[:: 1 if i % 2 else -1]:
                times[at].append(1e3 * side())
        return [statistics.median(t[1:]) for t in times]

    def limits() -> tuple[float, float]:
        """FLOP/s of a product of large matrices, bytes/s of memory."""
        return product_rate(backends[0]), memory_rate(backends[0])

    product, memory = limits()
    rows = []
    on_meta = build_net(plan.net, spec).to("meta")
    every = frozenset(on_meta.roles())
    for c in convolutions(on_meta, spec.shape, args.batch, every, dtype):
        if c.part == "stem":
            continue
        a, b = in_turn(*(partial(seconds_alone, c, backend) for backend in backends))
        least = flops_done(c, True, dtype), c.traffic(dtype.itemsize)
        rows.append(
            {
                "what": f"{c.direction} {c.title}",
                "ms": a,
                "pytorch_ms": b,
                "flops": c.flops,
                "least": least,
            }
        )

    model = build_net(plan.net, spec).to(memory_format=torch.channels_last)
    model.reset(torch.Generator().manual_seed(0))
    model.train()
    seen = []

    def watch(module, inputs):
        seen.append((module, tuple(inputs[0].shape)))

    handles = [m.register_forward_pre_hook(watch) for m in model.modules() if not list(m.children())]
    model(images(args.batch, *spec.shape))
    for handle in handles:
        handle.remove()
    shapes = {id(m): shape for m, shape in seen}
    for chain in (m for m in model.modules() if isinstance(m, Chain)):
        rest = list(chain)
        while rest:
            count = together(rest)
            if count and shapes[id(rest[0])][1] % 16 == 0:
                x = images(*shapes[id(rest[0])]).requires_grad_()
                both = []
                for native in (True, False):
                    unit = Chain(*rest[:count])
                    unit.native = native
                    weights = [p for p in unit.parameters() if p.requires_grad]
                    grad = torch.ones_like(unit(x))
                    # there x and the result, back the gradient, x again and its gradient
                    traffic = dtype.itemsize * (3 * x.numel() + 2 * grad.numel())
                    both.append(partial(seconds_there_and_back, unit, x, weights, grad))
                a, b = in_turn(*both)
                what = ", ".join(type(m).__name__ for m in rest[:count])
                rows.append(
                    {
                        "what": f"{what} of {list(x.shape[1:])}",
                        "ms": a,
                        "pytorch_ms": b,
                        "flops": None,
                        "least": (0, traffic),
                    }
                )
            rest = rest[count or 1 :]
    # a machine that others work on too shows its best now and then: what it reached before or after all this
    product, memory = map(max, zip((product, memory), limits(), strict=True))
    for row in rows:
        flops, traffic = row.pop("least")
        row["limit_ms"] = 1e3 * max(flops / product, traffic / memory)
    total = {k: sum(r[k] for r in rows) for k in ("ms", "pytorch_ms", "limit_ms")}
    if args.json:
        facts = machine_facts()
        print(
            json.dumps(
                {
                    "recipe": recipe.name,
                    "batch": args.batch,
                    "precision": args.precision,
                    "rows": rows,
                    **total,
                    "product_flops_per_s": product,
                    "memory_bytes_per_s": memory,
                    "machine": facts,
                },
                indent=1,
            )
        )
        return 0
    for row in (*rows, {"what": "together", **total, "flops": None}):
        rates = [f"{row['flops'] / row[k] / 1e6:.0f}" for k in ("ms", "pytorch_ms")] if row["flops"] else []
        rate = f"  {' and '.join(rates)} GFLOP/s" if rates else ""
        shares = " and ".join(f"{row['limit_ms'] / row[k]:.0%}" for k in ("ms", "pytorch_ms"))
        print(
            f"{row['what']:<52} {row['ms']:7.1f} ms  PyTorch {row['pytorch_ms']:7.1f} ms"
            f"  {row['pytorch_ms'] / row['ms']:.2f}x  {shares} of the limit{rate}"
        )
    print(
        f"limits: products {product / 1e9:,.0f} GFLOP/s, memory {memory / 1e9:,.0f} GB/s",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
