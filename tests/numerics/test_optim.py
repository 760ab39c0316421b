"""Optimizers and averages against slow or independent versions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import FP64, noise_dataset, program
from hotlap.nets import AirNet, WhitenStem
from hotlap.optim import SGD, Muon
from hotlap.optim.averages import ema_update, lookahead_update
from hotlap.optim.describe import reset_steps
from hotlap.optim.lars import lars_step
from hotlap.optim.muon import muon_step, newton_schulz, orthogonalise
from hotlap.optim.sgd import sgd_step
from hotlap.plan import Plan
from hotlap.recipes import BUILTIN
from hotlap.tricks import muon as muon_trick
from hotlap.tricks.batch_size import BatchSize
from hotlap.tricks.hard_examples import HardExamples
from hotlap.tricks.lars import Lars
from reference import optim_slow

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
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=5),
    st.integers(0, 99),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_batching_and_padding_and_layout_change_nothing(shapes, seed, layout):
    updates = [u.to(memory_format=layout) for u in tensors(seed, *[(out, c, 3, 3) for out, c in shapes])]
    together = orthogonalise(updates, 3, COEFFICIENTS, torch.float64)
    for update, got in zip(updates, together, strict=True):
        assert got.stride() == update.stride()
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


def every_step(x, iterations):
    """Newton-Schulz as it is written down: x <- a x + (b G + c G^2) x, G = x x^T afresh."""
    a, b, c = COEFFICIENTS
    x = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("iterations", [0, 1, 2, 3, 4, 5, 7])
def test_newton_schulz_by_gram_matrices_is_newton_schulz(iterations):
    (x,) = tensors(iterations, (3, 16, 40))
    assert torch.allclose(newton_schulz(x, iterations, COEFFICIENTS), every_step(x, iterations), rtol=1e-6)


@pytest.mark.parametrize("iterations", [3, 5])
@pytest.mark.parametrize("smallest", [1, 1e-2, 1e-4])
def test_newton_schulz_in_bfloat16_holds_small_singular_values(iterations, smallest):
    (x,) = tensors(0, (1, 64, 256))
    u, _, vt = torch.linalg.svd(x[0], full_matrices=False)
    sizes = torch.logspace(0, math.log10(smallest), 64, dtype=torch.float64)
    x = ((u * sizes) @ vt)[None]
    got = newton_schulz(x.bfloat16(), iterations, COEFFICIENTS).double()
    want = every_step(x, iterations)
    # x rounds by 2^-8, and small singular values grow by up to 3.5 a step, their errors with them: 0.12 here
    # at most. All five steps from one Gram matrix come to 0.3 and more.
    assert (got - want).norm() < 0.2 * want.norm()


def test_muon_resets_norms_then_steps_by_the_rate():
    weights, grads = tensors(0, (8, 3, 3, 3)), tensors(1, (8, 3, 3, 3))
    start, velocity = weights[0].clone(), [torch.zeros_like(weights[0])]
    args = {"iterations": 3, "coefficients": COEFFICIENTS, "dtype": torch.float64}
    rest = scalar(0.0), scalar(0.0), scalar(0.6)  # rate, decay, momentum
    muon_step(weights, grads, velocity, *rest, reset=False, **args)
    assert torch.equal(weights[0], start)
    muon_step(weights, grads, velocity, *rest, reset=True, **args)
    assert weights[0].norm() == pytest.approx(8**0.5)
    assert torch.allclose(weights[0] / weights[0].norm(), start / start.norm())
    before = weights[0].clone()
    muon_step(weights, grads, velocity, scalar(0.25), *rest[1:], reset=True, **args)
    step = (before - weights[0]).flatten(1) / 0.25
    assert torch.linalg.matrix_norm(step, 2) < 1.3
    assert velocity[0].norm() == pytest.approx((1 + 0.6 + 0.36) * grads[0].norm().item())


FILTERS = ((4, 3, 3, 3), (40, 2, 3, 3), (6, 4, 1, 1), (5, 4, 2, 2), (4, 5, 3, 3))


def test_muon_equals_one_filter_at_a_time_through_its_singular_values():
    ours, velocity = tensors(0, *FILTERS), [torch.zeros(s, dtype=torch.float64) for s in FILTERS]
    theirs, v = [w.clone() for w in ours], [torch.zeros(s, dtype=torch.float64) for s in FILTERS]
    for step in range(6):
        grads, lr, reset = tensors(step + 1, *FILTERS), 0.2 * (1 - step / 6), step % 3 == 1
        args = {"iterations": 3, "coefficients": COEFFICIENTS, "reset": reset}
        muon_step(ours, grads, velocity, *map(scalar, (lr, 0.02, 0.6)), dtype=torch.float64, **args)
        for i, g in enumerate(grads):
            theirs[i], v[i] = optim_slow.muon(theirs[i], g, v[i], lr, 0.02, 0.6, **args)
    for a, b, p, q in zip(ours, theirs, velocity, v, strict=True):
        # the small number that keeps the first division finite is weighed against the norm in either form
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)
        assert torch.allclose(p, q, rtol=1e-12)


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 20))
def test_norms_are_reset_more_and_more_seldom(steps, first, more):
    found = sorted(reset_steps(steps, first, first + more))
    assert found == optim_slow.resets(steps, first, first + more)
    phases = [Muon(reset_first=first, reset_last=first + more).phase(s, steps) for s in range(steps)]
    assert [i for i, p in enumerate(phases) if p == "reset"] == found


def test_a_run_resets_the_filters_when_it_says():
    net = AirNet(widths=(4, 5), stem=WhitenStem(images=20))
    plan = muon_trick.Muon(lr=0.0, reset_first=2, reset_last=5)(Plan(net=net, batch_size=4, epochs=3.0))
    made = program(plan, noise_dataset((3, 8, 8), classes=3, train=16, test=3), FP64)
    weight = dict(made.model.named_parameters())["body.group1.conv1.weight"]
    seen = []
    for step in range(made.steps):
        weight.data.mul_(3.0)
        made.run(step, step + 1)
        if weight.norm().item() == pytest.approx(2.0):  # the root of 4 filters
            seen.append(step)
    assert seen == optim_slow.resets(12, 2, 5)
    assert 2 <= len(seen) < 6


def test_lars_equals_one_tensor_at_a_time():
    ours, velocity = tensors(0, *SHAPES), [torch.zeros(s, dtype=torch.float64) for s in SHAPES]
    theirs, v = [w.clone() for w in ours], [torch.zeros(s, dtype=torch.float64) for s in SHAPES]
    for step in range(6):
        grads, lr = tensors(step + 1, *SHAPES), 0.05 * (1 - step / 6)
        lars_step(ours, grads, velocity, *map(scalar, (lr, 0.3, 0.85)), eps=0.01)
        for i, g in enumerate(grads):
            theirs[i], v[i] = optim_slow.lars(theirs[i], g, v[i], lr, 0.3, 0.85, 0.01)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)


def test_lars_moves_weights_by_a_share_of_their_norm_whatever_the_gradient():
    for size in (1e-4, 1.0, 1e4):
        (w,), (g,) = tensors(0, (6, 3, 3, 3)), tensors(1, (6, 3, 3, 3))
        before = w.clone()
        lars_step([w], [g * size], [torch.zeros_like(w)], *map(scalar, (0.01, 0.0, 0.0)), eps=1e-9)
        # eps is 1e-5 of the smallest gradient, no more
        assert (w - before).norm().item() == pytest.approx(0.01 * before.norm().item(), rel=1e-4)


def test_the_lars_trick_steps_the_filters_of_a_run():
    data = noise_dataset((3, 8, 8), classes=3, train=16, test=3)
    plan = Lars(lr=0.02)(
        replace(BUILTIN["airnet"].plan(), net=AirNet(widths=(4, 5)), batch_size=8, epochs=2.0)
    )
    made = program(plan, data, FP64)
    weights = {n: w for n, w in made.model.named_parameters() if w.ndim == 4 and w.requires_grad}
    before = {n: w.detach().clone() for n, w in weights.items()}
    made.run(0, 1)
    rate = made.knobs_at(0)["lr[filters]"]
    assert rate == pytest.approx(0.02 * 0.2)  # the knob starts at 0.2
    for name, w in weights.items():
        # the first step of Nesterov is 1 + momentum long, 0.85 here
        moved, start = (t.norm().item() for t in (w.detach() - before[name], before[name]))
        assert moved == pytest.approx(rate * 1.85 * start, rel=1e-6), name


# rates for another batch size


def table(plan: Plan) -> dict[str, float]:
    """What the first step of a run on some data reads, by column."""
    data = noise_dataset((3, 8, 8), classes=3, train=64, test=3)
    plan = replace(plan, net=AirNet(widths=(4, 5), stem=WhitenStem(images=8)))
    return program(plan, data, FP64).knobs_at(0)


def quoted(kind: str) -> Plan:
    """The same steps at batches of 8, quoted for the mean of the batch or for its sum."""
    plan = BUILTIN["airbench94"].plan()
    rules = tuple(
        replace(r, lr=0.4, weight_decay=5e-4)
        if kind == "mean"
        else replace(r, optimizer=SGD(), lr=0.4 / 8, weight_decay=5e-4 * 8)
        for r in plan.rules
    )
    return replace(plan, rules=rules, batch_size=8)


@pytest.mark.parametrize(("rule", "times"), [("linear", 4.0), ("sqrt", 2.0), ("none", 1.0)])
@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_rates_follow_the_batch_size_however_they_are_quoted(rule, times, kind):
    before, after = table(quoted(kind)), table(BatchSize(32, rule)(quoted(kind)))
    assert before == pytest.approx(table(quoted("mean")))
    for name in [k for k in before if k.startswith("lr[")]:
        # the step is taken on the sum over the batch: four times the examples at lr / 32 instead of lr / 8
        assert after[name] == pytest.approx(before[name] * times / 4)
        decay = name.replace("lr[", "weight_decay[")
        # a step shrinks the weights by its rate times the decay, quoted for the mean: 5e-4 of the rate
        assert after[name] * after[decay] == pytest.approx(before[name] * before[decay] * times)


def test_keeping_the_hard_half_leaves_each_example_its_rate():
    before = table(replace(quoted("mean"), batch_size=32))
    after = table(HardExamples(of=32, every=1, widths=(4, 4))(replace(quoted("mean"), batch_size=32)))
    assert after == pytest.approx(before)


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
