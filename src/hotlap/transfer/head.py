"""A linear classifier fitted on fixed features: logistic regression, its settings by cross-validation.

Where the trunk brings the classifier it was trained with, ours starts from it. Each of our classes is first
read as a mixture of the trunk's own, those its training images look like; what is learnt is how far to trust
that, and a correction, which weight decay keeps small. With a few hundred images this is worth more than
anything else that was tried (docs/log.md): a plain regression has to find again what the trunk knew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DECAYS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # of the correction's mean square, beside the mean loss
FOLDS = 5
HELD_OUT_FROM = 4000  # images from which one fold is held out instead of each in turn
ITERATIONS = 100


@dataclass(frozen=True)
class Tried:
    """What cross-validation found of one weight decay: accuracy in percent, and mean loss in nats."""

    weight_decay: float
    accuracy: float
    loss: float


@dataclass(frozen=True)
class Head:
    """A fitted classifier: logits = features @ weight.T + bias.

    Args:
        weight: (classes, features) float32.
        bias: (classes,) float32.
        weight_decay: the one taken, of least cross-validated loss.
        trust: what the trunk's own opinion is multiplied by; 0 where it has none.
        tried: what cross-validation found, by weight decay.
    """

    weight: Tensor
    bias: Tensor
    weight_decay: float
    trust: float
    tried: tuple[Tried, ...]

    def logits(self, features: Tensor) -> Tensor:
        """(N, V, features) float32, averaged over views; (N, classes)."""
        return features.float().mean(1) @ self.weight.T + self.bias


@dataclass(frozen=True)
class Opinion:
    """The trunk's own classifier on the features: weight (K, features) and bias (K,), float32."""

    weight: Tensor
    bias: Tensor


def fit_head(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    opinion: Opinion | None = None,
    class_weights: Tensor | None = None,
    decays: Sequence[float] = DECAYS,
    seed: int = 0,
) -> Head:
    """The classifier of least cross-validated loss.

    Args:
        features: (N, V, F): of each image, the features of its V views. Every view is an example; an image's
            views are never parted between fitting and validation.
        labels: (N,) int64, 0 to `classes` - 1.
        opinion: the trunk's own classifier, if it brings one.
        class_weights: (classes,), what an example's loss counts, by its class.
        decays: weight decays to choose from.
        seed: of the folds.

    Returns:
        The head, fitted on all images with the weight decay chosen.
    """
    x, y = features.float(), labels
    weights = torch.ones(classes) if class_weights is None else class_weights.float()
    parts = [(Problem(x[a], y[a], classes, opinion, weights), b) for a, b in folds(y, seed)]
    scored = []
    for decay in sorted(decays, reverse=True):  # from the stiffest on, each starts where the last one ended
        right, loss, count = 0, 0.0, 0
        for problem, outside in parts:
            weight, bias, _ = problem.solve(decay)
            logits = x[outside].mean(1) @ weight.T + bias
            right += int((logits.argmax(1) == y[outside]).sum())
            loss += float(F.cross_entropy(logits, y[outside], reduction="sum"))
            count += len(outside)
        scored.append(Tried(decay, 100 * right / max(count, 1), loss / max(count, 1)))
    best = min(scored, key=lambda t: t.loss)
    weight, bias, trust = Problem(x, y, classes, opinion, weights).solve(best.weight_decay)
    return Head(weight, bias, best.weight_decay, trust, tuple(sorted(scored, key=lambda t: t.weight_decay)))


