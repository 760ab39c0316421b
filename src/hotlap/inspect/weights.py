"""Norms, gradients and step lengths of the filters, step by step through a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from hotlap.engine.program import Program
from hotlap.optim import SGD


@dataclass(frozen=True)
class WeightTrace:
    """What the filters did in a run.

    Args:
        layers: names of the filter tensors.
        norms: (steps + 1, layers), their lengths before the first step and after each.
        gradients: (steps, layers), length of the batch mean's gradient, without weight decay. Read back from
            the velocity of SGD in Page's form: empty with another optimizer, no numbers where the rate is 0.
        moves: (steps, layers), length of each step relative to the weights' before it.
        cosines: (steps, layers), between gradient and weights; 0 for scale-free weights.
        turns: (steps, layers), between a gradient and the one before it; 0 at the first step.
    """

    layers: list[str]
    norms: torch.Tensor
    gradients: torch.Tensor
    moves: torch.Tensor
    cosines: torch.Tensor
    turns: torch.Tensor


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Between two tensors of one shape."""
    return float((a * b).sum() / (a.norm() * b.norm()))


@torch.no_grad()
def trace_weights(
    program: Program, seed: int, scale: float = 1.0, after: Callable[[int], None] | None = None
) -> WeightTrace:
    """Run `program` with its filters started at `scale` times their usual size.

    Args:
        after: called with each step's number, counted from 1.
    """
    program.begin(seed)
    roles = program.model.roles()
    held = [
        (name, weight, velocity, group)
        for group in program.groups
        for name, weight, velocity in zip(group.names, group.weights, group.velocity, strict=True)
        if roles[name] == "filter"
    ]
    for _, weight, _, _ in held:
        weight.mul_(scale)
    batch = program.plan.batch_size
    norms = [[float(w.norm()) for _, w, _, _ in held]]
    gradients, moves, cosines, turns = [], [], [], []
    before: dict[str, torch.Tensor] = {}
    for step in range(program.steps):
        old = [(w.clone(), v.clone()) for _, w, v, _ in held]
        program.run(step, step + 1)
        row: list[list[float]] = [[], [], [], [], []]
        for (name, w, v, group), (w_old, v_old) in zip(held, old, strict=True):
            row[0].append(float(w.norm()))
            row[1].append(float((w - w_old).norm() / w_old.norm()))
            optimizer = group.rule.optimizer
            if isinstance(optimizer, SGD) and optimizer.lr_in_velocity:
                lr, decay, momentum = program.table[step, group.column : group.column + 3]
                g = ((v - momentum * v_old) / lr - decay * w_old) / batch
                row[2].append(float(g.norm()))
                row[3].append(cosine(g, w_old))
                row[4].append(cosine(g, before[name]) if name in before else 0.0)
                before[name] = g
        norms.append(row[0])
        moves.append(row[1])
        gradients.append(row[2])
        cosines.append(row[3])
        turns.append(row[4])
        if after:
            after(step + 1)
    made = [torch.tensor(t, dtype=torch.float64) for t in (norms, gradients, moves, cosines, turns)]
    return WeightTrace([name for name, *_ in held], *made)
