"""HOTLAP_ISA: a lesser processor, imitated for hotlap's kernels and PyTorch's libraries alike."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hotlap.errors import UserError, did_you_mean

NAME = "HOTLAP_ISA"


@dataclass(frozen=True)
class Level:
    """A processor to imitate.

    Args:
        needs: flags that this processor must have, as the operating system calls them.
        features: of those that hotlap looks for, the ones left; None is all.
        march: the compiler's name for it.
        settings: what holds PyTorch's libraries to it, in the environment; read once, by each at its start.
    """

    needs: tuple[str, ...] = ()
    features: tuple[str, ...] | None = None
    march: str = "native"
    settings: dict[str, str] = field(default_factory=dict)


def settings(aten: str, onednn: str, mkl: str) -> dict[str, str]:
    return {"ATEN_CPU_CAPABILITY": aten, "ONEDNN_MAX_CPU_ISA": onednn, "MKL_ENABLE_INSTRUCTIONS": mkl}


LEVELS = {
    "native": Level(),
    "avx512": Level(
        ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
        ("avx2", "avx512f"),
        "x86-64-v4",
        settings("avx512", "AVX512_CORE", "AVX512"),
    ),
    "avx2": Level(("avx2", "fma", "bmi2"), ("avx2",), "x86-64-v3", settings("avx2", "AVX2", "AVX2")),
    "baseline": Level(("sse2",), (), "x86-64", settings("default", "SSE41", "SSE4_2")),
}


def level() -> Level:
    """The processor that is asked for, in force: PyTorch's libraries are held to it too.

    Raises:
        UserError: no such level, this processor lacks what it needs, or PyTorch was imported before.
    """
    name = os.environ.get(NAME) or "native"
    if name not in LEVELS:
        near = did_you_mean(name, LEVELS)
        raise UserError(f"{NAME}={name}: no such processor{near}; give {', '.join(LEVELS)}")
    found = LEVELS[name]
    if lacking := [flag for flag in found.needs if flag not in cpu_flags()]:
        raise UserError(f"{NAME}={name}: this processor has no {lacking[0]}; only a lesser one is imitated")
    if any(os.environ.get(k) != v for k, v in found.settings.items()):
        if "torch" in sys.modules:
            raise UserError(
                f"{NAME}={name}: PyTorch was imported before and has chosen its instructions;"
                " import hotlap first"
            )
        os.environ.update(found.settings)
    return found


def hold() -> None:
    """Bring `level` into force if it can be; who asks for it later is told why it cannot."""
    with suppress(UserError):
        level()


def imitated() -> str:
    """What is imitated, by name; nothing for this processor as it is."""
    name = os.environ.get(NAME, "")
    return "" if name == "native" else name


def cpu_flags() -> list[str]:
    """All that the operating system says this processor has; nothing where it does not say."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x for x in lines if x.startswith("flags")).split()
    return []
