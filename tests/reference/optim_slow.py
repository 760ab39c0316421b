"""Optimizers one tensor at a time, as their papers write them; nothing shared with the library."""

from __future__ import annotations

import math

import torch


def lars(w, g, v, lr, decay, momentum, eps):
    """One step of layer-wise adaptive rates with Nesterov momentum; returns (w, v)."""
    g = g + decay * w
    length_w = math.sqrt(sum(x * x for x in w.flatten().tolist()))
    length_g = math.sqrt(sum(x * x for x in g.flatten().tolist()))
    u = g * (length_w / (length_g + eps))
    v = momentum * v + u
    return w - lr * (u + momentum * v), v


def muon(w, g, v, lr, decay, momentum, iterations, coefficients, reset):
    """One step of Muon on a filter (out, in, kh, kw); returns (w, v)."""
    v = momentum * v + g
    direction = g + momentum * v
    if reset:
        w = w * math.sqrt(w.shape[0]) / w.norm()
    w = w * (1 - lr * decay)
    return w - lr * orthogonal(direction.reshape(len(w), -1), iterations, coefficients).reshape(w.shape), v


def orthogonal(x, iterations, coefficients):
    """Newton-Schulz through the singular values: every step is the polynomial a s + b s^3 + c s^5 of each."""
    a, b, c = coefficients
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    s = s / (s.square().sum().sqrt() + 1e-7)
    for _ in range(iterations):
        s = a * s + b * s**3 + c * s**5
    return u @ torch.diag(s) @ vt


def resets(steps, first, last):
    """The steps before which norms are reset: so many after the last one, growing evenly over the run."""
    found, previous = [], 0  # steps are counted from 1, and the run starts as if just reset
    for count in range(1, steps + 1):
        wait = first + math.floor((last - first) * count / steps)
        if count - previous >= wait:
            found.append(count - 1)
            previous = count
    return found
