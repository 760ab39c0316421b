"""Steps after a fitted classifier: what stays, what the fast front changes, what norms keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import FP64, noise_dataset
from hotlap.engine.lower import lower
from hotlap.nets.build import build_net
from hotlap.nets.describe import EfficientNetLite, Norm
from hotlap.optim import SGD
from hotlap.plan import Plan
from hotlap.plan.start import ImageNet
from hotlap.recipes.photos import PHOTOS

DATA = noise_dataset((3, 40, 40), classes=3, train=16, test=8)
NORM = Norm(statistics="running", eps=1e-3)
STILL = 6  # stages of photos that never learn


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """A net's tensors, with statistics that are not those of a new one."""
    net = build_net(EfficientNetLite("lite0", norm=NORM), DATA.spec)
    net.reset(torch.Generator().manual_seed(seed))
    made = {k: v.double() for k, v in net.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    for name, t in made.items():
        if name.endswith("running_var"):
            t.copy_(0.5 + torch.rand(t.shape, generator=generator, dtype=torch.float64))
        elif name.endswith("running_mean"):
            t.copy_(0.1 * torch.randn(t.shape, generator=generator, dtype=torch.float64))
    return made


def plan_of(still: int = STILL, statistics: str = "running") -> Plan:
    plan = PHOTOS.plan()
    rule = replace(plan.rules[0], optimizer=SGD(quoted_for="mean"), lr=0.02)
    net = replace(plan.net, norm=replace(NORM, statistics=statistics), dropout=0.0)
    return replace(
        plan,
        net=net,
        rules=(rule,),
        freeze=(0.0,) * still,
        start=ImageNet(),
        head=Plan().head,
        augment=(),
        epochs=2.0,
        batch_size=4,
    )


def ran(plan: Plan, fast: bool = True) -> dict[str, torch.Tensor]:
    made = lower(plan, DATA, FP64, weights())
    made.upload()
    made.begin(3)
    if not fast:
        made.model.front = None
    for first, stop in made.segments(0, None):
        made.run(first, stop)
    return {k: v.clone() for k, v in made.model.state_dict().items()}


def test_the_first_stages_stay_and_the_last_ones_learn():
    before, after = weights(), ran(plan_of())
    moved = {
        k.split(".")[1] for k in before if not torch.equal(before[k], after[k]) and k.startswith("body.")
    }
    assert moved == {"stage6", "stage7", "last"}
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert all(torch.equal(before[k], after[k]) for k in before if "running" in k)


def test_the_fast_front_changes_nothing():
    """float64: what folding changes is rounding, and sixteen steps do not make it grow past 1e-9."""
    fast, plain = ran(plan_of()), ran(plan_of(), fast=False)
    for name, tensor in plain.items():
        assert torch.allclose(fast[name], tensor, rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("still", [1, 3, 9])
def test_any_number_of_stages_may_be_still(still):
    before, after = weights(), ran(plan_of(still))
    parts = ["stem", *(f"stage{i}" for i in range(1, 8)), "last"]
    moved = {
        k.split(".")[1] for k in before if not torch.equal(before[k], after[k]) and k.startswith("body.")
    }
    assert moved == set(parts[still:])


def test_norms_of_a_batch_still_follow_it_where_nothing_learns():
    before, after = weights(), ran(plan_of(9, "batch"))
    followed = [k for k in before if "running" in k and not torch.equal(before[k], after[k])]
    assert len(followed) == len([k for k in before if "running" in k])


def test_in_training_a_running_norm_computes_what_it_does_in_use():
    net = build_net(EfficientNetLite("lite0", norm=NORM), DATA.spec).double()
    net.load_state_dict(weights())
    x = torch.randn(4, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(net.train().body(x), net.eval().body(x))


def test_a_state_that_is_loaded_brings_its_own_front():
    made, other = (lower(plan_of(), DATA, FP64, weights(seed)) for seed in (0, 1))
    for program in (made, other):
        program.upload()
        program.begin(0)
    other.load_state(made.state(), 0)
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made.model.train(), other.model.train()
    assert torch.equal(made.model.features(x), other.model.features(x))
