"""Frozen descriptions of optimizers, averages and rules. Data only: no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hotlap.nets.describe import Role

Phase = Literal["step", "reset"]  # of a step: an ordinary one, or one that first resets the weights' norms


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum and weight decay.

    With g the gradient plus weight_decay * w, v the velocity, m the momentum:
    `v = m v + g; w -= lr (g + m v)`; with `lr_in_velocity` (Page's form) instead
    `v = m v - lr g; w += -lr g + m v`, which remembers the learning rate each gradient was taken at.

    Args:
        lr_in_velocity: which of the two forms.
        quoted_for: `sum` if the rule's lr is for the loss summed over the batch; `mean` if it is for the
            batch mean, in which case the step uses lr / batch_size and weight_decay * batch_size.
    """

    lr_in_velocity: bool = False
    quoted_for: Literal["sum", "mean"] = "sum"

    def quoting(self, batch_size: int) -> tuple[float, float]:
        """What a rule's lr and weight decay are multiplied by, for the loss summed over a batch."""
        return (1 / batch_size, batch_size) if self.quoted_for == "mean" else (1, 1)

    def phase(self, step: int, steps: int) -> Phase:
        """How step `step` of `steps` is taken."""
        return "step"


@dataclass(frozen=True)
class LARS:
    """Nesterov steps as long as the weights' norm says, layer by layer.

    With g the gradient plus weight_decay * w, `u = g |w| / (|g| + eps)`: `v = m v + u; w -= lr (u + m v)`,
    so lr is the change relative to the weights. Source: You, Gitman, Ginsburg (2017).

    Args:
        eps: added to the gradient's norm.
    """

    eps: float = 1e-9

    def quoting(self, batch_size: int) -> tuple[float, float]:
        """As in `SGD`; the weight decay is quoted for the batch mean."""
        return 1, batch_size

    def phase(self, step: int, steps: int) -> Phase:
        """As in `SGD`."""
        return "step"


@dataclass(frozen=True)
class Muon:
    """Momentum whose steps are made orthogonal by a Newton-Schulz iteration, for convolution filters.

    A filter tensor is read as a matrix (out, in * kh * kw). Its norm is reset to sqrt(out) before a step;
    the Nesterov direction is orthogonalised and subtracted times lr. Weight decay shrinks the weights by
    lr * weight_decay. Source: Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural
    networks", as used by airbench94_muon.

    Args:
        iterations: Newton-Schulz steps.
        coefficients: a, b, c of X <- a X + (b A + c A^2) X with A = X X^T.
        reset_first, reset_last: steps from one reset of the norms to the next, at the run's start and end.
    """

    iterations: int = 3
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    reset_first: int = 1
    reset_last: int = 1

    def quoting(self, batch_size: int) -> tuple[float, float]:
        """As in `SGD`."""
        return 1, 1

    def phase(self, step: int, steps: int) -> Phase:
        """As in `SGD`."""
        return "reset" if step in reset_steps(steps, self.reset_first, self.reset_last) else "step"


@lru_cache(maxsize=8)
def reset_steps(steps: int, first: int, last: int) -> frozenset[int]:
    """The steps of `steps` that come `first` (growing evenly to `last`) after the one before."""
    found, since = set(), 0
    for step in range(steps):
        since += 1
        if since >= first + int((last - first) * (step + 1) / steps):
            found.add(step)
            since = 0
    return frozenset(found)


Optimizer = SGD | LARS | Muon


@dataclass(frozen=True)
class Rule:
    """Which parameters get which optimizer, at which peak values.

    Every trainable parameter has one role (see `hotlap.nets`), and every role that a net has must be
    claimed by exactly one rule.

    Args:
        name: what the rule is called in recipes and messages.
        roles: the roles it claims.
        optimizer: what steps them.
        lr: peak learning rate, scaled in time by the knob `lr_knob`.
        weight_decay: coefficient c of c * w added to the gradient.
        momentum: 0 to 1, scaled in time by the knob `momentum`.
        lr_knob: the name of a knob of the plan.
        until: share of the run after which these parameters are frozen; 1 is never.
    """

    name: str
    roles: tuple[Role, ...]
    optimizer: Optimizer
    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.0
    lr_knob: str = "lr"
    until: float = 1.0


@dataclass(frozen=True)
class EMA:
    """An exponential moving average of weights and norm statistics, kept beside them.

    Args:
        decay: per step; an update after `every` steps uses decay ** every.
        every: steps between updates.
        phase: updates follow the steps (counted from 1) whose number is `phase` modulo `every`.
    """

    decay: float = 0.99
    every: int = 5
    phase: int = 1


@dataclass(frozen=True)
class Lookahead:
    """Slow weights that follow the fast ones, which restart from them; at the end the slow ones stay.

    Norm statistics are averaged with the weights. Source: Zhang et al. (2019), in the form of airbench94.

    Args:
        knob: the name of the knob that gives the decay: the share of the slow weights that is kept.
        every: steps between updates.
        phase: as in `EMA`.
    """

    knob: str = "lookahead"
    every: int = 5
    phase: int = 0


Average = EMA | Lookahead
