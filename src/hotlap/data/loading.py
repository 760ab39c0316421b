"""How batches of training images come to be and how large they are, as descriptions. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DeviceLoader:
    """The whole set lies on the device in uint8; a batch is read, augmented and normalised there, in bulk."""


@dataclass(frozen=True)
class HostLoader:
    """Images are prepared one by one on the host, in Python, and batches copied to the device.

    This is how the series starts and how most training scripts load; it is here to be measured.

    Args:
        preprocess: `epoch` normalises, transposes and pads each image every time it is used; `once` does
            it to the whole set before the first epoch, in the training time.
        random: `example` calls the random number generator for each image; `bulk` once an epoch.
        workers: loader processes; 0 prepares batches in the training process.
    """

    preprocess: Literal["epoch", "once"] = "once"
    random: Literal["example", "bulk"] = "bulk"
    workers: int = 0


Loader = DeviceLoader | HostLoader


@dataclass(frozen=True)
class Resolution:
    """Progressive resizing: smaller images early in the run.

    Args:
        until: shares of the run, increasing, at which a stretch of smaller images ends.
        scale: of each stretch, the images' sides as a share of the set's. After the last they are whole.
    """

    until: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def at(self, progress: float) -> float:
        """The scale when this share of the run is done."""
        return next((s for u, s in zip(self.until, self.scale, strict=True) if progress < u - 1e-9), 1.0)


def sides(height: int, width: int, scale: float) -> tuple[int, int]:
    """Pixels down and across of images brought to `scale` times their sides."""
    return max(1, round(scale * height)), max(1, round(scale * width))
