"""Frozen stages against a run written out step by step: who moves, who does not, where the backward ends."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from helpers import FP64, noise_dataset, program
from hotlap.data.device import DeviceSet
from hotlap.engine.feed.device import DeviceFeed
from hotlap.nets import AirNet, ResNet9, ResNet18, WhitenStem
from hotlap.nets.build import build_net
from hotlap.optim import SGD
from hotlap.plan import Plan
from hotlap.spec import DataSpec
from hotlap.tricks.freeze_stages import FreezeStages
from reference import nets_flat

DATA = noise_dataset((3, 9, 11), classes=4, train=32, test=4)
NET = AirNet(widths=(4, 5), stem=WhitenStem(images=20), logit_scale=0.5)
STEPS, BATCH = 8, 8


def plan_of(net=NET) -> Plan:
    plan = Plan(net=net, batch_size=BATCH, epochs=2.0)
    rule = replace(plan.rules[0], optimizer=SGD(), lr=0.01, weight_decay=0.02, momentum=0.8)
    return replace(plan, rules=(rule,))


def stage_of(name: str) -> str:
    return name.split(".")[1] if name.startswith("body.") else "head"


def test_frozen_stages_stay_and_the_others_take_the_steps_of_a_run_without_them():
    made = program(FreezeStages((0.3, 0.75))(plan_of()), DATA, FP64, seed=2)
    ends = {"stem": math.ceil(0.3 * STEPS), "group1": math.ceil(0.75 * STEPS)}
    assert ends == {"stem": 3, "group1": 6}
    images = DeviceSet(DATA.train, DATA.spec, FP64)
    images.fill(DATA.train)
    feed = DeviceFeed(made.plan, images, FP64, BATCH)
    feed.begin(2)
    w = {k: v.clone() for k, v in made.model.state_dict().items()}
    learned = list(made.model.roles())
    velocity = {k: torch.zeros_like(w[k]) for k in learned}
    for step in range(STEPS):
        made.run(step, step + 1)
        feed.enter(step)
        x, _, labels = feed.batch()
        moving = [k for k in learned if step < ends.get(stage_of(k), STEPS)]
        leaves = {k: w[k].clone().requires_grad_() for k in moving}
        stats: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        said = {"act": "gelu", "groups": 2, "whiten_padding": 0, "scale": 0.5, "eps": 1e-12}
        logits = nets_flat.airnet(x, w | leaves, stats=stats, **said)
        loss = -logits.log_softmax(1)[torch.arange(BATCH), labels].sum()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        rate = 0.01 * min((step + 1) / STEPS / 0.2, (1 - (step + 1) / STEPS) / 0.8)
        for k, g in zip(moving, grads, strict=True):
            g = g + 0.02 * w[k]
            velocity[k] = 0.8 * velocity[k] + g
            w[k] = w[k] - rate * (g + 0.8 * velocity[k])
        for path, (mean, var) in stats.items():  # the statistics of frozen norms too
            w[f"{path}.running_mean"] = 0.6 * w[f"{path}.running_mean"] + 0.4 * mean
            w[f"{path}.running_var"] = 0.6 * w[f"{path}.running_var"] + 0.4 * var
        for k, v in made.model.state_dict().items():
            # float64, and a few steps that amplify rounding
            assert torch.allclose(v, w[k], rtol=1e-8, atol=1e-11), (step, k)


def reached(made, step: int) -> set[str]:
    """The parts of the body whose output the backward pass of one step computes a gradient for."""
    found: set[str] = set()

    def watch(name: str):
        def hook(_module, _inputs, out):
            if out.requires_grad:
                out.register_hook(lambda _: found.add(name))

        return hook

    hooks = [m.register_forward_hook(watch(n)) for n, m in made.model.body.named_children()]
    made.run(step, step + 1)
    for hook in hooks:
        hook.remove()
    return found


def test_the_backward_pass_ends_where_training_begins():
    made = program(FreezeStages((0.3, 0.75))(plan_of()), DATA, FP64)
    parts = [reached(made, step) for step in range(STEPS)]
    everything = {"stem", "act", "group1", "group2", "pool"}
    # the first group's own gradient asks for nothing below it once the stem's bias is frozen
    assert parts == [everything] * 3 + [{"group1", "group2", "pool"}] * 3 + [{"group2", "pool"}] * 2


def test_a_run_may_freeze_all_of_its_net_at_last():
    plan = plan_of()
    plan = FreezeStages((0.5, 0.5, 0.5))(replace(plan, rules=(replace(plan.rules[0], until=0.75),)))
    made = program(plan, DATA, FP64)
    made.run(0, 4)
    seen = [{k: v.clone() for k, v in made.model.named_parameters()}]
    for stop in (6, 8):
        for start in range(stop - 2, stop):
            made.run(start, start + 1)
        seen.append({k: v.clone() for k, v in made.model.named_parameters()})
    moved = [{k for k in a if not torch.equal(a[k], b[k])} for a, b in pairwise(seen)]
    assert moved == [{"head.weight"}, set()]
    assert (made.losses > 0).all()  # recorded to the end


@pytest.mark.parametrize(
    ("net", "first", "count"),
    [
        (NET, ["body.stem.whiten.bias"], 3),
        (replace(NET, stem=WhitenStem(bias=False)), [], 3),  # a fixed stem is a stage all the same
        (ResNet9(), ["body.stem.conv.weight", "body.stem.norm.weight", "body.stem.norm.bias"], 4),
        (ResNet18(), ["body.stem.conv.weight", "body.stem.norm.weight", "body.stem.norm.bias"], 5),
        (ResNet18(stem_norm=False), ["body.stem.conv.weight"], 5),
    ],
)
def test_stages_are_the_stem_and_then_each_group_layer_or_stage(net, first, count):
    spec = DataSpec((3, 32, 32), tuple("abcd"), 9, 9, (0.0,) * 3, (1.0,) * 3)
    model = build_net(net, spec)
    stages = model.stages()
    assert stages[0] == first
    assert len(stages) == count
    assert sorted(n for s in stages for n in s) == sorted(n for n in model.roles() if n[:5] == "body.")
    for stage in stages[1:]:
        assert len({stage_of(n) for n in stage}) == 1


@pytest.mark.gpu
def test_a_captured_step_freezes_too():
    backend = replace(FP64, device=torch.device("cuda"))
    made = program(FreezeStages((0.3, 0.75))(plan_of()), DATA, backend)
    stages = made.model.stages()
    for step in range(STEPS):
        before = {k: v.clone() for k, v in made.model.named_parameters()}
        made.run(step, step + 1)
        moved = {k for k, v in made.model.named_parameters() if not torch.equal(v, before[k])}
        for names, end in zip(stages, (3, 6, STEPS - 1), strict=True):  # the last step's rate is 0
            assert all((n in moved) == (step < end) for n in names), step
