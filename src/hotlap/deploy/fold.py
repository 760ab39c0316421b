"""Batch norms folded into the convolutions before them, for any net, on its traced graph."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx, nn

aten = torch.ops.aten


def folded(net: nn.Module, example: Tensor) -> nn.Module:
    """The net in evaluation mode as a graph in which a norm after a convolution is part of it.

    A norm may stand behind a max pool, as in the airbench nets, where no channel's scale is negative: the
    largest stays the largest. A norm that follows something else (a pre-activation block) stays.

    Args:
        net: on the CPU in float32.
        example: (N, C, H, W) with N of 2 or more; the graph takes any N.
    """
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        module = torch.export.export(net.eval(), (example,), dynamic_shapes=({0: batch},)).module()
    graph = module
    for node in list(graph.graph.nodes):
        if node.target == aten.batch_norm.default:
            fold(graph, node)
    for node in list(graph.graph.nodes):
        if node.target == aten.to.dtype and node.args[0].meta["val"].dtype == node.args[1]:
            node.replace_all_uses_with(node.args[0])
        elif node.target == aten._assert_tensor_metadata.default or node.op == "call_module":
            graph.graph.erase_node(node)  # tracing's own checks, of what holds by construction
    graph.graph.eliminate_dead_code()
    # a module of what the graph reads and no more: not of the norms and weights that were folded
    held = {n.target: attribute(graph, n.target) for n in graph.graph.nodes if n.op == "get_attr"}
    return fx.GraphModule(held, graph.graph)


def fold(module: fx.GraphModule, norm: fx.Node) -> bool:
    """Fold the norm of a graph if a convolution alone feeds it; whether it was."""
    before, *held = norm.args[:5]
    scale, bias, mean, var = (constant(module, n) for n in held)
    if mean is None or var is None:
        return False
    eps = float(cast(float, norm.args[7]))
    factor = (torch.ones_like(mean) if scale is None else scale) / (var + eps).sqrt()
    conv = cast(fx.Node, before)
    if conv.target == aten.max_pool2d.default and len(conv.users) == 1 and bool((factor >= 0).all()):
        conv = cast(fx.Node, conv.args[0])
    if conv.target != aten.conv2d.default or len(conv.users) != 1:
        return False
    arguments = list(conv.args) + [None] * (3 - len(conv.args))
    weight, start = constant(module, arguments[1]), constant(module, arguments[2])
    if weight is None or (arguments[2] is not None and start is None):
        return False
    shift = (0 if start is None else start) - mean
    name = f"folded_{conv.name}"
    for part, value in (
        ("weight", weight * factor.view(-1, *[1] * (weight.ndim - 1))),
        ("bias", shift * factor + (0 if bias is None else bias)),
    ):
        module.register_buffer(f"{name}_{part}", value.float())
    with module.graph.inserting_before(conv):
        arguments[1:3] = (module.graph.get_attr(f"{name}_{part}") for part in ("weight", "bias"))
    conv.args = tuple(arguments)
    norm.replace_all_uses_with(cast(fx.Node, before))
    module.graph.erase_node(norm)
    return True


def constant(module: fx.GraphModule, node: object) -> Tensor | None:
    """The value of a parameter or buffer as float64, also if the graph casts it first; else None."""
    if not isinstance(node, fx.Node):
        return None
    if node.op == "get_attr":
        return attribute(module, str(node.target)).double()
    if node.target == aten.to.dtype:
        return constant(module, node.args[0])
    return None


def attribute(module: nn.Module, path: str) -> Tensor:
    """A parameter or buffer by its dotted name."""
    owner, _, leaf = path.rpartition(".")
    return cast(Tensor, getattr(module.get_submodule(owner), leaf)).detach()
