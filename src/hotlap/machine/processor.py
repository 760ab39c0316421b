"""What the operating system says of the processor."""

from __future__ import annotations

import platform
from pathlib import Path

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
    """The processor's features that decide which arithmetic is fast."""
    try:
        flags = next(
            x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("flags")
        ).split()
    except (OSError, StopIteration):
        return []
    return [w for w in WANTED if w in flags]
