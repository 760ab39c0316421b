"""`hotlap doctor`: the machine, what it measures, what will be used and why."""

from __future__ import annotations

import argparse

from hotlap.cli.arguments import common, examples
from hotlap.cli.output import DONE, Output
from hotlap.machine.processor import check_threads

EXAMPLES = (
    ("hotlap doctor", "what was measured, and what is used"),
    ("hotlap doctor --measure", "measure again, with the machine at rest"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    examples(parser, EXAMPLES)
    parser.add_argument("--measure", action="store_true", help="measure this machine again")
    parser.add_argument(
        "--compiled", action="store_true", help="with --measure: also torch.compile (up to a minute)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    common(parser)


def run(args: argparse.Namespace) -> int:
    from hotlap import data

    check_threads(args.threads)
    out = Output(args.json)
    sources = data.available()

    from hotlap.machine.allocator import tune_allocator
    from hotlap.machine.choices import measured_choices
    from hotlap.machine.device import prepare
    from hotlap.machine.facts import machine_facts
    from hotlap.machine.kernels import choice
    from hotlap.machine.numerics import Numerics
    from hotlap.machine.resolve import resolve

    device = prepare("auto", args.threads)
    allocator = tune_allocator() if device.type == "cpu" else "CUDA's caching allocator"
    choices = measured_choices(again=args.measure, compiled=args.compiled)
    fastest = resolve(Numerics(kernels="none"), device).precision
    missing = choice.missing(device, fastest)
    kernels = {} if missing else choice.measured(again=args.measure, device=device, precision=fastest)
    backend = resolve(Numerics(), device)
    facts = machine_facts()
    out.say("machine")
    out.columns([(k, ", ".join(v) if isinstance(v, list) else str(v)) for k, v in facts.items()], indent="  ")
    out.say("\nmeasured on the CPU: one small training step (two convolutions, norms, activations, a pool)")
    best = min(choices.values())
    rows = [("precision", "layout", "compiled", "ms", "slower than the best")]
    for (precision, layout, compiled), ms in sorted(choices.items(), key=lambda kv: kv[1]):
        rows.append((precision, layout.replace("_", "-"), compiled, f"{ms:.1f}", f"{ms / best:.2f}x"))
    out.columns(rows, indent="  ")
    out.say(f"\nhotlap's own kernels in {fastest}, against PyTorch's operations for the same")
    if missing:
        out.say(f"  none: {missing}")
    else:
        lines = [("kernel", "ms", "PyTorch's ms", "times as fast")]
        for name, (ours, theirs) in kernels.items():
            lines.append((choice.WORDS[name], f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}x"))
        out.columns(lines, indent="  ")
    out.say("\nwill be used")
    out.columns(
        [
            ("device", str(backend.device)),
            ("arithmetic", f"{backend.arithmetic}, compile {'on' if backend.compile else 'off'}"),
            ("why", backend.why),
            (
                "kernels",
                ", ".join(w for n, w in choice.WORDS.items() if choice.used(backend.kernels, n)) or "none",
            ),
            ("memory", allocator),
            (
                "change it",
                "--device, --threads, --set numerics.precision=fp32 (.memory_format, .compile, .kernels)",
            ),
        ],
        indent="  ",
    )
    out.say("\ndata")
    out.columns([(s.name, ("" if s.found else "not here: ") + s.where) for s in sources], indent="  ")
    out.result(
        {
            "machine": facts,
            "measured": [
                {"precision": p, "memory_format": m, "compile": c, "ms": ms}
                for (p, m, c), ms in choices.items()
            ],
            "kernels": {n: {"ms": ours, "pytorch_ms": theirs} for n, (ours, theirs) in kernels.items()},
            "used": {
                "device": str(backend.device),
                "precision": backend.precision,
                "memory_format": backend.memory_format,
                "compile": backend.compile,
                "kernels": backend.kernels,
                "why": backend.why,
                "allocator": allocator,
            },
            "data": {s.name: s.where for s in sources if s.found},
        }
    )
    return DONE
