"""Augmentation as geometry: which source pixel each pixel of the batch is read from.

An operation draws its choices for the whole epoch in one bulk call (one value an image), and then edits
two small index maps a batch, `rows` (B, H) and `columns` (B, W). However many operations a plan has, the
images are read once, straight from the uint8 set, with no padded or flipped copy in between.

The descriptions are data; torch is imported when they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Generators = Callable[[int], torch.Generator]
    Maps = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Flip:
    """Mirror images left to right.

    Args:
        mode: `random` draws each image each epoch; `balanced` mirrors exactly half the set each epoch;
            `alternating` draws once, then mirrors every image in every other epoch, so that two epochs
            in a row see each image both ways (Jordan, 2024).
    """

    mode: Literal["random", "balanced", "alternating"] = "random"

    def draw(self, count: int, epoch: int, generators: Generators, device: torch.device) -> Tensor:
        """Choices of one epoch, (count,) int64: 1 is mirrored."""
        import torch

        if self.mode == "alternating":
            first = torch.rand(count, generator=generators(0), device=device) < 0.5
            return (first ^ bool(epoch % 2)).long()
        if self.mode == "balanced":
            return torch.randperm(count, generator=generators(epoch), device=device) % 2
        return (torch.rand(count, generator=generators(epoch), device=device) < 0.5).long()

    def edit(self, choice: Tensor, rows: Tensor, columns: Tensor) -> Maps:
        """The maps after this operation; `choice` (B,) int64."""
        import torch

        return rows, torch.where(choice[:, None] == 1, columns.flip(1), columns)


@dataclass(frozen=True)
class Translate:
    """Shift images by up to `pixels` in both directions, the edge mirrored; also known as pad-and-crop.

    Args:
        pixels: the largest shift.
        mode: `random` draws each image each epoch; `balanced` gives each of the (2 pixels + 1)^2 shifts
            to equally many images each epoch (Page's groups).
    """

    pixels: int = 2
    mode: Literal["random", "balanced"] = "random"

    def draw(self, count: int, epoch: int, generators: Generators, device: torch.device) -> Tensor:
        """Choices of one epoch, (count,) int64: shift number, counted row by row."""
        import torch

        options = (2 * self.pixels + 1) ** 2
        generator = generators(epoch)
        if self.mode == "balanced":
            return torch.randperm(count, generator=generator, device=device) % options
        return torch.randint(options, (count,), generator=generator, device=device)

    def edit(self, choice: Tensor, rows: Tensor, columns: Tensor) -> Maps:
        """The maps after this operation; `choice` (B,) int64."""
        side = 2 * self.pixels + 1
        return (
            shift(rows, choice // side - self.pixels),
            shift(columns, choice % side - self.pixels),
        )


def shift(index: Tensor, by: Tensor) -> Tensor:
    """`index` (B, n) read at positions moved by `by` (B,), mirrored at the ends without repeating them."""
    import torch

    n = index.shape[1]
    at = torch.arange(n, device=index.device)[None] + by[:, None]
    at = at.abs()
    at = torch.where(at >= n, 2 * (n - 1) - at, at)
    return index.gather(1, at)


Augmentation = Flip | Translate
