"""Which arithmetic is fastest on this CPU, measured once a machine on a small training step and kept.

It differs between processors by factors: bfloat16 convolutions are several times faster than float32 with
AMX, and several times slower without hardware support.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F

from hotlap.errors import UserError
from hotlap.files import user_cache, write_atomic
from hotlap.machine.allocator import tune_allocator
from hotlap.machine.backend import DTYPES, FORMATS
from hotlap.machine.facts import machine_facts, machine_key

Choice = tuple[str, str, str]  # precision, memory format, compile


def measured_choices(
    cache_dir: Path | None = None, again: bool = False, compiled: bool = False
) -> dict[Choice, float]:
    """Milliseconds of a small training step on the CPU for each combination, measured once a machine.

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
    tune_allocator()
    choices: list[Choice] = [(p, m, "off") for p in ("bf16", "fp32") for m in ("channels_last", "contiguous")]
    if compiled:
        choices += [(p, "channels_last", "on") for p in ("bf16", "fp32")]
    found = dict.fromkeys(choices, float("inf"))
    for _ in range(2):  # in turn, so that a busy moment does not decide against one of them
        found = {c: min(ms, step_ms(*c)) for c, ms in found.items()}
    rows = [
        dict(zip(("precision", "memory_format", "compile"), c, strict=True), ms=ms) for c, ms in found.items()
    ]
    with suppress(UserError):  # a read-only cache costs the next start two seconds and nothing else
        write_atomic(path, json.dumps({"machine": machine_facts(), "choices": rows}, indent=1).encode())
    return found


def step_ms(precision: str, memory_format: str, compiled: str) -> float:
    """Milliseconds, best of three, of forward and backward of a small net on 64 images of 64 x 32 x 32.

    Two conv-norm-activation layers and a pool: the mix of work of a training step, in half a second.
    """
    dtype, layout = DTYPES[precision], FORMATS[memory_format]
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(64, 64, 32, 32, generator=gen).to(dtype).contiguous(memory_format=layout).requires_grad_()
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
    times = []
    for _ in range(4):
        start = time.perf_counter()
        torch.autograd.grad(run(x), [x, *weights])
        times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:])
