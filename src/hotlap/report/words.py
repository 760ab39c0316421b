"""Words that terminal and page have in common."""

from __future__ import annotations

import math

FEW = 1000  # images, of which an accuracy says how far it may be off; of more its hundredths mislead less


def describe_views(views: int, share: float) -> str:
    """How many views of each image an accuracy is from."""
    if views == 1:
        return "1 view each"
    return f"{views} views " + (
        "each" if share == 1 else f"of the least certain {100 * share:g}%, 1 of the others"
    )


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The interval in which the true share lies in 95 of 100 cases (Wilson, 1927); shares are 0 to 1."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def how_sure(accuracy: float, images: int) -> str:
    """`95% interval 93.5 to 99.0%` of an accuracy in percent over few images; empty over many.

    It is of new images like these, and knows nothing of how runs differ from one another.
    """
    if not 0 < images < FEW:
        return ""
    low, high = wilson(accuracy / 100, images)
    return f"95% interval {100 * low:.1f} to {100 * high:.1f}%"
