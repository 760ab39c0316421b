"""Which of the kernels are used on this machine: those measured faster here than PyTorch's, unless asked."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.errors import UserError
from hotlap.files import user_cache, write_atomic
from hotlap.machine.backend import DTYPES
from hotlap.machine.capture import captured
from hotlap.machine.kernels.build import FP32, NO_SUCH_PROCESSOR, SOURCES, key_of
from hotlap.machine.kernels.cpu import Convolution, ConvolutionPool, library_of
from hotlap.machine.kernels.functions import pool_norm_act
from hotlap.machine.numerics import Kernels
from hotlap.machine.race import SHARE_S, race
from hotlap.machine.telling import MEASURING, say

WORDS = {"convolution": "convolutions", "pool_norm_act": "pool, norm and activation"}
KERNELS = {"cpu": tuple(WORDS), "cuda": ("pool_norm_act",)}  # by kind of device
RUN_IN = {
    "cpu": "in bf16 or fp32, channels-last, not compiled",
    "cuda": "channels-last, not in fp64, not compiled",
}
NO_SUCH_DEVICE = "there are none for this device"
CPU = torch.device("cpu")
REPLAYS = 20
SIZES = {"cpu": (32, 256), "cuda": (1024,)}  # images of a contest; fewer than 32 cost a tile unit as much
DRAWN = 16  # images, which repeat


def used(kernels: Kernels, name: str) -> bool:
    """Whether a resolved choice has the kernel called `name`."""
    return kernels in ("all", name)


def missing(device: torch.device, precision: str = "bf16") -> str | None:
    """In words why there are none on a device in a precision; None if there are."""
    if device.type == "cuda":
        return missing_on_gpu(device)
    if device.type not in KERNELS:
        return NO_SUCH_DEVICE
    found = library_of(DTYPES[precision])
    return found if isinstance(found, str) else None


def mendable(device: torch.device, precision: str = "bf16") -> str:
    """Why a device that could have them has none, in words; empty where it has, or never can."""
    why = missing(device, precision) or ""
    return "" if why in (NO_SUCH_PROCESSOR, NO_SUCH_DEVICE) else why


@functools.cache
def missing_on_gpu(device: torch.device) -> str | None:
    """As `missing`."""
    try:
        from hotlap.machine.kernels import gpu

        gpu.try_out(device)
    except ImportError as error:
        return f"Triton cannot be imported: {error}"
    except Exception as error:  # whatever a compiler, a driver or another version of Triton raises
        return f"Triton does not compile them: {(str(error).splitlines() or [repr(error)])[0]}"
    return None


def choose(
    asked: Kernels,
    possible: bool,
    cache_dir: Path | None = None,
    device: torch.device = CPU,
    precision: str = "bf16",
) -> Kernels:
    """The kernels to use: what was asked for, or under `auto` those measured faster, once a machine.

    Args:
        possible: whether precision and layout are the kernels' own; if not, `auto` is none.

    Raises:
        UserError: they were asked for and cannot be had.
    """
    if asked == "none" or (asked == "auto" and not possible):
        return "none"
    runs_in = RUN_IN.get(device.type)
    why = missing(device, precision) if possible or not runs_in else f"on this device they run {runs_in}"
    if why is None and asked == "convolution" and asked not in KERNELS[device.type]:
        why = "there are none for a GPU"
    if why is not None:
        if asked == "auto":
            return "none"
        raise UserError(
            f"numerics.kernels = {asked!r}: {why}; --set numerics.kernels=auto takes what there is"
        )
    if asked != "auto":
        return asked
    times = measured(cache_dir, device=device, precision=precision)
    faster = [name for name, (ours, theirs) in times.items() if ours < theirs]
    return "all" if len(faster) == len(times) else faster[0] if faster else "none"  # type: ignore[return-value]


def measured(
    cache_dir: Path | None = None, again: bool = False, device: torch.device = CPU, precision: str = "bf16"
) -> dict[str, tuple[float, float]]:
    """Milliseconds of each kernel and of what it stands for, by name, measured once a machine and kept; on a
    CPU for each precision.

    Only where none are `missing`.
    """
    names = KERNELS[device.type]
    path = user_cache(cache_dir) / f"kernels-{machine_key(device, precision)}.json"
    if not again:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text())
            return {name: (float(kept[name][0]), float(kept[name][1])) for name in names}
    say(MEASURING)
    dtype = DTYPES[precision] if device.type == "cpu" else torch.bfloat16
    pairs = functools.cache(partial(contests, device, dtype))

    def side(name: str, i: int, images: int) -> Callable[[], object]:
        run = pairs(images)[name][i]
        return captured(run, device) if device.type == "cuda" else run  # as in a run: no time for each launch

    def timer(run: Callable[[], object]) -> float:
        return milliseconds(run, device) / 1e3

    found = {}
    for name in names:
        sides = {i: partial(side, name, i) for i in (0, 1)}
        took = race(sides, SIZES[device.type], SHARE_S / len(names), timer)
        found[name] = (1e3 * took[0], 1e3 * took[1])
    with suppress(UserError):  # a read-only cache costs the next start a moment and nothing else
        write_atomic(path, json.dumps(found).encode())
    return found


def machine_key(device: torch.device, precision: str = "bf16") -> str:
    """Changes when what was measured no longer holds."""
    if device.type == "cpu":
        sources = FP32 if precision == "fp32" else SOURCES
        return key_of(precision, torch.get_num_threads(), sources=sources)
    source = Path(__file__).with_name("gpu.py").read_text()
    facts = (source, torch.cuda.get_device_name(device), torch.__version__)
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


def contests(
    device: torch.device, dtype: torch.dtype, images: int
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Each kernel and the library's own operations for the same."""
    gen = torch.Generator().manual_seed(0)

    def filled(*shape: int) -> Tensor:
        made = torch.randn((DRAWN, *shape[1:]), generator=gen).to(device, dtype)
        made = made.repeat(-(-shape[0] // DRAWN), 1, 1, 1)[: shape[0]]
        return made.contiguous(memory_format=torch.channels_last)

    x, grad = filled(images, 64, 16, 16).requires_grad_(), filled(images, 128, 8, 8)
    w, w2 = filled(128, 64, 3, 3).float().requires_grad_(), filled(128, 128, 3, 3).float().requires_grad_()
    large, out = filled(images, 64, 32, 32).requires_grad_(), filled(images, 64, 16, 16)
    ones, zeros, mean, var = (torch.full((64,), v, device=device) for v in (1.0, 0.0, 0.0, 1.0))

    def convolution() -> object:
        y = ConvolutionPool.apply(x, w)  # type: ignore[no-untyped-call]
        y = Convolution.apply(y, w2, 1)  # type: ignore[no-untyped-call]
        return torch.autograd.grad(y, (x, w, w2), grad)

    def theirs() -> object:
        y = F.max_pool2d(F.conv2d(x, w.to(dtype), padding=1), 2)
        return torch.autograd.grad(F.conv2d(y, w2.to(dtype), padding=1), (x, w, w2), grad)

    def together() -> object:
        y = pool_norm_act(large, ones, zeros, mean, var, True, True, 1, True, 0.1, 1e-5, "gelu", 1.0)
        return torch.autograd.grad(y, large, out)

    def apart() -> object:
        y = F.batch_norm(F.max_pool2d(large, 2), mean, var, ones, zeros, True)
        return torch.autograd.grad(F.gelu(y), large, out)

    return {
        "convolution": (convolution, theirs),
        "pool_norm_act": (together, apart),
    }


def milliseconds(run: Callable[[], object], device: torch.device = CPU) -> float:
    """Of one call, the mean of many on a GPU."""
    if device.type == "cpu":
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(REPLAYS):
        run()
    torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start) / REPLAYS
