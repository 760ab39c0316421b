"""What carries an optimizer's step: groups and their columns, averages and when they are due, shares of the
work."""

from __future__ import annotations

import itertools
import math
from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hotlap.machine.ranks import Ranks
from hotlap.optim import EMA, LARS, SGD, Lookahead, Muon, Rule
from hotlap.optim.groups import Averaged, Group, at_rest, is_due
from hotlap.optim.muon import as_matrix, buckets, dealt, newton_schulz, orthogonalise, shared, work
from reference import optim_slow

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
FILTERS = ((4, 3, 3, 3), (40, 2, 3, 3), (6, 4, 1, 1), (4, 5, 3, 3), (3, 2, 2, 2))


def tensors(seed: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=gen, dtype=torch.float64) for s in shapes]


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# -- quoting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "want"),
    [
        (SGD(), (1, 1)),
        (SGD(quoted_for="sum"), (1, 1)),
        (SGD(quoted_for="mean"), (1 / 64, 64)),
        (LARS(), (1, 64)),
        (Muon(), (1, 1)),
    ],
)
def test_what_a_rate_and_a_decay_are_quoted_for(optimizer, want):
    assert optimizer.quoting(64) == want


@pytest.mark.parametrize("optimizer", [SGD(), LARS()])
def test_only_filters_of_muon_are_reset(optimizer):
    assert {optimizer.phase(step, 5) for step in range(5)} == {"step"}


# -- groups ----------------------------------------------------------------------------------------


def slow_sgd(w, g, v, lr, decay, momentum, lr_in_velocity):
    g = g + decay * w
    if lr_in_velocity:
        g, lr = lr * g, 1.0
    v = momentum * v + g
    return w - lr * (g + momentum * v), v


@pytest.mark.parametrize("phase", ["step", "reset"])
@pytest.mark.parametrize(
    "optimizer",
    [SGD(lr_in_velocity=False), SGD(lr_in_velocity=True), LARS(eps=0.01), Muon(iterations=2)],
    ids=("SGD", "SGD with its rate in the velocity", "LARS", "Muon"),
)
def test_a_group_steps_by_its_own_columns_and_its_own_optimizer(optimizer, phase):
    weights, grads, velocity = (tensors(seed, *FILTERS[:2]) for seed in (0, 1, 2))
    before, v = [w.clone() for w in weights], [t.clone() for t in velocity]
    made = Group(Rule("r", (), optimizer, lr=9.0), ["a", "b"], weights, velocity, column=2, end=3)
    made.step(grads, row(7.0, 8.0, 0.05, 0.3, 0.85, 5.0, 6.0, 4.0), phase, torch.float64)
    for i, g in enumerate(grads):
        rest = before[i], g, v[i], 0.05, 0.3, 0.85
        if isinstance(optimizer, LARS):
            want = optim_slow.lars(*rest, 0.01)
        elif isinstance(optimizer, Muon):
            want = optim_slow.muon(*rest, 2, COEFFICIENTS, phase == "reset")
        else:
            want = slow_sgd(*rest, optimizer.lr_in_velocity)
        assert torch.allclose(weights[i], want[0], rtol=1e-9, atol=1e-10)
        assert torch.allclose(velocity[i], want[1], rtol=1e-12)


def test_parameters_at_rest_ask_for_no_gradient_and_do_again_after():
    resting, moving = (
        Group(Rule("r", (), SGD(), lr=1.0), [], [w.requires_grad_()], [], 0, 1)
        for w in tensors(0, (3,), (3,))
    )
    with at_rest([resting]):
        loss = (resting.weights[0] * moving.weights[0]).sum()
        loss.backward()
    assert resting.weights[0].grad is None
    assert moving.weights[0].grad is not None
    with suppress(KeyError), at_rest([resting, moving]):
        assert not resting.weights[0].requires_grad
        assert not moving.weights[0].requires_grad
        raise KeyError
    assert resting.weights[0].requires_grad
    assert moving.weights[0].requires_grad


