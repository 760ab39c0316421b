"""What the operating system says of the processor."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from hotlap.errors import UserError
from hotlap.machine.isa import cpu_flags, level

WANTED = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The processor's features that decide which arithmetic is fast, or those of one that is imitated."""
    kept, flags = level().features, cpu_flags()
    return [w for w in WANTED if w in flags and (kept is None or w in kept)]


def processors() -> int:
    """How many this process may use: a container or `taskset` may leave it fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def check_threads(threads: int | None, name: str = "--threads") -> None:
    """Refuse a number of threads that is none, or that this machine cannot run at a time."""
    if threads is not None and not 1 <= threads <= processors():
        few = "1" if processors() == 1 else f"1 to {processors()}"
        raise UserError(f"{name} {threads}: there are {processors()} processors to run on; give {few}")
