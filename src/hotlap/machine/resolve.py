"""A plan's numerics resolved on this machine: explicit values as they are, `auto` by measurement."""

from __future__ import annotations

from pathlib import Path

import torch

from hotlap.errors import UserError
from hotlap.machine.backend import Backend
from hotlap.machine.choices import Choice, measured_choices
from hotlap.machine.kernels import choice
from hotlap.machine.numerics import Numerics


def resolve(numerics: Numerics, device: torch.device, cache_dir: Path | None = None) -> Backend:
    """The backend for a plan's numerics on `device`: explicit values as they are, `auto` by measurement.

    Raises:
        UserError: the device has no such arithmetic, or kernels were asked for that cannot be had.
    """
    asked = (numerics.precision, numerics.memory_format, numerics.compile)
    half = numerics.precision == "half"
    if device.type == "mps" and numerics.precision == "fp64":
        raise UserError("numerics.precision = 'fp64': --device mps has no float64; use --device cpu")
    if half:
        asked = ("auto" if device.type == "cpu" else "fp16", *asked[1:])
    if device.type == "cuda":
        best: Choice = ("bf16" if torch.cuda.is_bf16_supported() else "fp16", "channels_last", "off")
        why = "CUDA: half precision, channels-last, the step captured as a graph"
    elif device.type == "mps":
        best, why = ("fp32", "contiguous", "off"), "mps: PyTorch's own operations in fp32, step by step"
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
    precisions = ("bf16", "fp32") if device.type == "cpu" else ("bf16", "fp16", "fp32")
    possible = device.type != "mps" and chosen[0] in precisions and chosen[1:] == ["channels_last", "off"]
    kernels = choice.choose(numerics.kernels, possible, cache_dir, device, chosen[0])
    allowed = zip(asked, (precisions, ("channels_last",), ("off",)), strict=True)
    free = numerics.kernels == "auto" and all(a == "auto" or a in own for a, own in allowed)
    lacks = choice.mendable(device, chosen[0]) if free else ""
    return Backend(device, chosen[0], chosen[1], chosen[2] == "on", why, kernels, lacks)
