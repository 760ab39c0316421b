"""Evaluation: which weights, which views, and what they score. Draws nothing and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from hotlap.data.augment import shift
from hotlap.data.device import DeviceSet
from hotlap.nets.layers import Network
from hotlap.program import Program

BATCH = 1000  # images a forward pass; small enough that activations stay modest, large enough to fill a GPU


@dataclass(frozen=True)
class View:
    """One way to look at an image: mirrored or not, moved down and right by pixels, and its weight."""

    flip: bool
    down: int
    right: int
    weight: float


PAIR = (False, True)
VIEWS: dict[str, tuple[View, ...]] = {
    "none": (View(False, 0, 0, 1.0),),
    "flip": tuple(View(f, 0, 0, 0.5) for f in PAIR),
    "flip_translate": (
        *(View(f, 0, 0, 0.25) for f in PAIR),
        *(View(f, d, d, 0.125) for d in (-1, 1) for f in PAIR),
    ),
    "flip_translate_even": tuple(View(f, d, d, 1 / 6) for d in (0, -1, 1) for f in PAIR),
}


@dataclass(frozen=True)
class Score:
    """What an evaluation found.

    Args:
        accuracy: share of images classified right, in percent.
        loss: mean cross entropy, in nats, without label smoothing.
        count: images.
        views: views an image; where only some images get more than one, of those.
        share: of the images, those that get all the views.
    """

    accuracy: float
    loss: float
    count: int
    views: int
    share: float = 1.0


@torch.no_grad()
def view_logits(
    model: Network, weights: dict[str, Tensor], images: DeviceSet, index: Tensor, tta: str
) -> Tensor:
    """Logits (B, classes) of the images at `index` (B,), averaged over the views of `tta`.

    Args:
        weights: used in place of the model's own tensors, by name.
    """
    _, height, width, _ = images.images.shape
    total: Tensor | None = None
    for view in VIEWS[tta]:
        maps = None
        if view.flip or view.down or view.right:
            rows, columns = (
                torch.arange(n, device=index.device).expand(len(index), n) for n in (height, width)
            )
            moves = (torch.full_like(index, by) for by in (-view.down, -view.right))
            rows, columns = (shift(at, by) for at, by in zip((rows, columns), moves, strict=True))
            maps = rows, columns.flip(1) if view.flip else columns
        logits = functional_call(model, weights, (images.read(index, maps),)) * view.weight
        total = logits if total is None else total + logits
    assert total is not None
    return total


def all_logits(
    model: Network, weights: dict[str, Tensor], images: DeviceSet, tta: str = "none", share: float = 1.0
) -> Tensor:
    """Logits (N, classes) of a whole set, in its order. Leaves the model in the mode it was in.

    Args:
        share: of the images that get the views of `tta`: those of which the plain view is least certain,
            by its largest probability. The others keep the plain view's logits.
    """
    was_training = model.training
    model.eval()

    def of(index: Tensor, views: str) -> Tensor:
        return torch.cat([view_logits(model, weights, images, part, views) for part in index.split(BATCH)])

    try:
        everything = torch.arange(len(images), device=images.labels.device)
        if share == 1 or tta == "none":
            return of(everything, tta)
        logits = of(everything, "none")
        certainty = logits.float().softmax(1).amax(1)
        index = certainty.topk(round(share * len(images)), largest=False).indices
        return logits.index_copy_(0, index, of(index, tta)) if len(index) else logits
    finally:
        model.train(was_training)


def score(logits: Tensor, labels: Tensor, views: int = 1, share: float = 1.0) -> Score:
    """Accuracy and loss of logits (N, classes) against labels (N,)."""
    right = (logits.argmax(1) == labels).sum().item()
    loss = F.cross_entropy(logits.float(), labels).item()
    return Score(100.0 * right / len(labels), loss, len(labels), views, share)


def evaluate(program: Program, tta: str | None = None) -> Score:
    """The program's test accuracy, with the weights its plan evaluates.

    Args:
        tta: views of every image; None takes the plan's, of the share of images it says.
    """
    plan = program.plan.evaluation
    share = plan.share if tta is None else 1.0
    tta = plan.tta if tta is None else tta
    logits = all_logits(program.model, program.evaluation_weights(), program.test_set, tta, share)
    return score(logits, program.test_set.labels, len(VIEWS[tta]), share)
