"""From an image of any size to what the net reads, as a module that leaves with the net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hotlap.data.fit import shade
from hotlap.runs.checkpoint import Preprocessing
from hotlap.spec import DataSpec

BITS = 22  # of a weight's fraction in Pillow's resampling of 8-bit images
HALF = 2 ** (BITS // 2)  # a weight is kept as two numbers of so many levels


class Preprocess(nn.Module):
    """Images (N, H, W, C) uint8 of any height and width to (N, C, h, w) float32, normalised, as hotlap's own
    pipeline makes them: `hotlap.data.fit`, then mean and standard deviation of the training images.

    Resizing is that of Pillow's `Image.resize(..., BILINEAR)`: along the rows and then along the columns a
    product with a matrix of triangles, each rounded to whole levels. The matrices are made from H and W
    inside the module, for the rows and columns that are kept only, so that cropping costs nothing and padding
    is rows of zeros.

    Pillow's weights are whole numbers of 2^-22, which decides how ties are rounded. A sum of them needs 30
    bits, so their upper and lower 11 bits are multiplied apart; float32 (and TF32) holds both sums exactly,
    up to images 32 times as large as what is made of them. Beyond, a tie in a million may go the other way.

    Args:
        how: size, fit and background.
        spec: mean and standard deviation a channel, on the 0-255 scale.
    """

    scale: Tensor
    shift: Tensor
    background: Tensor

    def __init__(self, how: Preprocessing, spec: DataSpec):
        super().__init__()
        self.size, self.fit = how.size, how.fit
        std = torch.tensor(spec.std, dtype=torch.float64).clamp_min(1e-3)
        mean = torch.tensor(spec.mean, dtype=torch.float64)
        background = torch.tensor(
            shade(how.background, spec.channels) if how.fit == "pad" else (0.0,), dtype=torch.float32
        )
        for name, value in (("scale", 1 / std), ("shift", -mean / std), ("background", background)):
            self.register_buffer(name, value.to(torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.normalise(self.resize(images))

    def normalise(self, levels: Tensor) -> Tensor:
        """(N, C, h, w) on the 0-255 scale to mean 0 and standard deviation 1."""
        return levels * self.scale + self.shift

    def resize(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 to (N, C, h, w) float32 of whole levels."""
        height, width = (torch.full((), images.shape[i], dtype=torch.float64) for i in (1, 2))
        rows, columns = self.sides(height, width)
        levels = images.permute(0, 3, 1, 2).to(torch.float32)
        upper, lower, across = weights(images.shape[2], width, columns, self.size[1])
        levels = rounded(levels @ upper.T, levels @ lower.T)
        upper, lower, down = weights(images.shape[1], height, rows, self.size[0])
        levels = rounded(upper @ levels, lower @ levels)
        if self.fit != "pad":
            return levels
        return torch.where(down[:, None] & across, levels, self.background)

    def sides(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width of the whole image once it is resized; scalars of float64, as what comes in."""
        h, w = (torch.full((), n, dtype=torch.float64) for n in self.size)
        if self.fit == "stretch":
            return h, w
        by_height = height * w <= width * h  # the image is wider than what is wanted
        if self.fit == "pad":
            by_height = ~by_height
        rows = torch.round(height * w / width)
        columns = torch.round(width * h / height)
        if self.fit == "crop":
            rows, columns = torch.maximum(rows, h), torch.maximum(columns, w)
        else:
            rows, columns = (n.clamp(min=1) for n in (rows, columns))
        return torch.where(by_height, h, rows), torch.where(by_height, columns, w)


def weights(count: int, size: Tensor, to: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """How `keep` pixels, from the middle of `to`, are made of `size` along an axis.

    Args:
        count: the same as `size`, as a number.
        size, to: scalars of float64.

    Returns:
        two matrices (keep, count) float32 of whole numbers: the upper halves of Pillow's weights (in units of
        2^-11) and the lower (of 2^-22, from -1024 to 1023); and (keep,) bool: which pixels lie on the image.
    """
    step = size / to
    reach = step.clamp(min=1)
    cut, padded = ((n / 2).clamp(min=0).floor() for n in (to - keep, keep - to))
    at = torch.arange(keep, dtype=torch.float64) + cut - padded
    inside = (at >= 0) & (at < to)
    centre = (at + 0.5) * step
    distance = torch.arange(count, dtype=torch.float64) - centre[:, None] + 0.5
    triangle = (1 - (distance / reach).abs()).clamp(min=0)
    share = triangle / triangle.sum(1, keepdim=True).clamp(min=1e-9)  # a pixel off the image is made of none
    whole = torch.floor(share * 2**BITS + 0.5)
    upper = torch.floor((whole + HALF / 2) / HALF)
    return upper.to(torch.float32), (whole - upper * HALF).to(torch.float32), inside


def rounded(upper: Tensor, lower: Tensor) -> Tensor:
    """Sums of levels by the two halves of their weights, to whole levels; a half goes up."""
    return torch.floor((upper + torch.floor(lower / HALF) + HALF / 2) / HALF)
