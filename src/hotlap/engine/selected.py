"""Batches of hard examples, picked beforehand by a small net that is trained on all of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.data.device import DeviceSet
from hotlap.engine.feed.device import DeviceFeed
from hotlap.engine.program import Program
from hotlap.machine.backend import Backend
from hotlap.machine.ranks import ALONE, Ranks
from hotlap.optim.groups import Group, Phase
from hotlap.plan import HardExamples, Plan, Shuffle
from hotlap.plan.checks import check_plan


class Selector(Program):
    """Trains the proxy net and notes which images of each batch it finds hardest.

    Args:
        plan: of the main net; rates, schedules and augmentation are its.
        sampler: the proxy net and how it is used.

    Attributes:
        picks: (steps, batch) int64, the images kept at each step, in the order they were drawn.
    """

    def __init__(
        self, plan: Plan, sampler: HardExamples, dataset: Dataset, images: DeviceSet, backend: Backend
    ):
        self.sampler = sampler
        proxy = replace(plan, net=sampler.net, sampler=Shuffle(), after=(), freeze=())
        check_plan(proxy, dataset.spec)
        feed = DeviceFeed(proxy, images, backend, sampler.of)
        super().__init__(proxy, dataset, backend, feed, DeviceSet(dataset.test, dataset.spec, backend))
        self.picks = torch.zeros(self.steps, plan.batch_size, dtype=torch.int64, device=backend.device)

    def _phase(self, group: Group, step: int) -> Phase | None:
        return super()._phase(group, step) if step % self.sampler.every == 0 else None

    def _objective(self, losses: Tensor) -> Tensor:
        hardest = losses.detach().topk(self.picks.shape[1], sorted=False).indices.sort().values
        images = self.feed.index().index_select(0, hardest)
        self.picks.index_copy_(0, self.feed.step_index, images[None])
        return losses.index_select(0, hardest).sum()


class SelectedFeed(DeviceFeed):
    """A feed that reads the picks of a `Selector`, trained at the start of the run in its training time.

    Of several ranks each trains the whole of it: a small net is not worth the messages.
    """

    def __init__(
        self,
        plan: Plan,
        sampler: HardExamples,
        dataset: Dataset,
        images: DeviceSet,
        backend: Backend,
        ranks: Ranks = ALONE,
    ):
        super().__init__(plan, images, backend, plan.batch_size, ranks)
        self.selector = Selector(plan, sampler, dataset, images, backend)
        self.steps_per_epoch, self.steps = self.selector.steps_per_epoch, self.selector.steps
        self.picked: int | None = None  # the seed whose picks are there
        self.assumed = False

    @property
    def prelude(self) -> Program:
        return self.selector

    def assume_prelude(self) -> None:
        self.assumed = True

    def compile(self) -> None:
        super().compile()
        self.assume_prelude()  # what is captured on dummy data needs no real picks

    def reset(self, seed: int) -> None:
        super().reset(seed)
        if self.picked != seed:
            self.picked = None

    def begin(self, seed: int) -> None:
        super().begin(seed)
        if self.assumed:
            self.picked, self.assumed = seed, False
        else:
            self._pick()

    def enter(self, step: int) -> None:
        if self.picked is None:  # a resumed run picks again what it picked before
            self._pick()
        super().enter(step)

    def _pick(self) -> None:
        self.selector.begin(self.seed)
        for start, stop in self.selector.segments(0, None):
            self.selector.run(start, stop)
        self.picked = self.seed

    def index(self) -> Tensor:
        return self.selector.picks.index_select(0, self.step_index)[0]