# -- averages --------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 20), st.sampled_from([EMA, Lookahead]))
def test_an_average_follows_the_steps_whose_number_is_its_phase(every, phase, kind):
    average = kind(every=every, phase=phase)
    due = [step for step in range(40) if is_due(average, step)]
    numbers = range(phase % every or every, 41, every)  # steps are counted from 1
    assert due == [n - 1 for n in numbers]


@pytest.mark.parametrize("average", [EMA(), Lookahead()])
def test_an_average_is_updated_by_its_own_column_and_kind(average):
    slow, fast = tensors(0, (4,), (2, 2)), tensors(1, (4,), (2, 2))
    want = [0.7 * s + 0.3 * f for s, f in zip(slow, fast, strict=True)]
    kept = [f.clone() for f in fast]
    Averaged(average, slow, fast, column=1).step(row(0.1, 0.7, 0.2))
    for s, f, w, k in zip(slow, fast, want, kept, strict=True):
        assert torch.allclose(s, w, rtol=1e-14)
        assert torch.equal(f, k if isinstance(average, EMA) else s)


# -- Muon's matrices -------------------------------------------------------------------------------


def test_filters_are_batched_by_the_rows_of_their_matrices():
    filters = [
        torch.zeros(s) for s in ((4, 3, 3, 3), (40, 2, 1, 2), (6, 1, 2, 2), (4, 5, 1, 1), (5, 4, 1, 1))
    ]
    assert buckets(filters) == [[0, 1, 2, 3, 4]]  # 4 x 27, 4 x 40, 4 x 6, 4 x 5 and 4 x 5, once laid flat
    assert buckets([torch.zeros(s) for s in ((2, 3, 1, 1), (3, 4, 1, 1), (7, 2, 1, 1))]) == [[0, 2], [1]]
    assert [work(f) for f in filters] == [4 * 108, 4 * 160, 4 * 24, 4 * 20, 4 * 20]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_matrix_is_a_view_whose_rows_are_filters(layout):
    (filters,) = tensors(0, (5, 3, 2, 4))
    filters = filters.to(memory_format=layout)
    matrix = as_matrix(filters)
    assert matrix.shape == (5, 24)
    assert [sorted(r) for r in matrix.tolist()] == [sorted(f.flatten().tolist()) for f in filters]
    matrix[2] = 7.0
    assert (filters[2] == 7).all()
    assert not (filters[[0, 1, 3, 4]] == 7).any()


def test_rows_and_columns_of_zeros_stay_zero():
    (x,) = tensors(0, (2, 4, 9))
    x[0, 1] = 0
    x[1, :, 3:] = 0
    got = newton_schulz(x, 5, COEFFICIENTS)
    assert not got[0, 1].any()
    assert not got[1, :, 3:].any()
    alone = newton_schulz(x[1:, :, :3].mT.contiguous(), 5, COEFFICIENTS)[0].mT  # 3 x 4, its zeros left out
    assert torch.allclose(got[1, :, :3], alone, rtol=1e-9, atol=1e-12)
    assert not newton_schulz(torch.zeros(1, 2, 3, dtype=torch.float64), 3, COEFFICIENTS).any()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(1, 3))
def test_work_is_dealt_as_evenly_as_the_largest_first_can(costs, hands):
    dealt_out = dealt(costs, hands)
    assert sorted(itertools.chain(*dealt_out)) == list(range(len(costs)))
    assert all(hand == sorted(hand) for hand in dealt_out)
    best = min(
        max(sum(c for c, h in zip(costs, who, strict=True) if h == hand) for hand in range(hands))
        for who in itertools.product(range(hands), repeat=len(costs))
    )
    # Graham (1969): no further than this from what is best
    assert max(sum(costs[i] for i in hand) for hand in dealt_out) <= best * (4 / 3 - 1 / (3 * hands)) + 1e-9


