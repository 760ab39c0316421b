"""Where weight decay and growth by orthogonal steps balance: formulas for scale-free weights.

If a net computes the same with w and with a w (a norm follows), its loss is constant along w, so the
gradient g is orthogonal to w, and |g| = F / |w| for a force F that does not depend on |w|. SGD with
momentum m moves the weights by H g in all for each gradient, with H = lr / (1 - m). If gradients of
different steps are uncorrelated, then per step, to first order in H weight_decay,

    |w|^2  grows by  H^2 |g|^2 = H^2 F^2 / |w|^2   and shrinks by  2 H weight_decay |w|^2.

So y = |w|^4 obeys y' = 2 H^2 F^2 - 4 H weight_decay y: it relaxes exponentially to H F^2 / (2 weight_decay),
and there (H |g| / |w|)^2 = 2 H weight_decay, whatever the layer. lr and weight decay are those of the update
w -= lr (g + weight_decay w). Refs: van Laarhoven (2017); Wan et al., Spherical Motion Dynamics (2021).
"""

from __future__ import annotations

import math


def whole_rate(lr: float, momentum: float) -> float:
    """H: how far the weights move in all for one gradient."""
    return lr / (1 - momentum)


def equilibrium_norm(force: float, lr: float, weight_decay: float, momentum: float) -> float:
    """|w| where growth and decay balance, for a force F = |g| |w|."""
    return float((whole_rate(lr, momentum) * force**2 / (2 * weight_decay)) ** 0.25)


def norm_after(
    steps: float, start: float, force: float, lr: float, weight_decay: float, momentum: float
) -> float:
    """|w| after so many steps of constant rates and force, from `start`."""
    end = equilibrium_norm(force, lr, weight_decay, momentum) ** 4
    left = math.exp(-4 * whole_rate(lr, momentum) * weight_decay * steps)
    return float((end + (start**4 - end) * left) ** 0.25)


def settling_steps(lr: float, weight_decay: float, momentum: float) -> float:
    """Steps in which the distance of |w|^4 from its equilibrium falls by e."""
    return 1 / (4 * whole_rate(lr, momentum) * weight_decay)


def relative_rate(lr: float, weight_decay: float, momentum: float) -> float:
    """H |g| / |w| in equilibrium: sqrt(2 H weight_decay)."""
    return math.sqrt(2 * whole_rate(lr, momentum) * weight_decay)


def relative_step(lr: float, weight_decay: float, momentum: float) -> float:
    """Length of one Nesterov step relative to |w| in equilibrium.

    One gradient moves the weights by lr (1 + m) at once and lr m^(k + 1) k steps later; the squares of these
    add up to lr^2 ((1 + m)^2 + m^4 / (1 - m^2)). Times (|g| / |w|)^2 = 2 weight_decay (1 - m) / lr, that is
    2 lr weight_decay (1 + 2 m - 2 m^3) / (1 + m).
    """
    m = momentum
    return math.sqrt(2 * lr * weight_decay * (1 + 2 * m - 2 * m**3) / (1 + m))
