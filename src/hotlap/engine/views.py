"""Views at test time: how an image is looked at, and the logits that come of it. Draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from hotlap.data.augment import shift
from hotlap.data.device import DeviceSet
from hotlap.machine.ranks import ALONE, Ranks
from hotlap.nets.network import Network

BATCH = 1000  # images of 32x32 a forward pass; activations stay modest, and a GPU is full; larger ones fewer


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


def together(images: DeviceSet) -> int:
    """How many images go through the net at once."""
    _, height, width, _ = images.images.shape
    return max(1, BATCH * 32 * 32 // max(height * width, 32 * 32))


@torch.no_grad()
def view_logits(
    model: Network,
    weights: dict[str, Tensor],
    images: DeviceSet,
    index: Tensor,
    tta: str,
    plain: Tensor | None = None,
) -> Tensor:
    """Logits (B, classes) of the images at `index` (B,), averaged over the views of `tta`.

    Args:
        weights: used in place of the model's own tensors, by name.
        plain: logits (B, classes) of the images as they are, where they are known.
    """
    _, height, width, _ = images.images.shape
    total: Tensor | None = None
    for view in VIEWS[tta]:
        as_it_is = not (view.flip or view.down or view.right)
        maps = None
        if not as_it_is:
            rows, columns = (
                torch.arange(n, device=index.device).expand(len(index), n) for n in (height, width)
            )
            moves = (torch.full_like(index, by) for by in (-view.down, -view.right))
            rows, columns = (shift(at, by) for at, by in zip((rows, columns), moves, strict=True))
            maps = rows, columns.flip(1) if view.flip else columns
        known = plain if as_it_is else None
        logits = functional_call(model, weights, (images.read(index, maps),)) if known is None else known
        total = logits * view.weight if total is None else total + logits * view.weight
    assert total is not None
    return total


def all_logits(
    model: Network,
    weights: dict[str, Tensor],
    images: DeviceSet,
    tta: str = "none",
    share: float = 1.0,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Logits (N, classes) of a whole set, in its order. Leaves the model in the mode it was in.

    Args:
        share: of the images that get the views of `tta`: those of which the plain view is least certain,
            by its largest probability. The others keep the plain view's logits.
        ranks: that each look at their part of the images.
    """
    was_training = model.training
    model.eval()

    def of(index: Tensor, views: str, plain: Tensor | None = None) -> Tensor:
        def seen(own: Tensor) -> Tensor:
            parts = own.split(together(images))
            known = [None if plain is None else plain.index_select(0, part) for part in parts]
            each = zip(parts, known, strict=True)
            return torch.cat([view_logits(model, weights, images, part, views, k) for part, k in each])

        return ranks.spread(seen, index)

    try:
        everything = torch.arange(len(images), device=images.labels.device)
        if share == 1 or tta == "none":
            return of(everything, tta)
        logits = of(everything, "none")
        certainty = logits.float().softmax(1).amax(1)
        index = certainty.topk(round(share * len(images)), largest=False).indices
        if not len(index):
            return logits
        return logits.index_copy_(0, index, of(index, tta, logits))
    finally:
        model.train(was_training)
