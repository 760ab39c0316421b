"""What a training step keeps in memory, by counting and without running it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hotlap.machine.backend import Backend
from hotlap.machine.memory import free_bytes, total_bytes
from hotlap.nets.build import build_net
from hotlap.plan import Plan
from hotlap.spec import DataSpec

COUNTED = 8  # images of the batch that is counted
PASSING = 1.5  # of what is kept for the backward pass, what it takes with gradients and buffers on their way
HEADROOM = 0.9  # of what is free, what a run is given: an allocator's holes, and other programs


@dataclass(frozen=True)
class Footprint:
    """Bytes of a run.

    Args:
        fixed: weights, velocities and gradients, whatever the batch.
        image: of each image of a batch.
    """

    fixed: int
    image: int

    def batch_in(self, room: float) -> int:
        """How many images a batch may have in so many bytes."""
        return int((room - self.fixed) / self.image)


def footprint(plan: Plan, spec: DataSpec, backend: Backend) -> Footprint:
    """What a step of the plan keeps on such data, at its largest images."""
    model = build_net(plan.net, spec).to("meta", backend.weights_dtype).train()
    x = torch.empty(COUNTED, *spec.shape, dtype=backend.dtype, device="meta")
    kept: dict[int, int] = {}  # by identity of the memory: several views may be kept of one

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        held.append(tensor)  # so that no other comes to have its identity
        return tensor

    held: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(x)
    own = sum(p.numel() * p.element_size() for p in model.parameters())
    image = max(1, int(PASSING * max(0, sum(kept.values()) - own) / COUNTED))
    return Footprint(4 * own, image)


def largest_batch(plan: Plan, spec: DataSpec, backend: Backend) -> int | None:
    """The largest batch that fits in what is free, up to the plan's own; None where nothing says what is.

    It divides into the plan's norm splits, and is 8 of them or a multiple of that where so many fit.
    """
    free = free_bytes(backend.device)
    if free is None:
        return None
    most = footprint(plan, spec, backend).batch_in(HEADROOM * free)
    return plan.batch_size if most >= plan.batch_size else in_splits(most, plan)


def smaller_batch(plan: Plan, spec: DataSpec, backend: Backend) -> int:
    """A batch that should fit where the plan's own did not: in all the memory there is, as what was free has
    been used; three quarters of the plan's at the most."""
    most, whole = int(0.75 * plan.batch_size), total_bytes(backend.device)
    if whole is not None:
        most = min(most, footprint(plan, spec, backend).batch_in(HEADROOM * whole))
    return in_splits(most, plan)


def in_splits(batch: int, plan: Plan) -> int:
    """About so many images, in whole norm splits."""
    splits = plan.net.norm.splits
    step = 8 * splits if batch >= 8 * splits else splits
    return max(splits, batch // step * step)
