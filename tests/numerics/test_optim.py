"""Optimizers and averages against slow or independent versions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hotlap.optim.averages import ema_update, lookahead_update
from hotlap.optim.muon import muon_step, newton_schulz, orthogonalise
from hotlap.optim.sgd import sgd_step

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def scalar(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def tensors(seed: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=gen, dtype=torch.float64) for s in shapes]


SHAPES = ((4, 3, 3, 3), (7,), (5, 2))


def test_sgd_is_pytorchs_nesterov():
    ours, velocity = tensors(0, *SHAPES), [torch.zeros(s, dtype=torch.float64) for s in SHAPES]
    theirs = [t.clone().requires_grad_() for t in ours]
    optimizer = torch.optim.SGD(theirs, lr=0.1, momentum=0.85, weight_decay=0.01, nesterov=True)
    for step in range(6):
        grads = tensors(step + 1, *SHAPES)
        lr = 0.1 * (1 - step / 6)
        optimizer.param_groups[0]["lr"] = lr
        for p, g in zip(theirs, grads, strict=True):
            p.grad = g.clone()
        optimizer.step()
        sgd_step(ours, grads, velocity, scalar(lr), scalar(0.01), scalar(0.85), lr_in_velocity=False)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b.detach(), rtol=1e-12, atol=1e-14)


def test_page_sgd_remembers_the_rate_of_each_gradient():
    (w,), v = tensors(0, (3,)), torch.zeros(3, dtype=torch.float64)
    want_w, want_v = w.clone(), v.clone()
    for lr in (0.1, 0.4, 0.0):
        (g,) = tensors(int(10 * lr) + 1, (3,))
        dw = -lr * (g + 0.01 * want_w)
        want_v = 0.9 * want_v + dw
        want_w = want_w + dw + 0.9 * want_v
        sgd_step([w], [g], [v], scalar(lr), scalar(0.01), scalar(0.9), lr_in_velocity=True)
    assert torch.allclose(w, want_w, rtol=1e-12)
    # at rate 0 the remembered steps still move the weights: the two forms differ
    assert not torch.allclose(v, torch.zeros_like(v))


def test_both_forms_agree_while_the_rate_is_constant():
    a, b = tensors(0, (5,)), tensors(0, (5,))
    va, vb = ([torch.zeros(5, dtype=torch.float64)] for _ in range(2))
    for step in range(5):
        g = tensors(step + 1, (5,))
        sgd_step(a, g, va, scalar(0.1), scalar(0.01), scalar(0.9), lr_in_velocity=True)
        sgd_step(b, g, vb, scalar(0.1), scalar(0.01), scalar(0.9), lr_in_velocity=False)
    assert torch.allclose(a[0], b[0], rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=5), st.integers(0, 99))
def test_batching_and_padding_change_nothing(shapes, seed):
    updates = tensors(seed, *[(out, c, 3, 3) for out, c in shapes])
    together = orthogonalise(updates, 3, COEFFICIENTS, torch.float64)
    for update, got in zip(updates, together, strict=True):
        matrix = update.flatten(1)
        tall = matrix.shape[0] > matrix.shape[1]
        alone = newton_schulz((matrix.mT if tall else matrix)[None], 3, COEFFICIENTS)[0]
        assert torch.allclose(got.flatten(1), alone.mT if tall else alone, rtol=1e-9, atol=1e-12)


def test_newton_schulz_keeps_directions_and_evens_out_sizes():
    (x,) = tensors(0, (1, 16, 64))
    u, s, vt = torch.linalg.svd(x[0], full_matrices=False)
    y = newton_schulz(x, 5, COEFFICIENTS)[0]
    values = torch.diag(u.T @ y @ vt.T)
    off = u.T @ y @ vt.T - torch.diag(values)
    assert off.abs().max() < 1e-9  # same singular vectors
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (s.max() / s.min()) > 2.5  # they were not even before


def test_muon_resets_norms_then_steps_by_the_rate():
    weights, grads = tensors(0, (8, 3, 3, 3)), tensors(1, (8, 3, 3, 3))
    start, velocity = weights[0].clone(), [torch.zeros_like(weights[0])]
    args = {"iterations": 3, "coefficients": COEFFICIENTS, "dtype": torch.float64}
    muon_step(weights, grads, velocity, scalar(0.0), scalar(0.6), **args)
    assert weights[0].norm() == pytest.approx(8**0.5)
    assert torch.allclose(weights[0] / weights[0].norm(), start / start.norm())
    before = weights[0].clone()
    muon_step(weights, grads, velocity, scalar(0.25), scalar(0.6), **args)
    step = (before - weights[0]).flatten(1) / 0.25
    assert torch.linalg.matrix_norm(step, 2) < 1.3
    assert velocity[0].norm() == pytest.approx(1.6 * grads[0].norm())


def test_ema_and_lookahead():
    slow, fast = tensors(0, (4,), (2, 2)), tensors(1, (4,), (2, 2))
    want = [0.7 * s + 0.3 * f for s, f in zip(slow, fast, strict=True)]
    kept = [f.clone() for f in fast]
    ema_update(slow, fast, scalar(0.7))
    assert all(torch.allclose(a, b) for a, b in zip(slow, want, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(fast, kept, strict=True))
    lookahead_update(slow, fast, scalar(0.5))
    assert all(torch.equal(a, b) for a, b in zip(slow, fast, strict=True))
    assert torch.allclose(slow[0], 0.5 * want[0] + 0.5 * kept[0])
