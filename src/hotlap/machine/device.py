"""The device that a run asks for, and this process made ready for it."""

from __future__ import annotations

import torch
from torch import Tensor

from hotlap.errors import UserError
from hotlap.machine.allocator import tune_allocator
from hotlap.machine.processor import check_threads
from hotlap.machine.telling import say


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
        raise UserError(f"--device {name}: no such device; give auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        built = "sees none" if torch.version.cuda else "was built without CUDA"
        raise UserError(f"--device {name}: PyTorch {torch.__version__} {built}; use --device cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices; count from 0")
    if device.type not in ("cuda", "cpu", "mps"):
        raise UserError(f"--device {name}: hotlap runs on cpu, cuda and mps; use one of them")
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(
                f"--device {name}: PyTorch {torch.__version__} sees none; use --device cpu or auto"
            )
        say(f"--device {name}: untested; PyTorch's own operations, step by step")
    return device


def doubled(x: Tensor) -> Tensor:
    """x in float64; on the CPU where its device has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def prepare(name: str, threads: int | None = None) -> torch.device:
    """The device called `name`, with this process set up to compute on it: `threads` CPU threads (None leaves
    PyTorch's choice), and on a CPU an allocator that keeps what is freed.

    Raises:
        UserError: as `pick_device`, or for more threads than there are processors.
    """
    device = pick_device(name)
    check_threads(threads, "threads =")
    if threads:
        torch.set_num_threads(threads)
    if device.type == "cpu":
        tune_allocator()
    return device
