"""A split of a data set on the device, in uint8, from which batches are read."""

from __future__ import annotations

import mmap
import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hotlap.data.dataset import Split
from hotlap.machine.backend import Backend
from hotlap.spec import DataSpec

MOST_HELD = 1 << 30  # bytes of images that are brought into memory
MOST_READ = 1 << 28  # bytes of a mapped file that may stay in memory


def mapping_of(array: npt.NDArray[np.uint8]) -> mmap.mmap | None:
    """The memory map that an array is a view of; None if it lies in memory."""
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base


class DeviceSet:
    """Images (N, H, W, C) uint8 and labels (N,) int64 on one device.

    Holds dummy images (random) and labels (0) until `fill` is called, so that compiling and capturing see
    the final addresses and shapes but no data.

    Args:
        split: the host's copy; only its shapes are used here.
        spec: gives the mean and standard deviation for normalising.
        backend: the device, and the dtype and memory format of batches.

    Attributes:
        shape: (channels, height, width) of an image.
        classes: how many there are.
    """

    def __init__(self, split: Split, spec: DataSpec, backend: Backend):
        device, wide = backend.device, backend.weights_dtype
        self.images = torch.empty(split.images.shape, dtype=torch.uint8, device=device)
        self.labels = torch.zeros(len(split), dtype=torch.int64, device=device)
        if backend.device.type == "cuda" or backend.compile:
            self.images.random_(256)
        self.dtype, self.memory_format = backend.dtype, backend.format
        self.shape, self.classes = spec.shape, spec.classes
        self.mapping: mmap.mmap | None = None  # of the file that the images stay in
        self.read_bytes = 0
        std = torch.tensor(spec.std, dtype=torch.float64).clamp_min(1e-3)  # a constant channel stays finite
        mean = torch.tensor(spec.mean, dtype=torch.float64)
        self.scale = (1 / std).to(device, wide)
        self.shift = (-mean / std).to(device, wide)

    def fill(self, split: Split) -> None:
        """Copy the split's images and labels in. On a CPU, images of more than `MOST_HELD` bytes stay in the
        file they are mapped from, and are read batch by batch."""
        with warnings.catch_warnings():  # a read-only memory map is fine to read from
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self.labels.copy_(torch.from_numpy(np.asarray(split.labels)))
            images = torch.from_numpy(np.asarray(split.images))
        large = self.images.device.type == "cpu" and split.images.nbytes > MOST_HELD
        self.mapping = mapping_of(split.images) if large else None
        if self.mapping is not None:
            self.images = images
        else:
            self.images.copy_(images)

    def _let_go(self, images: int) -> None:
        """Give back the pages of the file that were read, once they are many."""
        self.read_bytes += images * self.images[0].numel()
        if self.mapping is not None and self.read_bytes > MOST_READ:
            self.mapping.madvise(mmap.MADV_DONTNEED)
            self.read_bytes = 0

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: Tensor, maps: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Normalised images (B, C, H, W) at `index` (B,) int64, in this set's dtype and memory format.

        `maps` are source rows (B, H) and columns (B, W) of each pixel, int64; none reads images as they are.
        """
        n, h, w, c = self.images.shape
        if maps is None:
            batch = self.images.index_select(0, index)
        else:
            # whole rows first, then columns within them: several times faster on a CPU than one
            # three-way index, and two kernels either way on a GPU
            rows, columns = maps
            b = len(index)
            lines = self.images.view(n * h, w * c).index_select(0, (index[:, None] * h + rows).view(-1))
            offsets = (columns[:, :, None] * c + torch.arange(c, device=index.device)).view(b, 1, w * c)
            batch = lines.view(b, h, w * c).gather(2, offsets.expand(b, h, w * c)).view(b, h, w, c)
        if self.mapping is not None:
            self._let_go(len(index))
        return self.normalise(batch)

    def normalise(self, batch: Tensor) -> Tensor:
        """(B, H, W, C) uint8 to (B, C, H, W) with mean 0 and standard deviation 1 a channel."""
        x = torch.addcmul(self.shift, batch.to(self.scale.dtype), self.scale).to(self.dtype)
        return x.permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)
