"""How much memory a device has left, and how to tell that it ran out."""

from __future__ import annotations

from pathlib import Path

import torch

CGROUP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def free_bytes(device: torch.device) -> int | None:
    """What a run could still use; None where nothing says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    known = [n for n in (said("MemAvailable"), left_in()) if n is not None]
    return min(known) if known else None


def total_bytes(device: torch.device) -> int | None:
    """All that a device has, or that this process's container lets it have; None where nothing says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type != "cpu":
        return None
    known = [n for n in (said("MemTotal"), number(CGROUP / "memory.max")) if n is not None]
    return min(known) if known else None


def said(what: str, path: Path = MEMINFO) -> int | None:
    """What the system says of its memory: `MemTotal`, or `MemAvailable`, what it could give unswapped."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def left_in(folder: Path = CGROUP) -> int | None:
    """What the container's limit leaves; None without one."""
    most, used = number(folder / "memory.max"), number(folder / "memory.current")
    return None if most is None or used is None else max(0, most - used)


def number(path: Path) -> int | None:
    """The number in a file; None if there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch or Python could not have what they asked for."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
