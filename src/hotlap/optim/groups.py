"""Rules and averages bound to the tensors of one model and to their columns of the value table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hotlap.machine.ranks import ALONE, Ranks
from hotlap.optim.averages import ema_update, lookahead_update
from hotlap.optim.describe import EMA, LARS, Average, Muon, Phase, Rule
from hotlap.optim.lars import lars_step
from hotlap.optim.muon import muon_step
from hotlap.optim.sgd import sgd_step

__all__ = ["Averaged", "Group", "Phase", "at_rest", "is_due"]


@dataclass
class Group:
    """The parameters of one rule, their velocities, and where their values stand in the table."""

    rule: Rule
    names: list[str]
    weights: list[Tensor]
    velocity: list[Tensor]
    column: int  # of lr; weight decay and momentum follow
    end: int  # the step from which they are frozen

    def step(
        self, grads: list[Tensor], values: Tensor, phase: Phase, dtype: torch.dtype, ranks: Ranks = ALONE
    ) -> None:
        """One step in place.

        Args:
            values: this step's row of the table.
            phase: what the optimizer's `phase` said of this step.
            dtype: of fast products.
            ranks: that take the same step and may share its work.
        """
        lr, decay, momentum = values[self.column : self.column + 3]
        opt = self.rule.optimizer
        if isinstance(opt, Muon):
            muon_step(
                self.weights,
                grads,
                self.velocity,
                lr,
                decay,
                momentum,
                iterations=opt.iterations,
                coefficients=opt.coefficients,
                reset=phase == "reset",
                dtype=dtype,
                ranks=ranks,
            )
        elif isinstance(opt, LARS):
            lars_step(self.weights, grads, self.velocity, lr, decay, momentum, eps=opt.eps)
        else:
            form = opt.lr_in_velocity
            sgd_step(self.weights, grads, self.velocity, lr, decay, momentum, lr_in_velocity=form)


@contextmanager
def at_rest(groups: Sequence[Group]) -> Iterator[None]:
    """Inside, nothing is kept for gradients that only these groups' parameters would need."""
    weights = [w for group in groups for w in group.weights]
    for w in weights:
        w.requires_grad_(False)
    try:
        yield
    finally:
        for w in weights:
            w.requires_grad_(True)


def is_due(average: Average, step: int) -> bool:
    """Whether the average is updated after this step."""
    return (step + 1) % average.every == average.phase % average.every


@dataclass
class Averaged:
    """One average: the slow tensors beside the fast ones, and where its decay stands in the table."""

    average: Average
    slow: list[Tensor]
    fast: list[Tensor]
    column: int

    def step(self, values: Tensor) -> None:
        """One update in place; `values` is this step's row of the table."""
        update = ema_update if isinstance(self.average, EMA) else lookahead_update
        update(self.slow, self.fast, values[self.column])
