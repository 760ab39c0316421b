"""What a plan costs, in arithmetic: counted on the meta device, where tensors have shapes but no data.

Counted are the convolutions and matrix products of the net in every training step, two FLOPs a multiply-add.
A forward pass counts in full. A backward pass counts what the step asks of it: no gradient of a fixed
whitening, of weights that no longer learn, or of activations before the first layer that still learns; so it
is less than the two forward passes of the usual estimate, `Cost.nominal`. Smaller images and the proxy net of
hard-example selection count as they run. Not counted: norms, pools, activations, augmentation, resizing, the
covariance for whitening, averages, the optimizer's step (in it, Muon's own matrix products) and evaluation.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from hotlap.data.loading import sides
from hotlap.nets.build import build_net
from hotlap.nets.network import Network
from hotlap.plan import HardExamples, Plan, Shuffle
from hotlap.plan.checks import check_plan
from hotlap.spec import DataSpec


@dataclass(frozen=True)
class Cost:
    """The arithmetic of a plan on some data.

    Args:
        parameters: trainable ones.
        forward: FLOPs of one image's forward pass at the set's full size.
        images: that the net is trained on over the whole run, each as often as it is used.
        training: FLOPs of the whole training run, `proxy` included.
        proxy: FLOPs of choosing hard examples.
    """

    parameters: int
    forward: int
    images: int
    training: int
    proxy: int

    @property
    def nominal(self) -> int:
        """The usual estimate: three forward passes at full size for every image, and the proxy."""
        return 3 * self.forward * self.images + self.proxy


def cost(plan: Plan, spec: DataSpec) -> Cost:
    """What training by `plan` on data like `spec`'s costs, by counting and without running it.

    Raises:
        UserError: if the plan cannot run on such data.
    """
    check_plan(plan, spec)
    model = build_net(plan.net, spec).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, *spec.shape, device="meta"))
    chooser = plan.sampler if isinstance(plan.sampler, HardExamples) else None
    drawn = chooser.of if chooser else plan.batch_size
    steps = max(1, math.ceil(plan.epochs * (spec.train_count // drawn) - 1e-9))
    proxy = 0
    if chooser:
        small = replace(plan, net=chooser.net, sampler=Shuffle(), freeze=())
        proxy = run_flops(small, spec, drawn, steps, chooser.every)
    training = run_flops(plan, spec, plan.batch_size, steps) + proxy
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Cost(parameters, int(counter.get_total_flops()), steps * plan.batch_size, training, proxy)


def run_flops(plan: Plan, spec: DataSpec, batch: int, steps: int, every: int = 1) -> int:
    """FLOPs of `steps` steps of the plan's net, of which one in `every` learns and the others only look."""
    model = build_net(plan.net, spec).to("meta")
    frozen = {n: share for names, share in zip(model.stages(), plan.freeze, strict=False) for n in names}
    until = {role: rule.until for rule in plan.rules for role in rule.roles}
    shares = {name: min(until[role], frozen.get(name, 1.0)) for name, role in model.roles().items()}
    ends = {name: math.ceil(share * steps - 1e-9) for name, share in shares.items()}
    kinds = Counter(
        (frozenset(n for n in ends if i < ends[n] and i % every == 0), plan.resolution.at(i / steps))
        for i in range(steps)
    )
    return sum(times * step_flops(model, spec, batch, *kind) for kind, times in kinds.items())


def step_flops(model: Network, spec: DataSpec, batch: int, learning: frozenset[str], scale: float) -> int:
    """FLOPs of one step on `batch` images of `scale` times the set's sides; `learning` names parameters."""
    x = torch.empty(batch, spec.channels, *sides(spec.height, spec.width, scale), device="meta")
    labels = torch.zeros(batch, dtype=torch.int64, device="meta")
    weights = [p for n, p in model.train().named_parameters() if n in learning]
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(bool(weights)):
        loss = F.cross_entropy(model(x), labels)
        if weights:
            torch.autograd.grad(loss, weights)
    return int(counter.get_total_flops())
