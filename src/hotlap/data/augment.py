"""Augmentation: what is changed about the training images, and how each image's change is drawn.

An operation draws its choices for a whole epoch in one bulk call, one row an image. Three kinds apply them:

* geometry (`edit`) says which source pixel each pixel is read from, on two small index maps, `rows` (B, H)
  and `columns` (B, W). However many there are, the images are read once, straight from the uint8 set.
* pixels (`paint`) changes the normalised batch (B, C, H, W).
* mixtures (`mix`) blends each image with the next of its batch, and its target with that one's.

They run in that order. For loading on the host, `pick` and `one` do the same to one image at a time.
The descriptions are data; torch is imported when they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    Generators = Callable[[int], torch.Generator]
    Maps = tuple[Tensor, Tensor]
    Image = np.ndarray[Any, np.dtype[np.float32]]

Mode = Literal["random", "balanced"]
GROUPS = 200  # Page's limit: a balanced draw uses at most this many different options an epoch


@dataclass(frozen=True)
class Epoch:
    """What a draw may know.

    Args:
        index: of the epoch, from 0.
        progress: share of the run done when the epoch starts.
        count: images in the set.
        height, width: of an image, pixels.
        generators: `generators(i)` is the generator of epoch i.
        device: where the choices are wanted.
    """

    index: int
    progress: float
    count: int
    height: int
    width: int
    generators: Generators
    device: torch.device


def draw_options(options: int, mode: Mode, at: Epoch) -> Tensor:
    """(count,) int64: an option for each image, drawn apart, or dealt out to equally large groups."""
    import torch

    generator = at.generators(at.index)
    if mode == "random":
        return torch.randint(options, (at.count,), generator=generator, device=at.device)
    dealt = torch.randperm(at.count, generator=generator, device=at.device)
    if options <= GROUPS:
        return dealt % options
    return torch.randperm(options, generator=generator, device=at.device)[:GROUPS][dealt % GROUPS]


@dataclass(frozen=True)
class Flip:
    """Mirror images left to right.

    Args:
        mode: `random` draws each image each epoch; `balanced` mirrors exactly half the set each epoch;
            `alternating` draws once, then mirrors every image in every other epoch, so that two epochs
            in a row see each image both ways (Jordan, 2024).
    """

    mode: Literal["random", "balanced", "alternating"] = "random"

    def draw(self, at: Epoch) -> Tensor:
        """Choices of one epoch, (count,) int64: 1 is mirrored."""
        import torch

        if self.mode == "alternating":
            first = torch.rand(at.count, generator=at.generators(0), device=at.device) < 0.5
            return (first ^ bool(at.index % 2)).long()
        if self.mode == "balanced":
            return draw_options(2, "balanced", at)
        return (torch.rand(at.count, generator=at.generators(at.index), device=at.device) < 0.5).long()

    def edit(self, choice: Tensor, rows: Tensor, columns: Tensor) -> Maps:
        """The maps after this operation; `choice` (B,) int64."""
        import torch

        return rows, torch.where(choice[:, None] == 1, columns.flip(1), columns)

    def pick(self, rng: np.random.Generator, height: int, width: int) -> int:
        return int(rng.random() < 0.5)

    def one(self, image: Image, choice: Any) -> Image:
        return image[..., ::-1] if choice else image


@dataclass(frozen=True)
class Translate:
    """Shift images by up to `pixels` in both directions, the edge mirrored; also known as pad-and-crop.

    Args:
        pixels: the largest shift.
        mode: `random` draws each image each epoch; `balanced` gives each of the (2 pixels + 1)^2 shifts
            (at most 200 of them) to equally many images each epoch (Page's groups).
    """

    pixels: int = 2
    mode: Mode = "random"

    def draw(self, at: Epoch) -> Tensor:
        """Choices of one epoch, (count,) int64: shift number, counted row by row."""
        return draw_options((2 * self.pixels + 1) ** 2, self.mode, at)

    def edit(self, choice: Tensor, rows: Tensor, columns: Tensor) -> Maps:
        """The maps after this operation; `choice` (B,) int64."""
        side = 2 * self.pixels + 1
        return (
            shift(rows, choice // side - self.pixels),
            shift(columns, choice % side - self.pixels),
        )

    def pick(self, rng: np.random.Generator, height: int, width: int) -> int:
        side = 2 * self.pixels + 1
        return int(rng.integers(side)) * side + int(rng.integers(side))

    def one(self, image: Image, choice: Any) -> Image:
        """A crop of an image that was padded by `pixels` on every side."""
        top, left = divmod(int(choice), 2 * self.pixels + 1)
        height, width = (n - 2 * self.pixels for n in image.shape[1:])
        return image[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class Cutout:
    """Blank a square of each image, wholly inside it, to the mean of the set (DeVries & Taylor, 2017).

    Args:
        pixels: side of the square.
        mode: as in `Translate`; the options are the places the square can be in.
    """

    pixels: int = 8
    mode: Mode = "random"

    def draw(self, at: Epoch) -> Tensor:
        """Choices of one epoch, (count,) int64: top * width + left of the square."""
        across = at.width - self.pixels + 1
        place = draw_options((at.height - self.pixels + 1) * across, self.mode, at)
        return place // across * at.width + place % across

    def paint(self, choice: Tensor, x: Tensor) -> Tensor:
        """The batch after this operation; `choice` (B,) int64, `x` (B, C, H, W)."""
        return x * (~squares(choice, x, self.pixels)).to(x.dtype)

    def pick(self, rng: np.random.Generator, height: int, width: int) -> int:
        n = self.pixels
        return int(rng.integers(height - n + 1)) * width + int(rng.integers(width - n + 1))

    def one(self, image: Image, choice: Any) -> Image:
        top, left = divmod(int(choice), image.shape[2])
        image = image.copy()
        image[:, top : top + self.pixels, left : left + self.pixels] = 0
        return image


def squares(choice: Tensor, x: Tensor, side: int) -> Tensor:
    """(B, 1, H, W) bool: true in the square of `side` pixels whose first pixel is number `choice` (B,)."""
    import torch

    height, width = x.shape[-2:]
    top, left = (choice // width)[:, None], (choice % width)[:, None]
    rows, columns = (torch.arange(n, device=x.device)[None] for n in (height, width))
    down, across = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    return down[:, None, :, None] & across[:, None, None, :]


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness and contrast: x becomes (x + b) * c, in units of the set's standard deviation.

    Args:
        brightness: b is uniform in +- this.
        contrast: c is uniform in 1 +- this.
    """

    brightness: float = 0.14
    contrast: float = 0.13

    def draw(self, at: Epoch) -> Tensor:
        """Choices of one epoch, (count, 2) float32: b and c."""
        import torch

        share = 2 * torch.rand(at.count, 2, generator=at.generators(at.index), device=at.device) - 1
        return share * torch.tensor([self.brightness, self.contrast], device=at.device) + torch.tensor(
            [0.0, 1.0], device=at.device
        )

    def paint(self, choice: Tensor, x: Tensor) -> Tensor:
        """The batch after this operation; `choice` (B, 2), `x` (B, C, H, W)."""
        b, c = choice.to(x.dtype)[:, :, None, None, None].unbind(1)
        return (x + b) * c

    def pick(self, rng: np.random.Generator, height: int, width: int) -> tuple[float, float]:
        return (
            float(rng.uniform(-self.brightness, self.brightness)),
            1 + float(rng.uniform(-self.contrast, self.contrast)),
        )

    def one(self, image: Image, choice: Any) -> Image:
        changed: Image = (image + choice[0]) * choice[1]
        return changed


@dataclass(frozen=True)
class Mixup:
    """Blend each image and its target with the next one of the batch (Zhang et al., 2018).

    Args:
        alpha: the share of the other image is drawn from Beta(alpha, alpha), and is at most one half.
        start: share of the run before which nothing is blended.
    """

    alpha: float = 0.2
    start: float = 0.0

    def draw(self, at: Epoch) -> Tensor:
        """Choices of one epoch, (count,) float32: the other image's share."""
        import torch

        generator = at.generators(at.index)
        a = torch.full((at.count, 2), self.alpha, dtype=torch.float64)
        # gamma draws need a CPU generator; two of them make a beta draw, also where both are all but 0
        seeded = torch.Generator().manual_seed(generator.initial_seed())
        first, second = torch._standard_gamma(a, generator=seeded).clamp_min(1e-300).unbind(1)
        share = (first / (first + second)).float().to(at.device)
        return torch.minimum(share, 1 - share) * float(at.progress >= self.start)

    def mix(self, choice: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Batch and target probabilities (B, classes) after this operation; `choice` (B,)."""
        share = choice.to(x.dtype)[:, None, None, None]
        return x + share * (x.roll(-1, 0) - x), blend(target, choice)


@dataclass(frozen=True)
class Cutmix:
    """Paste a square of the next image of the batch, and blend the targets by its area (Yun et al., 2019).

    Args:
        pixels: side of the square.
        start: share of the run before which nothing is pasted.
    """

    pixels: int = 3
    start: float = 0.0

    def draw(self, at: Epoch) -> Tensor:
        """Choices of one epoch, (count,) int64: first pixel of the square, or -1 for none."""
        import torch

        place = Cutout(self.pixels).draw(at)
        return place if at.progress >= self.start else torch.full_like(place, -1)

    def mix(self, choice: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Batch and target probabilities (B, classes) after this operation; `choice` (B,) int64."""
        import torch

        pasted = choice >= 0
        inside = squares(choice, x, self.pixels) & pasted[:, None, None, None]
        share = pasted * (self.pixels**2 / (x.shape[-2] * x.shape[-1]))
        return torch.where(inside, x.roll(-1, 0), x), blend(target, share)


def blend(target: Tensor, share: Tensor) -> Tensor:
    """Target probabilities (B, classes) with `share` (B,) of the next row's in each."""
    return target + share.to(target.dtype)[:, None] * (target.roll(-1, 0) - target)


def shift(index: Tensor, by: Tensor) -> Tensor:
    """`index` (B, n) read at positions moved by `by` (B,), mirrored at the ends without repeating them."""
    import torch

    n = index.shape[1]
    at = torch.arange(n, device=index.device)[None] + by[:, None]
    at = at.abs()
    at = torch.where(at >= n, 2 * (n - 1) - at, at)
    return index.gather(1, at)


Geometry = (Flip, Translate)
Pixels = (Cutout, ColorJitter)
Mixture = (Mixup, Cutmix)
Augmentation = Flip | Translate | Cutout | ColorJitter | Mixup | Cutmix
