"""Where randomness comes from: one generator for each purpose and epoch, derived from the run's seed.

Nothing carries a generator's state from epoch to epoch, so a run resumed in the middle draws what the
uninterrupted run would have drawn. Evaluation draws nothing, so it cannot disturb training.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

Purpose = Literal["init", "order", "augment"]


def generator(
    seed: int, purpose: Purpose, *at: int | str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for `purpose`, e.g. `generator(seed, "order", epoch)`."""
    text = "/".join(map(str, (seed, purpose, *at)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    made = torch.Generator(device=device)
    made.manual_seed(int.from_bytes(digest, "little") >> 1)
    return made
