"""What an example counts in the loss, by its class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.plan import CrossEntropy


def class_weights(
    loss: CrossEntropy, dataset: Dataset, device: torch.device, dtype: torch.dtype
) -> Tensor | None:
    """(classes,): one over each class's share of the training images, 1 on average over those; None where all
    count the same."""
    if loss.balance == "none":
        return None
    labels = torch.from_numpy(np.array(dataset.train.labels))
    counts = torch.bincount(labels, minlength=dataset.spec.classes).to(device, dtype)
    return len(labels) / (counts.clamp_min(1) * len(counts))
