"""How images of one's own are read, and in which columns of a table they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hotlap.errors import UserError, did_you_mean

Told = Callable[[int, int, float], None]
"""Told of progress: images done, of how many, decoded a second."""


_HOWS = ("crop", "pad", "stretch")  # of `hotlap.data.fit`, which imports Pillow
_LARGEST = 4096


@dataclass(frozen=True)
class Options:
    """How a set of one's own is read.

    Args:
        size: (height, width) in pixels; None chooses it from the images.
        fit: `crop`, `pad` or `stretch`.
        strict: stop if an image does not read.
        classes: names in label order of the classes that a model knows, which is to be measured; then nothing
            is trained on. None makes the classes from the training images.
        channels: 1 or 3; None chooses from the images.
    """

    size: tuple[int, int] | None = None
    fit: str = "crop"
    strict: bool = False
    classes: tuple[str, ...] | None = None
    channels: int | None = None


@dataclass(frozen=True)
class Columns:
    """The columns of a table, if they are not to be guessed; and where its images lie, if not beside it."""

    images: str | None = None
    labels: str | None = None
    root: Path | None = None


def check_options(size: int | tuple[int, int] | None, fit: str, strict: bool) -> Options:
    """How images of one's own are read.

    Raises:
        UserError: a size under 1 or over 4096, or no way to fit.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size) if size is not None else None
    if sides is not None and (
        len(sides) != 2 or not all(isinstance(s, int) and 1 <= s <= 4096 for s in sides)
    ):
        raise UserError(f"--size {size}: give the pixels of a side, 1 to 4096, or height and width as 48x64")
    if fit not in _HOWS:
        raise UserError(f"--fit {fit}: no such way{did_you_mean(fit, _HOWS)}; there are {', '.join(_HOWS)}")
    return Options((sides[0], sides[1]) if sides else None, fit, strict)
