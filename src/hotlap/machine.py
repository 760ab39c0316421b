"""The machine: what it can do, measured, and how a run is set up on it.

On a CPU, which arithmetic is fastest differs between processors by factors (bfloat16 convolutions are
several times faster than float32 with AMX and several times slower without hardware support), so the
choice is measured once on a small training step and kept per machine.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from hotlap._version import __version__
from hotlap.errors import UserError
from hotlap.files import user_cache, write_atomic
from hotlap.kernels import choice
from hotlap.numerics import Kernels, Numerics
from hotlap.processor import cpu_features, cpu_name

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
Choice = tuple[str, str, str]  # precision, memory format, compile


@dataclass(frozen=True)
class Engine:
    """A resolved device and arithmetic.

    Args:
        device: where tensors live.
        precision, memory_format: keys of `DTYPES` and `FORMATS`.
        compile: whether the step goes through torch.compile.
        why: what was measured or asked for, in words for the user.
        kernels: which of hotlap's own kernels are used.
    """

    device: torch.device
    precision: str
    memory_format: str
    compile: bool
    why: str
    kernels: Kernels = "none"

    @property
    def arithmetic(self) -> str:
        """Such as `bf16, channels-last`."""
        return f"{self.precision}, {self.memory_format.replace('_', '-')}"

    @property
    def in_words(self) -> str:
        """The arithmetic, and how else the steps run."""
        compiled = ", compiled" if self.compile else ""
        kernels = "" if self.kernels == "none" else f", own kernels ({self.kernels.replace('_', ' ')})"
        return self.arithmetic + compiled + kernels

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        return DTYPES[self.precision]

    @property
    def weights_dtype(self) -> torch.dtype:
        """Of weights, statistics and the loss."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def format(self) -> torch.memory_format:
        return FORMATS[self.memory_format]


def pick_device(name: str) -> torch.device:
    """The device asked for; `auto` is CUDA where there is one, else the CPU.

    Raises:
        UserError: for a device this machine or this PyTorch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: no such device; give auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        built = "sees none" if torch.version.cuda else "was built without CUDA"
        raise UserError(f"--device {name}: PyTorch {torch.__version__} {built}; use --device cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices; count from 0")
    if device.type not in ("cuda", "cpu"):
        raise UserError(f"--device {name}: hotlap runs on cpu and cuda; use one of them")
    return device


def resolve(numerics: Numerics, device: torch.device, cache_dir: Path | None = None) -> Engine:
    """The engine for a plan's numerics on `device`: explicit values as they are, `auto` by measurement."""
    asked = (numerics.precision, numerics.memory_format, numerics.compile)
    half = numerics.precision == "half"
    if half:
        asked = ("fp16" if device.type == "cuda" else "auto", *asked[1:])
    if device.type == "cuda":
        best: Choice = ("bf16" if torch.cuda.is_bf16_supported() else "fp16", "channels_last", "off")
        why = "CUDA: half precision, channels-last, the step captured as a graph"
    elif "auto" in asked[:2]:
        # compiling takes longer than it saves in a short run, so only an explicit `on` compiles
        found = {c: ms for c, ms in measured_choices(cache_dir).items() if c[2] == "off"}
        known = [a if any(a == c[i] for c in found) else "auto" for i, a in enumerate(asked[:2])]
        fits = [c for c in found if all(a in ("auto", v) for a, v in zip(known, c[:2], strict=True))]
        best = min(fits, key=lambda c: found[c])
        why = f"measured fastest on this CPU, {max(found.values()) / found[best]:.1f}x the slowest tried"
    else:
        best, why = ("fp32", "channels_last", "off"), "as asked"
    chosen = [b if a == "auto" else a for a, b in zip(asked, best, strict=True)]
    if half and device.type == "cpu":
        why = f"half precision is {chosen[0]} here, a CPU having no fast fp16; {why}"
    if device.type == "cpu" and chosen[0] == "fp16":
        why = "as asked, though a CPU trains in fp16 hundreds of times slower than in bf16"
    precisions = ("bf16",) if device.type == "cpu" else ("bf16", "fp16", "fp32")
    possible = chosen[0] in precisions and chosen[1:] == ["channels_last", "off"]
    kernels = choice.choose(numerics.kernels, possible, cache_dir, device)
    return Engine(device, chosen[0], chosen[1], chosen[2] == "on", why, kernels)


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


def tune_allocator() -> str:
    """Let the C allocator keep freed memory instead of returning it to the kernel after every tensor.

    A training step frees and asks for the same few hundred megabytes hundreds of times; by default glibc
    maps each large block anew and every page faults on first touch, which costs more than the arithmetic
    in it. Returns what was done. Only for CPU runs; does nothing without glibc.
    """
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return "default allocator (no mallopt in this C library)"
    done = mallopt(m_mmap_max, 0) and mallopt(m_trim_threshold, -1) and mallopt(m_top_pad, 64 << 20)
    return "freed memory is kept (mallopt)" if done else "default allocator (mallopt refused)"


def machine_facts() -> dict[str, Any]:
    """What a figure must be quoted with: processor, threads, memory, versions, GPU."""
    facts: dict[str, Any] = {
        "hotlap": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cpu_features": cpu_features(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "executable": Path(sys.executable).name,
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        facts["cuda"] = torch.version.cuda
    return facts


def machine_key() -> str:
    """A short key that changes when a kept measurement no longer holds."""
    facts = [cpu_name(), cpu_features(), torch.get_num_threads(), torch.__version__]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
