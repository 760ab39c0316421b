"""Which of the kernels are used on this machine: those measured faster here than PyTorch's, unless asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.errors import UserError
from hotlap.files import user_cache, write_atomic
from hotlap.kernels.cpu import key_of, library
from hotlap.kernels.functions import Convolution, PoolNormAct
from hotlap.numerics import Kernels

WORDS = {"convolution": "convolutions", "pool_norm_act": "pool, norm and activation"}


def used(kernels: Kernels, name: str) -> bool:
    """Whether a resolved choice has the kernel called `name`."""
    return kernels in ("all", name)


def choose(asked: Kernels, possible: bool, cache_dir: Path | None = None) -> Kernels:
    """The kernels to use: what was asked for, or under `auto` those measured faster, once a machine.

    Args:
        possible: whether device, precision and layout are the kernels' own; if not, `auto` is none.

    Raises:
        UserError: they were asked for and cannot be had.
    """
    if asked == "none" or (asked == "auto" and not possible):
        return "none"
    missing = library()
    if isinstance(missing, str) or not possible:
        why = (
            missing if isinstance(missing, str) else "they run on a CPU, in bf16, channels-last, not compiled"
        )
        if asked == "auto":
            return "none"
        raise UserError(
            f"numerics.kernels = {asked!r}: {why}; --set numerics.kernels=auto takes what there is"
        )
    if asked != "auto":
        return asked
    faster = [name for name, (ours, theirs) in measured(cache_dir).items() if ours < theirs]
    return "all" if len(faster) == len(WORDS) else faster[0] if faster else "none"  # type: ignore[return-value]


def measured(cache_dir: Path | None = None, again: bool = False) -> dict[str, tuple[float, float]]:
    """Milliseconds of each kernel and of what it stands for, by name, measured once a machine and kept.

    Only where `library` is one.
    """
    path = user_cache(cache_dir) / f"kernels-{key_of(torch.get_num_threads())}.json"
    if not again:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text())
            return {name: (float(kept[name][0]), float(kept[name][1])) for name in WORDS}
    pairs = contests()
    best = {name: [float("inf")] * 2 for name in pairs}
    for _ in range(4):  # in turn, so that a busy moment does not decide against one of them
        for name, sides in pairs.items():
            for i, side in enumerate(sides):
                best[name][i] = min(best[name][i], milliseconds(side))
    found = {name: (ms[0], ms[1]) for name, ms in best.items()}
    with suppress(UserError):  # a read-only cache costs the next start a moment and nothing else
        write_atomic(path, json.dumps(found).encode())
    return found


def contests() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Each kernel and the library's own operations for the same, on 64 images."""
    gen = torch.Generator().manual_seed(0)

    def filled(*shape: int) -> Tensor:
        made = torch.randn(shape, generator=gen).bfloat16()
        return made.contiguous(memory_format=torch.channels_last)

    x, grad = filled(64, 64, 16, 16).requires_grad_(), filled(64, 128, 16, 16)
    w = filled(128, 64, 3, 3).float().requires_grad_()
    large, out = filled(64, 64, 32, 32).requires_grad_(), filled(64, 64, 16, 16)
    ones, zeros, mean, var = (torch.full((64,), v) for v in (1.0, 0.0, 0.0, 1.0))

    def convolution() -> object:
        y = Convolution.apply(x, w, 1)  # type: ignore[no-untyped-call]
        return torch.autograd.grad(y, (x, w), grad)

    def theirs() -> object:
        return torch.autograd.grad(F.conv2d(x, w.bfloat16(), padding=1), (x, w), grad)

    def pool_norm_act() -> object:
        y = PoolNormAct.apply(  # type: ignore[no-untyped-call]
            large, ones, zeros, mean, var, True, True, 1, True, 0.1, 1e-5, "gelu", 1.0
        )
        return torch.autograd.grad(y, large, out)

    def apart() -> object:
        y = F.batch_norm(F.max_pool2d(large, 2), mean, var, ones, zeros, True)
        return torch.autograd.grad(F.gelu(y), large, out)

    return {
        "convolution": (convolution, theirs),
        "pool_norm_act": (pool_norm_act, apart),
    }


def milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)
