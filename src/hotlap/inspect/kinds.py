"""What a layer is, read off its module: its kind, its name in a picture, all that it was built with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from hotlap.nets.layers import ACTIVATIONS, Conv2d, GlobalPool, Linear, Whiten
from hotlap.nets.network import Dropout
from hotlap.nets.norms import BatchNorm


@dataclass(frozen=True)
class Kind:
    """As the fields of `hotlap.nets.outline.Layer`."""

    kind: str
    label: str
    told: str
    settings: Mapping[str, str]


def of_function(word: str) -> Kind:
    """A function by its name."""
    if word in ACTIVATIONS.values():
        return Kind("act", word, word, {"function": word})
    return Kind(word, "+" if word == "add" else word, "", {})


def of_module(module: nn.Module) -> Kind:
    """A module without modules of its own; one that is not known counts as an activation."""
    for cls, kind in KINDS.items():
        if isinstance(module, cls):
            return kind(module)
    word = type(module).__name__.lower()
    alpha = getattr(module, "alpha", None)
    if alpha is None:
        return Kind("act", word, word, {"function": word})
    return Kind("act", word, f"{word}, alpha {alpha:g}", {"function": word, "alpha": text_of(alpha)})


def of_conv(m: Conv2d) -> Kind:
    c_out, c_in = m.weight.shape[0], m.weight.shape[1] * m.groups
    size = f"{m.kernel}x{m.kernel}"
    strided = size + (f" /{m.stride}" if m.stride > 1 else "")
    settings = {
        "channels": f"{c_in} to {c_out}",
        "kernel": size,
        "stride": text_of(m.stride),
        "groups": text_of(m.groups),
        "padding": "same" if m.same else "half",
        "start": m.init,
    }
    if m.groups == c_in > 1:
        return Kind("conv", f"depthwise {strided}", f"{strided}, {c_in}, depthwise", settings)
    return Kind("conv", f"conv {strided}, {c_out}", f"{strided}, {c_in} to {c_out}", settings)


def of_whiten(m: Whiten) -> Kind:
    c_out, c_in = m.weight.shape[:2]
    size = f"{m.stem.kernel}x{m.stem.kernel}"
    settings = {
        "channels": f"{c_in} to {c_out}",
        **texts(asdict(m.stem)),
        "bias from 0": text_of(m.zero_bias),
    }
    told = f"{size}, {c_in} to {c_out}" + (", bias" if m.stem.bias else "")
    return Kind("whiten", f"whiten {size}, {c_out}", told, settings)


def of_norm(m: BatchNorm) -> Kind:
    n = m.norm
    told = [f"in {n.splits} parts"] * (n.splits > 1) + ["scale fixed"] * (not n.scale)
    told += ["running statistics"] * (n.statistics == "running")
    label = f"norm, {n.splits} parts" if n.splits > 1 else "norm"
    return Kind("norm", label, ", ".join(told), {"channels": text_of(m.weight.shape[0]), **texts(asdict(n))})


def of_pool(m: nn.MaxPool2d) -> Kind:
    told = f"max {m.kernel_size}x{m.kernel_size}"
    settings = {"size": text_of(m.kernel_size), "stride": text_of(m.stride)}
    return Kind("pool", told.replace("max", "max pool"), told, settings)


def of_global_pool(m: GlobalPool) -> Kind:
    words = m.kind.replace("_", " ")
    return Kind("global pool", words if " " in words else f"global {words}", words, {"takes": words})


def of_linear(m: Linear) -> Kind:
    classes, features = m.weight.shape
    settings = {
        "features": f"{features} to {classes}",
        "bias": text_of(m.bias is not None),
        "start": "sd 1" if m.unit else "default",
        "scale": text_of(m.scale),
    }
    told = f"{features} to {classes}" + (", bias" if m.bias is not None else "")
    return Kind("linear", f"linear, {classes}", told + f", times {m.scale:.4g}" * (m.scale != 1), settings)


def of_dropout(m: Dropout) -> Kind:
    return Kind("dropout", f"dropout {m.share:.0%}", f"{m.share:.0%}", {"share": text_of(m.share)})


KINDS: Mapping[type[nn.Module], Callable[[Any], Kind]] = {
    Conv2d: of_conv,
    Whiten: of_whiten,
    BatchNorm: of_norm,
    nn.MaxPool2d: of_pool,
    GlobalPool: of_global_pool,
    Linear: of_linear,
    Dropout: of_dropout,
}


def texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", " "): text_of(value) for name, value in settings.items()}


def text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
