"""Muon over tensor lists; see `hotlap.optim.Muon` for the maths."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from hotlap.machine.ranks import ALONE, Ranks

# More steps without a fresh Gram matrix and bfloat16's rounding outgrows the small singular values.
STEPS_A_GRAM = 3


def newton_schulz(x: Tensor, iterations: int, coefficients: tuple[float, float, float]) -> Tensor:
    """Matrices (N, rows, columns), rows <= columns, to approximately orthogonal ones with the same
    singular vectors; the singular values land in about 0.7 to 1.2. Zero rows and columns stay zero.

    A step multiplies x by a polynomial of its Gram matrix G = x x^T, and G's own next value follows from
    that polynomial: up to three steps are taken on (rows, rows) alone, then x is multiplied once."""
    a, b, c = coefficients
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    for done in range(0, iterations, STEPS_A_GRAM):
        gram = x @ x.mT
        product = None  # of the steps' polynomials, each a + b G + c G^2
        for left in reversed(range(min(STEPS_A_GRAM, iterations - done))):
            rest = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            if product is None:
                product = rest.clone()
                product.diagonal(dim1=1, dim2=2).add_(a)
            else:
                product = torch.baddbmm(product, rest, product, beta=a)
            if left:
                half = torch.baddbmm(gram, rest, gram, beta=a)
                gram = torch.baddbmm(half, half, rest, beta=a)
        x = x if product is None else product @ x
    return x


def buckets(weights: list[Tensor]) -> list[list[int]]:
    """Indices of filters whose matrices have as many rows, once laid with rows <= columns. One bucket is
    orthogonalised as one batch, padded with zero columns to its widest."""
    found: dict[int, list[int]] = defaultdict(list)
    for i, w in enumerate(weights):
        found[min(w.shape[0], w[0].numel())].append(i)
    return list(found.values())


def orthogonalise(
    updates: list[Tensor], iterations: int, coefficients: tuple[float, float, float], dtype: torch.dtype
) -> list[Tensor]:
    """Each update (out, in, kh, kw) made orthogonal as a matrix (out, in * kh * kw), computed in `dtype`."""
    out: list[Tensor] = list(updates)
    for bucket in buckets(updates):
        matrices = [as_matrix(updates[i]) for i in bucket]
        flipped = [m.mT if m.shape[0] > m.shape[1] else m for m in matrices]
        rows, columns = flipped[0].shape[0], max(m.shape[1] for m in flipped)
        stack = updates[0].new_zeros((len(bucket), rows, columns), dtype=dtype)
        for place, matrix in zip(stack, flipped, strict=True):
            place[:, : matrix.shape[1]].copy_(matrix)
        results = newton_schulz(stack, iterations, coefficients)
        for i, matrix, result in zip(bucket, matrices, results, strict=True):
            step = torch.empty_like(updates[i])
            tall = matrix.shape[0] > matrix.shape[1]
            as_matrix(step).copy_(result[:, : matrix.shape[0]].mT if tall else result[:, : matrix.shape[1]])
            out[i] = step
    return out


def shared(
    updates: list[Tensor],
    iterations: int,
    coefficients: tuple[float, float, float],
    dtype: torch.dtype,
    ranks: Ranks,
) -> list[Tensor]:
    """As `orthogonalise`, each rank working on its share of the updates."""
    if ranks.count == 1:
        return orthogonalise(updates, iterations, coefficients, dtype)
    hands = dealt([work(u) for u in updates], ranks.count)
    own = hands[ranks.rank]
    steps = [torch.empty_like(u) for u in updates]
    made = orthogonalise([updates[i] for i in own], iterations, coefficients, dtype)
    for i, step in zip(own, made, strict=True):
        steps[i].copy_(step)
    ranks.gather([[steps[i] for i in hand] for hand in hands])
    return steps


def work(update: Tensor) -> int:
    """Products of a Newton-Schulz iteration on an update, about."""
    rows = min(update.shape[0], update[0].numel())
    return rows * update.numel()


def dealt(costs: list[int], hands: int) -> list[list[int]]:
    """Indices of `costs` in `hands` lists of about the same sum: the largest first, to who has least."""
    held: list[list[int]] = [[] for _ in range(hands)]
    sums = [0] * hands
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        least = sums.index(min(sums))
        held[least].append(i)
        sums[least] += costs[i]
    return [sorted(hand) for hand in held]


def as_matrix(filters: Tensor) -> Tensor:
    """A view (out, in * kh * kw) of filters (out, in, kh, kw). Columns stand as they do in memory, which
    makes no difference to what is orthogonal."""
    if filters.is_contiguous(memory_format=torch.channels_last):
        filters = filters.permute(0, 2, 3, 1)
    return filters.view(filters.shape[0], -1)


def muon_step(
    weights: list[Tensor],
    grads: list[Tensor],
    velocity: list[Tensor],
    lr: Tensor,
    weight_decay: Tensor,
    momentum: Tensor,
    *,
    iterations: int,
    coefficients: tuple[float, float, float],
    reset: bool,
    dtype: torch.dtype,
    ranks: Ranks = ALONE,
) -> None:
    """One step in place on `weights` and `velocity`.

    Args:
        weights, grads, velocity: filters (out, in, kh, kw) of one floating dtype.
        lr, weight_decay, momentum: 0-d tensors on the weights' device, in their dtype.
        reset: whether the filters' norms are set to sqrt(out) first.
        dtype: what the Newton-Schulz products are computed in.
        ranks: each makes some of the filters' updates orthogonal and gives the others the result.
    """
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, grads)
    updates = torch._foreach_mul(velocity, momentum)
    torch._foreach_add_(updates, grads)
    keep = 1 - lr * weight_decay
    if reset:
        norms = torch._foreach_norm(weights)
        keeps = [keep * w.shape[0] ** 0.5 / n for w, n in zip(weights, norms, strict=True)]
        torch._foreach_mul_(weights, keeps)
    else:
        torch._foreach_mul_(weights, keep)
    steps = shared(list(updates), iterations, coefficients, dtype, ranks)
    torch._foreach_mul_(steps, lr)
    torch._foreach_sub_(weights, steps)
