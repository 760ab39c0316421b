"""Words that terminal and page have in common."""

from __future__ import annotations


def describe_views(views: int, share: float) -> str:
    """How many views of each image an accuracy is from."""
    if views == 1:
        return "1 view each"
    return f"{views} views " + (
        "each" if share == 1 else f"of the least certain {100 * share:g}%, 1 of the others"
    )
