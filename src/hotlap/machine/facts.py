"""What a figure must be quoted with, and a key for what was measured on a machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from hotlap._version import __version__
from hotlap.machine.isa import imitated
from hotlap.machine.processor import cpu_features, cpu_name


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
        "memory_gib": memory_gib(),
        "executable": Path(sys.executable).name,
    }
    if name := imitated():
        facts["imitates"] = f"{name} (HOTLAP_ISA)"
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        facts["cuda"] = torch.version.cuda
    return facts


def memory_gib() -> float | None:
    """All there is; None where the system does not say, as on Windows."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def machine_key() -> str:
    """A short key that changes when a kept measurement no longer holds."""
    facts = [cpu_name(), cpu_features(), torch.get_num_threads(), torch.__version__]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
