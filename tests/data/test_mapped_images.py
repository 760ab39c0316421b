"""Images that are too many to be held stay in their file, and batches come out the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import FP32, noise_dataset
from hotlap.data import device
from hotlap.data.dataset import Split
from hotlap.data.device import DeviceSet, mapping_of


@pytest.fixture
def mapped(tmp_path):
    """The split of a small set, its images mapped from a file as a pack's are: a view of a view of it."""
    split = noise_dataset(train=50, test=10).train
    raw = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(64 + split.images.nbytes,))
    raw[64:] = split.images.reshape(-1)
    raw.flush()
    read = np.asarray(np.memmap(tmp_path / "images", np.uint8, mode="r"))
    return Split(read[64:].view(np.uint8).reshape(split.images.shape), split.labels)


def test_a_mapped_set_reads_as_a_held_one_and_is_not_copied(mapped, monkeypatch):
    spec = noise_dataset(train=50, test=10).spec
    held = DeviceSet(mapped, spec, FP32)
    held.fill(mapped)
    assert held.mapping is None
    assert not np.shares_memory(held.images.numpy(), mapped.images)
    monkeypatch.setattr(device, "MOST_HELD", 100)
    monkeypatch.setattr(device, "MOST_READ", 1000)  # pages are given back after every batch
    large = DeviceSet(mapped, spec, FP32)
    large.fill(mapped)
    assert large.mapping is mapping_of(mapped.images)
    assert np.shares_memory(large.images.numpy(), mapped.images)
    index = torch.tensor([3, 49, 0, 3])
    maps = torch.arange(spec.height).expand(4, -1), torch.arange(spec.width).flip(0).expand(4, -1)
    for _ in range(3):
        assert torch.equal(large.read(index), held.read(index))
        assert torch.equal(large.read(index, maps), held.read(index, maps))
        assert large.read_bytes < 1000 + 4 * held.images[0].numel()


def test_what_lies_in_memory_is_held_however_large(monkeypatch):
    data = noise_dataset(train=50, test=10)
    monkeypatch.setattr(device, "MOST_HELD", 100)
    made = DeviceSet(data.train, replace(data.spec), FP32)
    made.fill(data.train)
    assert made.mapping is None
    assert torch.equal(made.images, torch.from_numpy(data.train.images))
