"""The classifier on fixed features: against scipy's minimiser, its cross-validation, the trunk's opinion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from hotlap.transfer.head import Opinion, Problem, fit_head, folds, prior


def blobs(count: int, width: int, classes: int, spread: float, seed: int = 0):
    """Features (N, 2, F) of two noisy views around a centre a class, and labels."""
    gen = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    base = centres[labels] + spread * torch.randn(count, width, generator=gen)
    views = base[:, None] + 0.05 * torch.randn(count, 2, width, generator=gen)
    return views, labels


@pytest.mark.parametrize("width", [5, 60], ids=["more examples than features", "fewer"])
@pytest.mark.parametrize("decay", [1.0, 100.0])
def test_the_solution_is_scipys(width, decay):
    x, y = blobs(12, width, 3, 1.5)
    weight, bias, _ = Problem(x, y, 3, None, torch.ones(3)).solve(decay)
    flat, target = x.reshape(-1, width).double().numpy(), y.repeat_interleave(2).numpy()
    centred = flat - flat.mean(0)
    scale = np.sqrt((centred**2).sum(1).mean()) / np.sqrt(width)

    def objective(w: np.ndarray) -> float:
        w = w.reshape(3, width + 1)
        logits = centred / scale @ w[:, :-1].T + w[:, -1]
        logits = logits - logits.max(1, keepdims=True)
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(target)), target]
        return losses.mean() + decay / width * (w[:, :-1] ** 2).sum()

    best = minimize(objective, np.zeros(3 * (width + 1)), method="L-BFGS-B", options={"maxiter": 2000})
    w = best.x.reshape(3, width + 1)
    ours = flat @ weight.double().numpy().T + bias.double().numpy()
    theirs = centred / scale @ w[:, :-1].T + w[:, -1]
    # logits are known up to a constant an example; both minimisers stop at a gradient of about 1e-5
    assert np.allclose(ours - ours.mean(1, keepdims=True), theirs - theirs.mean(1, keepdims=True), atol=5e-3)


def test_views_of_an_image_are_never_parted_and_every_class_is_in_every_fold():
    labels = torch.tensor([0] * 50 + [1] * 10)
    parts = folds(labels, seed=3)
    assert len(parts) == 5
    outside = torch.cat([b for _, b in parts])
    assert sorted(outside.tolist()) == list(range(60))
    for inside, out in parts:
        assert set(inside.tolist()).isdisjoint(out.tolist())
        assert (labels[out] == 1).sum() == 2
    assert [b.tolist() for _, b in folds(labels, 3)] == [b.tolist() for _, b in parts]
    assert [b.tolist() for _, b in folds(labels, 4)] != [b.tolist() for _, b in parts]
    assert len(folds(torch.zeros(5000, dtype=torch.int64), 0)) == 1  # of many one fold is held out


def test_the_weight_decay_is_the_one_of_least_held_out_loss():
    x, y = blobs(60, 40, 3, 12.0)
    head = fit_head(x, y, 3)
    losses = {t.weight_decay: t.loss for t in head.tried}
    assert head.weight_decay == min(losses, key=losses.get)
    assert losses[1.0] > min(losses.values())  # too little decay is worse on such noise


def test_what_the_trunk_knows_is_worth_more_than_a_few_examples():
    gen = torch.Generator().manual_seed(1)

    def drawn(count: int):
        """Two classes that differ along two of thirty directions; along eighteen there is noise alone."""
        y = torch.arange(count) % 2
        x = 0.3 * torch.randn(count, 30, generator=gen)
        x[:, 12:] *= 10
        x[torch.arange(count), y] += 1
        return x[:, None].repeat(1, 2, 1), y

    opinion = Opinion(6 * torch.eye(12, 30), torch.zeros(12))  # it tells twelve kinds apart, ours among them
    few, y = drawn(10)
    many, many_y = drawn(400)

    def accuracy(head) -> float:
        return (head.logits(many).argmax(1) == many_y).float().mean().item()

    without, with_ = fit_head(few, y, 2), fit_head(few, y, 2, opinion=opinion)
    assert with_.trust > 0
    assert without.trust == 0
    assert accuracy(with_) > 0.95 > accuracy(without)


def test_a_prior_is_the_mixture_that_a_classs_images_look_like():
    weight = torch.eye(4) * 20
    x = torch.eye(4)[[0, 0, 1, 2]].double()
    mixed, bias = prior(x, torch.tensor([0, 0, 1, 1]), 2, Opinion(weight, torch.zeros(4)))
    assert torch.allclose(mixed[0], torch.tensor([20.0, 0, 0, 0], dtype=torch.float64), atol=1e-3)
    assert torch.allclose(mixed[1], torch.tensor([0.0, 10, 10, 0], dtype=torch.float64), atol=1e-3)
    assert bias.tolist() == [0.0, 0.0]


def test_class_weights_move_the_border_towards_the_common_class():
    gen = torch.Generator().manual_seed(0)
    y = torch.tensor([0] * 90 + [1] * 10)
    x = torch.where(y == 0, -0.5, 0.5)[:, None, None] + torch.randn(100, 1, 1, generator=gen)
    plain = fit_head(x, y, 2)
    even = fit_head(x, y, 2, class_weights=torch.tensor([100 / 180, 100 / 20]))
    said = [(h.logits(x).argmax(1) == 1).sum().item() for h in (plain, even)]
    assert said[1] > said[0]


def test_the_same_seed_is_the_same_head():
    x, y = blobs(40, 20, 4, 1.0)
    a, b = fit_head(x, y, 4, seed=5), fit_head(x, y, 4, seed=5)
    assert torch.equal(a.weight, b.weight)
    assert a.tried == b.tried


def test_a_class_without_examples_and_a_single_example_each_end_in_numbers():
    x, y = blobs(3, 8, 3, 0.5)
    head = fit_head(x, y, 5)  # classes 3 and 4 have none
    assert torch.isfinite(head.weight).all()
    assert torch.isfinite(F.softmax(head.logits(x), 1)).all()
    assert (head.logits(x).argmax(1) == y).all()