def test_products_are_taken_in_the_precision_that_is_asked_for():
    updates = tensors(0, (4, 3, 3, 3), (40, 2, 3, 3))
    exact = orthogonalise(updates, 3, COEFFICIENTS, torch.float64)
    for update, step, rounded in zip(
        updates, exact, orthogonalise(updates, 3, COEFFICIENTS, torch.bfloat16), strict=True
    ):
        assert rounded.dtype == update.dtype
        assert torch.equal(rounded, rounded.bfloat16().double())  # each value is one of bfloat16's
        assert not torch.equal(step, step.bfloat16().double())
        assert 1e-4 < (rounded - step).norm() / step.norm() < 0.05  # 2^-8 a rounding, a few times over
    moved = []
    for dtype in (torch.float64, torch.bfloat16):
        weights, velocity = tensors(1, (4, 3, 3, 3)), [torch.zeros(4, 3, 3, 3, dtype=torch.float64)]
        group = Group(Rule("r", (), Muon(), lr=1.0), ["a"], weights, velocity, column=0, end=1)
        group.step(updates[:1], row(1.0, 0.0, 0.0), "step", dtype)
        moved.append(tensors(1, (4, 3, 3, 3))[0] - weights[0])
    assert torch.allclose(moved[0], exact[0], rtol=1e-12, atol=1e-14)
    assert torch.allclose(moved[1], moved[1].bfloat16().double(), rtol=1e-12, atol=1e-14)


class Gathered(Ranks):
    """One of several processes, whose message is seen and not sent."""

    def gather(self, lists: list[list[torch.Tensor]]) -> None:
        object.__setattr__(self, "sent", lists)


def test_each_of_several_processes_makes_its_share_and_hands_it_on():
    updates = tensors(0, *FILTERS)
    args = (3, COEFFICIENTS, torch.float64)
    whole = orthogonalise(updates, *args)
    hands = dealt([work(u) for u in updates], 3)
    assert all(hands)
    for rank, own in enumerate(hands):
        process = Gathered(rank, 3)
        steps = shared(updates, *args, process)
        assert [len(hand) for hand in process.sent] == [len(hand) for hand in hands]
        for place, i in enumerate(own):
            assert torch.allclose(steps[i], whole[i], rtol=1e-9, atol=1e-12)
            assert process.sent[rank][place] is steps[i]  # what the others are to have; theirs come in place
        for hand, sent in zip(hands, process.sent, strict=True):
            assert all(tensor is steps[i] for tensor, i in zip(sent, hand, strict=True))
    alone = Gathered(0, 1)
    assert all(map(torch.equal, shared(updates, *args, alone), whole))
    assert not hasattr(alone, "sent")
    rounded = shared(updates, 3, COEFFICIENTS, torch.bfloat16, Gathered(0, 3))
    assert all(torch.equal(rounded[i], rounded[i].bfloat16().double()) for i in hands[0])


def test_a_group_of_muon_shares_its_step_with_the_other_processes():
    weights, grads, velocity = (tensors(seed, *FILTERS) for seed in (0, 1, 2))
    group = Group(Rule("r", (), Muon(), lr=1.0), [], weights, velocity, column=0, end=1)
    process = Gathered(1, 3)
    group.step(grads, row(1.0, 0.0, 0.0), "step", torch.float64, process)
    assert [len(hand) for hand in process.sent] == [len(h) for h in dealt([work(g) for g in grads], 3)]


def test_lars_moves_nothing_where_weights_or_gradients_are_zero():
    from hotlap.optim.lars import lars_step

    for w, g in ((row(0.0, 0.0), row(1.0, 2.0)), (row(3.0, 4.0), row(0.0, 0.0))):
        before = w.clone()
        lars_step([w], [g], [torch.zeros_like(w)], *(torch.tensor(x) for x in (0.1, 0.0, 0.9)), eps=1e-9)
        assert torch.equal(w, before)
        assert math.isfinite(w.sum())
