"""How large the images of a set are made, where the user does not say."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

SIDES = (32, 48, 64, 96, 128, 160, 224)
SMALL = 96  # images that are all alike and no larger than this stay as they are
BUDGET = 1 << 28  # pixels of an epoch: 65,536 images of 64x64
SAMPLE = 1000  # images whose sizes are looked at, evenly over the training images


def choose_size(sizes: Sequence[tuple[int, int]], count: int) -> tuple[tuple[int, int], str]:
    """The (height, width) that images are brought to, and why, in words.

    * Images that all have one size of at most 96 pixels a side keep it.
    * Others become square. The side is the largest of 32, 48, 64, 96, 128, 160 and 224 that is not above the
      median of their short sides (more would be made up), and that leaves an epoch at no more than 2**28
      pixels (more takes long without need: 2,600 images at 224, 16,000 at 128, 65,000 at 64); at least 32.

    Args:
        sizes: (height, width) of a sample of the training images, at least one.
        count: training images.
    """
    height, width = sizes[0]
    if all(s == sizes[0] for s in sizes) and max(height, width) <= SMALL:
        return (height, width), f"all images are {height}x{width}"
    short = median(min(s) for s in sizes)
    side = max((s for s in SIDES if s <= short and count * s * s <= BUDGET), default=SIDES[0])
    return (side, side), f"{count:,} training images with a median short side of {short:g} px"


def sample(count: int, most: int = SAMPLE) -> list[int]:
    """Up to `most` places among `count`, evenly, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
