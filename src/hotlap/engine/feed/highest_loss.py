"""Batches of the images whose loss was highest when they were last trained on, after some passes over all."""

from __future__ import annotations

from bisect import bisect_right

import torch
from torch import Tensor

from hotlap.data.device import DeviceSet
from hotlap.engine.feed.device import DeviceFeed
from hotlap.machine.backend import Backend
from hotlap.machine.ranks import ALONE, Ranks
from hotlap.plan import HighestLoss, Plan

UNSEEN = torch.finfo(torch.float32).max  # a number: a state that holds others is of a run that diverged


class HighestLossFeed(DeviceFeed):
    """A feed that notes each image's loss in the step that trains on it, and draws its passes from that.

    An epoch of the feed is a pass, and later passes are shorter. What is measured and shown by epochs still
    counts `steps_per_epoch`, as many as a pass over all images takes.

    Attributes:
        image_losses: (count,), of each image when it was last in a batch; before that the largest there is.
        ranked: (count,), what they were as the present pass began: its order follows from them and the seed.
        starts: first step of each pass, up to one that ends with the run or after it.
    """

    def __init__(
        self, plan: Plan, sampler: HighestLoss, images: DeviceSet, backend: Backend, ranks: Ranks = ALONE
    ):
        self.starts = [0]
        super().__init__(plan, images, backend, plan.batch_size, ranks)
        self.sampler, self.kept = sampler, int(sampler.share * len(images))
        self.image_losses = torch.full((len(images),), UNSEEN, device=backend.device)
        self.ranked = self.image_losses.clone()
        while self.starts[-1] < self.steps:
            passes = len(self.starts)
            steps = self.steps_per_epoch if passes <= sampler.full else self.kept // self.size
            self.starts.append(self.starts[-1] + steps)
        self.next_step = 0  # of the run, as the host counts

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self.image_losses.fill_(UNSEEN)
        self.ranked.fill_(UNSEEN)

    def epoch_of(self, step: int) -> int:
        return bisect_right(self.starts, step) - 1

    def first_of(self, epoch: int) -> int:
        return self.starts[epoch]

    def enter(self, step: int) -> None:
        self.next_step = step
        epoch = self.epoch_of(step)
        if step == self.first_of(epoch) and self.drawn != (self.seed, epoch):
            self.ranked.copy_(self.image_losses)
        super().enter(step)

    def push(self) -> None:
        """Where a pass begins, draw it."""
        if self.next_step in self.starts:
            self.enter(self.next_step)
        self.next_step += 1

    def _ordered(self, epoch: int) -> Tensor:
        order = super()._ordered(epoch)
        if epoch < self.sampler.full:
            return order
        hardest = self.ranked.topk(self.kept, sorted=False).indices
        left_out = torch.ones_like(order).index_fill_(0, hardest, 0)
        return order[left_out[order].argsort(stable=True)]

    def advance(self, losses: Tensor) -> None:
        self.image_losses.index_copy_(0, self.index(), losses.to(self.image_losses.dtype))
        super().advance(losses)

    def state(self) -> dict[str, Tensor]:
        return {"image_losses": self.image_losses, "ranked": self.ranked}
