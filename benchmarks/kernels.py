"""Our CPU kernels against PyTorch's operations for the same, at the shapes of a recipe's net, in turn.

    python benchmarks/kernels.py [muon94] [--batch 500] [--rounds 9] [--json]

Prints the median milliseconds of each weight gradient, and of each pool, norm and activation there and back.
Run it with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", default="muon94")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    import torch

    from hotlap import data, machine
    from hotlap.inspect.roofline import convolutions
    from hotlap.kernels.cpu import library
    from hotlap.kernels.functions import weight_gradient
    from hotlap.machine import Engine
    from hotlap.nets.layers import Chain, together
    from hotlap.recipes import find

    if isinstance(library(), str):
        print(f"no kernels here: {library()}", file=sys.stderr)
        return 2
    machine.tune_allocator()
    recipe = find(args.recipe)
    plan, spec = recipe.plan(), data.load(recipe.data).spec

    def images(*shape: int) -> torch.Tensor:
        return torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last)

    def median_ms(*sides) -> list[float]:
        times = [[] for _ in sides]
        for i in range(args.rounds + 1):
            for at, side in list(enumerate(sides))[:: 1 if i % 2 else -1]:
                start = time.perf_counter()
                side()
                times[at].append(1e3 * (time.perf_counter() - start))
        return [statistics.median(t[1:]) for t in times]

    rows = []
    on_meta = plan.net.build(spec).to("meta")
    every = frozenset(on_meta.roles())
    for c in convolutions(on_meta, spec.shape, args.batch, every, torch.bfloat16):
        if c.direction != "weight gradient" or c.stride != (1, 1) or c.weight[0] % 16:
            continue
        x, grad, w = images(*c.x), images(*c.out), images(*c.weight)
        padding = c.padding

        def theirs(x=x, grad=grad, w=w, padding=padding):
            return torch.ops.aten.convolution_backward(
                grad, x, w, None, (1, 1), padding, (1, 1), False, (0, 0), 1, (False, True, False)
            )

        ours = lambda x=x, grad=grad, c=c: weight_gradient(x, grad, c.weight[-1], c.padding[0])  # noqa: E731
        a, b = median_ms(ours, theirs)
        rows.append({"what": f"weight gradient {c.title}", "ms": a, "pytorch_ms": b, "flops": c.flops})

    engine = Engine(torch.device("cpu"), "bf16", "channels_last", False, "", "all")
    model = plan.net.build(spec).to(memory_format=engine.format)
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
                    both.append(
                        lambda unit=unit, x=x, weights=weights, grad=grad: torch.autograd.grad(
                            unit(x), [x, *weights], grad
                        )
                    )
                a, b = median_ms(*both)
                what = ", ".join(type(m).__name__ for m in rest[:count])
                rows.append(
                    {"what": f"{what} of {list(x.shape[1:])}", "ms": a, "pytorch_ms": b, "flops": None}
                )
            rest = rest[count or 1 :]
    total = {k: sum(r[k] for r in rows) for k in ("ms", "pytorch_ms")}
    if args.json:
        facts = machine.machine_facts()
        print(
            json.dumps(
                {"recipe": recipe.name, "batch": args.batch, "rows": rows, **total, "machine": facts},
                indent=1,
            )
        )
        return 0
    for row in (*rows, {"what": "together", **total, "flops": None}):
        rate = f"  {row['flops'] / row['ms'] / 1e6:4.0f} GFLOP/s" if row["flops"] else ""
        print(
            f"{row['what']:<52} {row['ms']:7.1f} ms  PyTorch {row['pytorch_ms']:7.1f} ms"
            f"  {row['pytorch_ms'] / row['ms']:.2f}x{rate}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
