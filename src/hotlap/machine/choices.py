"""Which arithmetic is fastest on this CPU, measured once a machine on a small training step and kept.

It differs between processors by factors: bfloat16 convolutions are several times faster than float32 with
AMX, and several times slower without hardware support.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from hotlap.errors import UserError
from hotlap.files import user_cache, write_atomic
from hotlap.machine.allocator import tune_allocator
from hotlap.machine.backend import DTYPES, FORMATS
from hotlap.machine.facts import machine_facts, machine_key
from hotlap.machine.processor import cpu_features
from hotlap.machine.race import SHARE_S, Run, race, seconds
from hotlap.machine.telling import MEASURING, say

Choice = tuple[str, str, str]  # precision, memory format, compile
COMPILED: tuple[Choice, ...] = (("bf16", "channels_last", "on"), ("fp32", "channels_last", "on"))
FAST_BF16 = {"avx512_bf16", "amx_bf16"}
SIZES = (2, 16, 64)  # images of a step, and before: it would take seconds where bfloat16 is done in software


def measured_choices(
    cache_dir: Path | None = None, again: bool = False, compiled: bool = False
) -> dict[Choice, float]:
    """Milliseconds of a small training step on the CPU for each combination, measured once a machine.

    It takes a second. Those that are far slower than the best are timed on fewer images than a step has, and
    what there is no time left for is left out.

    Args:
        cache_dir: where results are kept; none is the user's cache.
        again: measure even if there is a kept result.
        compiled: also measure torch.compile, which takes up to a minute.
    """
    path = user_cache(cache_dir) / f"machine-{machine_key()}.json"
    if not again:
        try:
            kept = json.loads(path.read_text())
            return {
                (r["precision"], r["memory_format"], r["compile"]): float(r["ms"]) for r in kept["choices"]
            }
        except (OSError, ValueError, KeyError, TypeError):
            pass
    say(MEASURING)
    tune_allocator()
    entrants: dict[Choice, Callable[[int], Run]] = {
        (c := (p, m, "off")): partial(step, c)
        for m in ("channels_last", "contiguous")
        for p in likely_precisions()
    }
    ms = {c: 1e3 * s for c, s in race(entrants, SIZES, SHARE_S).items()}
    if compiled:  # as long as it takes
        ms |= {c: 1e3 * min(map(seconds, [step(c, SIZES[-1])] * 4)) for c in COMPILED}
    rows = [dict(zip(("precision", "memory_format", "compile"), c, strict=True), ms=t) for c, t in ms.items()]
    with suppress(UserError):  # a read-only cache costs the next start a second and nothing else
        write_atomic(path, json.dumps({"machine": machine_facts(), "choices": rows}, indent=1).encode())
    return ms


def likely_precisions() -> list[str]:
    """The likeliest to be fastest first, by what the processor multiplies in."""
    return ["bf16", "fp32"] if FAST_BF16 & set(cpu_features()) else ["fp32", "bf16"]


def step(choice: Choice, images: int) -> Run:
    """Forward and backward of a small net on images of 64 x 32 x 32.

    Two conv-norm-activation layers and a pool: the mix of work of a training step.
    """
    precision, memory_format, compiled = choice
    dtype, layout = DTYPES[precision], FORMATS[memory_format]
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(images, 64, 32, 32, generator=gen).to(dtype).contiguous(memory_format=layout)
    x.requires_grad_()
    weights = [
        torch.randn(c, 64, 3, 3, generator=gen).to(memory_format=layout).requires_grad_() for c in (64, 128)
    ]
    stats = [torch.ones(c) for c in (64, 128)]

    def forward(x: torch.Tensor) -> torch.Tensor:
        for w, s in zip(weights, stats, strict=True):
            x = F.conv2d(x, w.to(dtype), padding=1)
            if w is weights[0]:
                x = F.max_pool2d(x, 2)
            x = F.gelu(F.batch_norm(x, None, None, s, s, training=True))
        return x.float().square().sum()

    run: Callable[[torch.Tensor], torch.Tensor] = torch.compile(forward) if compiled == "on" else forward
    return lambda: torch.autograd.grad(run(x), [x, *weights])
