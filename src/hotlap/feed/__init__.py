"""Where a program's batches come from: one class for each way of loading and of choosing examples."""

from __future__ import annotations

from hotlap.data.dataset import Dataset
from hotlap.data.device import DeviceSet
from hotlap.data.loading import HostLoader
from hotlap.feed.device import DeviceFeed
from hotlap.machine import Engine
from hotlap.plan import HardExamples, Plan

__all__ = ["DeviceFeed", "build_feed"]


def build_feed(plan: Plan, dataset: Dataset, images: DeviceSet, engine: Engine) -> DeviceFeed:
    """The feed that the plan's loader and sampler ask for; `images` is the training set on the device."""
    if isinstance(plan.sampler, HardExamples):
        from hotlap.feed.selected import SelectedFeed

        return SelectedFeed(plan, dataset, images, engine)
    if isinstance(plan.loader, HostLoader):
        from hotlap.feed.host import HostFeed

        return HostFeed(plan, plan.loader, dataset, images, engine)
    return DeviceFeed(plan, images, engine, plan.batch_size)
