"""A net's outline, made of the net itself: built, traced through its modules' own code, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from hotlap.nets.build import build_net
from hotlap.nets.describe import Net, check_net
from hotlap.nets.layers import ACTIVATIONS, Conv2d, GlobalPool, Linear, Whiten
from hotlap.nets.network import Dropout
from hotlap.nets.norms import BatchNorm
from hotlap.nets.outline import Layer, Outline
from hotlap.spec import DataSpec


def outline(net: Net, spec: DataSpec) -> Outline:
    """The layers of the net that `net` describes, for images of `spec`'s shape (C, H, W) in its classes.

    The net is built and run once on the meta device, where tensors have shapes but no data. That takes tenths
    of a second.

    Raises:
        UserError: the net cannot be built for such images.
    """
    check_net(net, spec)
    model = build_net(net, spec).to("meta").eval()
    graph = Tracer().trace(model)
    seen = Seen(model, graph=graph)
    with seen.counter, torch.no_grad():
        seen.run(torch.empty(1, *spec.shape, device="meta"))
    modules = dict(model.named_modules())
    names: dict[fx.Node, str] = {}  # of the layer that a node is, or whose output it hands on
    functions: Counter[str] = Counter()
    layers = []
    for node in graph.nodes:
        if node.op not in ("call_module", "call_function", "call_method"):
            continue
        read = tuple(names[n] for n in node.all_input_nodes if n in names)
        module = modules[node.target] if node.op == "call_module" else None
        if isinstance(module, nn.Identity):
            names[node] = read[0]
            continue
        if module is None:
            path, function = within(node), word_of(node)
            functions[f"{path}{function}"] += 1
            times = functions[f"{path}{function}"]
            names[node] = f"{path}{function}{times if times > 1 else ''}"
            kind, label, told, settings = of_function(function)
        else:
            names[node] = node.target.removeprefix("body.")
            kind, label, told, settings = of_module(module)
        shape, flops = seen.found[node]
        weights = list(module.parameters()) if module is not None else []
        layers.append(
            Layer(
                name=names[node],
                kind=kind,
                label=label,
                told=told,
                settings=settings,
                shape=shape,
                parameters=sum(p.numel() for p in weights if p.requires_grad),
                fixed=sum(p.numel() for p in weights if not p.requires_grad),
                products=flops // 2,
                inputs=read,
            )
        )
    return Outline(spec.shape, tuple(layers))


class Tracer(fx.Tracer):
    """Looks into modules that have modules of their own, and into no others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential) and not any(True for _ in m.children())


class Seen(fx.Interpreter):
    """Runs a graph and keeps, of each node, the shape of what it makes of one image and its FLOPs."""

    def __init__(self, module: nn.Module, graph: fx.Graph):
        super().__init__(module, graph=graph)
        self.counter = FlopCounterMode(display=False)
        self.found: dict[fx.Node, tuple[tuple[int, ...], int]] = {}

    def run_node(self, n: fx.Node) -> Any:
        before = self.counter.get_total_flops()
        made = super().run_node(n)
        if isinstance(made, Tensor):
            self.found[n] = tuple(made.shape[1:]), int(self.counter.get_total_flops() - before)
        return made


def within(node: fx.Node) -> str:
    """The path of the module whose code calls a function, with its dot: `layer1.residual.`"""
    path = [name for name, _ in node.meta.get("nn_module_stack", {}).values()]
    return f"{path[-1].removeprefix('body').removeprefix('.')}.".removeprefix(".") if path else ""


def word_of(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


Told = tuple[str, str, str, dict[str, str]]  # kind, label, what there is to tell, settings


def of_function(word: str) -> Told:
    """A function by its name, as `of_module`."""
    if word in ACTIVATIONS.values():
        return "act", word, word, {"function": word}
    return word, "+" if word == "add" else word, "", {}


def of_module(module: nn.Module) -> Told:
    """What a module without modules of its own is: kind, label, what there is to tell, and its settings."""
    for cls, tell in TELL.items():
        if isinstance(module, cls):
            return tell(module)
    word = type(module).__name__.lower()
    more = getattr(module, "alpha", None)
    return (
        "act",
        word,
        word if more is None else f"{word}, alpha {more:g}",
        {"function": word} | ({} if more is None else {"alpha": f"{more:g}"}),
    )


def of_conv(m: Conv2d) -> Told:
    c_out, c_in = m.weight.shape[0], m.weight.shape[1] * m.groups
    by_itself = m.groups == c_in > 1
    stride = f" /{m.stride}" if m.stride > 1 else ""
    size = f"{m.kernel}x{m.kernel}"
    told = f"{size}{stride}, " + (f"{c_in}, depthwise" if by_itself else f"{c_in} to {c_out}")
    settings = {
        "channels": f"{c_in} to {c_out}",
        "kernel": size,
        "stride": str(m.stride),
        "groups": str(m.groups),
        "padding": "same" if m.same else "half",
        "start": m.init,
    }
    label = f"depthwise {size}{stride}" if by_itself else f"conv {size}{stride}, {c_out}"
    return "conv", label, told, settings


def of_whiten(m: Whiten) -> Told:
    c_out, c_in = m.weight.shape[:2]
    size = f"{m.stem.kernel}x{m.stem.kernel}"
    settings = {
        "channels": f"{c_in} to {c_out}",
        **texts(asdict(m.stem)),
        "bias from 0": text_of(m.zero_bias),
    }
    bias = ", bias" if m.stem.bias else ""
    return "whiten", f"whiten {size}, {c_out}", f"{size}, {c_in} to {c_out}{bias}", settings


def of_norm(m: BatchNorm) -> Told:
    n = m.norm
    told = [f"in {n.splits} parts"] if n.splits > 1 else []
    told += ["scale fixed"] * (not n.scale) + ["running statistics"] * (n.statistics == "running")
    settings = {"channels": str(m.weight.shape[0]), **texts(asdict(n))}
    return "norm", f"norm, {n.splits} parts" if n.splits > 1 else "norm", ", ".join(told), settings


def of_pool(m: nn.MaxPool2d) -> Told:
    return (
        "pool",
        f"max pool {m.kernel_size}x{m.kernel_size}",
        f"max {m.kernel_size}x{m.kernel_size}",
        {
            "size": str(m.kernel_size),
            "stride": str(m.stride),
        },
    )


def of_global_pool(m: GlobalPool) -> Told:
    words = m.kind.replace("_", " ")
    return "global pool", words if " " in words else f"global {words}", words, {"takes": words}


def of_linear(m: Linear) -> Told:
    classes, features = m.weight.shape
    settings = {
        "features": f"{features} to {classes}",
        "bias": text_of(m.bias is not None),
        "start": "sd 1" if m.unit else "default",
        "scale": text_of(m.scale),
    }
    told = f"{features} to {classes}" + (", bias" if m.bias is not None else "")
    told += "" if m.scale == 1 else f", times {m.scale:.4g}"
    return "linear", f"linear, {classes}", told, settings


def of_dropout(m: Dropout) -> Told:
    return "dropout", f"dropout {m.share:.0%}", f"{m.share:.0%}", {"share": text_of(m.share)}


TELL: Mapping[type[nn.Module], Callable[[Any], Told]] = {
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
