"""From a plan to a program: the data set's images on the device, the feed the plan asks for, the steps."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hotlap.data.dataset import Dataset
from hotlap.data.device import DeviceSet
from hotlap.data.loading import HostLoader
from hotlap.engine.feed.device import DeviceFeed
from hotlap.engine.feed.highest_loss import HighestLossFeed
from hotlap.engine.feed.host import HostFeed
from hotlap.engine.program import Program
from hotlap.engine.selected import SelectedFeed
from hotlap.errors import UserError
from hotlap.machine.backend import Backend
from hotlap.machine.ranks import ALONE, Ranks
from hotlap.plan import HardExamples, HighestLoss, Plan
from hotlap.plan.checks import check_plan
from hotlap.plan.start import FittedHead, Scratch


def lower(
    plan: Plan,
    dataset: Dataset,
    backend: Backend,
    start: Mapping[str, Tensor] | None = None,
    held: Program | None = None,
    ranks: Ranks = ALONE,
) -> Program:
    """The program of `plan` on a data set and a device. Call its `compile`, then `upload`, before it runs.

    Args:
        start: tensors by name that a run starts with, where `plan.start` asks for such.
        held: a program of the same data set and backend, whose images this one shares.
        ranks: the processes that run it together.

    Raises:
        UserError: if the plan cannot run on such data or in so many ranks, or a role of the net has no rule.
    """
    check_plan(plan, dataset.spec)
    check_ranks(plan, ranks)
    if start is None and not isinstance(plan.start, Scratch):
        raise UserError("start: this plan starts from learnt weights, which only `hotlap train` brings")
    if isinstance(plan.head, FittedHead):
        raise UserError("head: a classifier is fitted before a run's first step; `hotlap train` does it")
    images = held.train_set if held else DeviceSet(dataset.train, dataset.spec, backend)
    tested = held.test_set if held else DeviceSet(dataset.test, dataset.spec, backend)
    feed = build_feed(plan, dataset, images, backend, ranks)
    return Program(plan, dataset, backend, feed, tested, start)


def check_ranks(plan: Plan, ranks: Ranks) -> None:
    """Whether the plan's batches divide evenly among ranks, and each share into the parts of its norms.

    Raises:
        UserError: they do not.
    """
    parts = ranks.count * plan.net.norm.splits
    if plan.batch_size % parts:
        each = f" of {plan.net.norm.splits} norm splits each" if plan.net.norm.splits > 1 else ""
        raise UserError(
            f"batch_size = {plan.batch_size} does not divide into {ranks.count} ranks{each};"
            f" --set batch_size={max(1, round(plan.batch_size / parts)) * parts}"
        )


def build_feed(
    plan: Plan, dataset: Dataset, images: DeviceSet, backend: Backend, ranks: Ranks = ALONE
) -> DeviceFeed:
    """The feed that the plan's loader and sampler ask for; `images` is the training set on the device."""
    if isinstance(plan.sampler, HardExamples):
        return SelectedFeed(plan, plan.sampler, dataset, images, backend, ranks)
    if isinstance(plan.sampler, HighestLoss):
        return HighestLossFeed(plan, plan.sampler, images, backend, ranks)
    if isinstance(plan.loader, HostLoader):
        return HostFeed(plan, plan.loader, dataset, images, backend, ranks)
    return DeviceFeed(plan, images, backend, plan.batch_size, ranks)