class Problem:
    """Minimise the mean loss over all views of x (N, V, F), plus a weight decay times the mean square of the
    correction's weights, for one weight decay after another.

    Features are brought to mean 0 and one scale for all, so that a decay means the same for every trunk; with
    fewer examples than features the problem is solved among the examples' own directions, which is the same
    and smaller. L-BFGS, in float64.
    """

    def __init__(
        self, x: Tensor, y: Tensor, classes: int, opinion: Opinion | None, class_weights: Tensor
    ) -> None:
        n, views, width = x.shape
        flat, self.target = x.reshape(n * views, width).double(), y.repeat_interleave(views)
        self.prior = prior(flat, self.target, classes, opinion)
        self.said = flat @ self.prior[0].T + self.prior[1]
        self.mean = flat.mean(0)
        centred = flat - self.mean
        self.scale = centred.square().sum(1).mean().sqrt().clamp_min(1e-12) / width**0.5
        self.basis = directions(centred)
        self.small = (centred if self.basis is None else centred @ self.basis) / self.scale
        counts = class_weights.double()[self.target]
        self.counts = counts / counts.sum()
        self.w = torch.zeros(classes, self.small.shape[1] + 1, dtype=torch.float64, requires_grad=True)
        self.trust = torch.tensor(float(opinion is not None), dtype=torch.float64)
        self.trust.requires_grad_(opinion is not None)

    def solve(self, decay: float) -> tuple[Tensor, Tensor, float]:
        """Weight (classes, F) and bias (classes,) float32, and the trust; from the last solution on."""
        free = [t for t in (self.w, self.trust) if t.requires_grad]
        solver = torch.optim.LBFGS(
            free,
            max_iter=ITERATIONS,
            tolerance_grad=1e-5,
            tolerance_change=1e-8,
            line_search_fn="strong_wolfe",
        )
        per_weight = decay / self.mean.numel()

        def objective() -> Tensor:
            solver.zero_grad()
            logits = self.trust * self.said + self.small @ self.w[:, :-1].T + self.w[:, -1]
            losses = F.cross_entropy(logits, self.target, reduction="none")
            total = (self.counts * losses).sum() + per_weight * self.w[:, :-1].square().sum()
            total.backward()
            return total

        solver.step(objective)
        w, trust = self.w.detach(), self.trust.detach()
        rows = w[:, :-1] / self.scale
        rows = rows if self.basis is None else rows @ self.basis.T
        weight = trust * self.prior[0] + rows
        bias = trust * self.prior[1] + w[:, -1] - rows @ self.mean
        return weight.float(), bias.float(), float(trust)


def prior(x: Tensor, y: Tensor, classes: int, opinion: Opinion | None) -> tuple[Tensor, Tensor]:
    """Our classes as mixtures of the trunk's: weight (classes, F) and bias (classes,), float64.

    Class c is the mean of the trunk's classifiers, weighted by the mean probability that the trunk gives each
    on the images of class c.
    """
    if opinion is None:
        return torch.zeros(classes, x.shape[1], dtype=torch.float64), torch.zeros(
            classes, dtype=torch.float64
        )
    weight, bias = opinion.weight.double(), opinion.bias.double()
    likes = (x @ weight.T + bias).softmax(1)
    sums = torch.zeros(classes, weight.shape[0], dtype=torch.float64).index_add_(0, y, likes)
    counts = torch.bincount(y, minlength=classes).clamp_min(1)
    mixtures = sums / counts[:, None]
    return mixtures @ weight, mixtures @ bias


def directions(x: Tensor) -> Tensor | None:
    """An orthonormal basis (F, R) of the rows of x (N, F) where they are fewer than F; else None."""
    n, width = x.shape
    if n >= width:
        return None
    basis: Tensor = torch.linalg.qr(x.T).Q
    return basis


def folds(labels: Tensor, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of image numbers, inside and outside, stratified: every class is spread over all folds.

    From `HELD_OUT_FROM` images on there is one pair, a fifth outside.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty(len(labels), dtype=torch.int64)
    fold[by_class] = torch.arange(len(labels)) % FOLDS
    used = range(1) if len(labels) >= HELD_OUT_FROM else range(FOLDS)
    pairs = [((fold != i).nonzero()[:, 0], (fold == i).nonzero()[:, 0]) for i in used]
    return [(inside, outside) for inside, outside in pairs if len(inside) and len(outside)]
