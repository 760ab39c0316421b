"""A net's outline, made of the net itself: built, traced through its modules' own code, and counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from hotlap.inspect.kinds import of_function, of_module
from hotlap.nets.build import build_net
from hotlap.nets.describe import Net, check_net
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
            kind = of_function(function)
        else:
            names[node] = node.target.removeprefix("body.")
            kind = of_module(module)
        shape, flops = seen.found[node]
        weights = list(module.parameters()) if module is not None else []
        layers.append(
            Layer(
                name=names[node],
                kind=kind.kind,
                label=kind.label,
                told=kind.told,
                settings=kind.settings,
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
