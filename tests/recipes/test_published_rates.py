"""Epochs, batches, rates and decays of the recipes, against the published scripts and notebooks.

A recipe is a pile of changes, and a change that scales a rate (another batch, a faster bias) may come before
or after one that sets it. So what the pile comes to is compared with what was published.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hotlap.nets.build import build_net
from hotlap.recipes import BUILTIN
from hotlap.spec import DataSpec

# cifar10-fast, experiments.ipynb, bag_of_tricks.ipynb, new_dawn.py: batch, epochs of the knots, rates there
RUNGS = {
    "02-tidy-stem-and-schedule": (128, (0, 15, 30, 35), (0, 0.1, 0.005, 0)),
    "05-main-thread-augmentation": (128, (0, 15, 30, 35), (0, 0.1, 0.005, 0)),
    "06-larger-batch": (512, (0, 15, 30, 35), (0, 0.44, 0.005, 0)),
    "07-norm-in-fp32": (512, (0, 15, 30, 35), (0, 0.44, 0.005, 0)),
    "08-cutout-earlier-peak": (512, (0, 8, 30), (0, 0.4, 0)),
    "09-batch-768": (768, (0, 8, 30), (0, 0.6, 0)),
    "a1-backbone": (512, (0, 4, 20), (0, 0.4, 0)),
    "a4-max-pool-down-sampling": (512, (0, 4, 20), (0, 0.4, 0)),
    "a7-residuals": (512, (0, 4, 20), (0, 0.4, 0)),
    "a8-double-width": (512, (0, 12, 60), (0, 0.4, 0)),
    "a9-extra-layers": (512, (0, 12, 60), (0, 0.4, 0)),
    "10-resnet9": (512, (0, 5, 24), (0, 0.4, 0)),
    "11-device-augmentation": (512, (0, 5, 24), (0, 0.4, 0)),
    "12-pool-before-norm": (512, (0, 5, 25), (0, 0.4, 0)),
    "13-label-smoothing": (512, (0, 4.6, 23), (0, 0.4, 0)),
    "14-celu": (512, (0, 4, 20), (0, 0.4, 0)),
    "15-ghost-norm": (512, (0, 3.6, 18), (0, 0.6, 0)),
    "16-frozen-scales": (512, (0, 3.4, 17), (0, 0.6, 0)),
    "17-patch-whitening": (512, (0, 2.8, 14), (0, 1.0, 0)),
    "18-ema": (512, (0, 2.6, 11), (0, 1.0, 0.1)),
    "19-flip-tta": (512, (0, 2, 8), (0, 1.0, 0.1)),
    "20-convergence": (512, (0, 16, 78), (0, 0.4, 0.04)),
}
SHIFTS_64_TIMES = ("16", "17", "18", "19", "20")


@pytest.mark.parametrize("name", RUNGS)
def test_rungs(name):
    plan, (batch, knots, rates) = BUILTIN[f"page/{name}"].plan(), RUNGS[name]
    rules, schedule = {r.name: r for r in plan.rules}, plan.knob("lr", "test")
    assert plan.batch_size == batch
    assert [p * plan.epochs for p in schedule.progress] == pytest.approx(knots)
    assert [v * rules["weights"].lr for v in schedule.values] == pytest.approx(rates)
    assert (rules["weights"].weight_decay, rules["weights"].momentum) == (5e-4, 0.9)
    assert all(r.optimizer.quoting(batch) == (1 / batch, batch) for r in plan.rules)
    if name.startswith(SHIFTS_64_TIMES):
        assert rules["norms"].lr == pytest.approx(64 * max(rates))
        assert rules["norms"].weight_decay == pytest.approx(5e-4 / 64)
    else:
        assert list(rules) == ["weights"]


# cifar10-airbench, legacy/ and airbench96_faster.py: lr and decay for 1024 examples, epochs, the net's batch,
# steps in which the whitening's bias learns (in the last all of them, see the recipe), all steps
AIRBENCH = {
    "airbench94": (11.5, 0.0153, 9.9, 1024, 144, 476),
    "airbench95": (10.0, 0.0153, 15, 1024, 144, 720),
    "airbench96": (9.0, 0.012, 37, 1024, 144, 1776),
    "airbench96-faster": (9.0, 0.012, 45, 512, 2160, 2160),
}


@pytest.mark.parametrize("name", AIRBENCH)
def test_airbench(name):
    plan, (lr, decay, epochs, batch, learns, steps) = BUILTIN[name].plan(), AIRBENCH[name]
    assert (plan.epochs, plan.batch_size) == (epochs, batch)
    per_example = lr / 1024 / (1 + 1 / (1 - 0.85))  # as the scripts undo Nesterov's factor
    times = {"weights": 1, "stem": 1, "norms": 64}
    assert {r.name for r in plan.rules} == set(times)
    for rule in plan.rules:
        lr_times, decay_times = rule.optimizer.quoting(batch)
        found = rule.lr * lr_times
        assert found == pytest.approx(times[rule.name] * per_example)
        # what the weights lose in a step at the peak rate, the same for all: the scripts' `wd`
        lost = decay * 1024 / (1024 * (1 + 1 / (1 - 0.85)))
        assert found * rule.weight_decay * decay_times == pytest.approx(lost)
        assert rule.momentum == 0.85
    stem = next(r for r in plan.rules if r.name == "stem")
    assert stem.until * steps == pytest.approx(learns)


# airbench94_muon.py, hiverge's cifar10_speedrun.py: of filters, norms, head: rate, momentum, decay a step
MUON = {
    "muon94": ((0.24, 0.6, 0.0), (0.053, 0.85, 2e-6 * 2000), (0.67, 0.85, 2e-6 * 2000), 75 / 200),
    "hiverge94": (
        (0.205, 0.655, 0.205 * 1.0418e-6 * 1536),
        (0.0573, 0.825, 1.0418e-6 * 1536),
        (0.5415, 0.825, 1.0418e-6 * 1536),
        7 / 243,
    ),
}


@pytest.mark.parametrize("name", MUON)
def test_muon(name):
    plan, (filters, norms, head, until) = BUILTIN[name].plan(), MUON[name]
    rules = {r.name: r for r in plan.rules}
    for rule, expected in zip(
        ("filters", "norms", "stem", "head"), (filters, norms, norms, head), strict=True
    ):
        found = rules[rule]
        assert (found.lr, found.momentum, found.lr * found.weight_decay) == pytest.approx(expected)
    assert rules["stem"].until == pytest.approx(until)
    # the bias's rate is 1 - step / steps in which it learns
    assert plan.knob("stem_lr", "test")(until / 2) == pytest.approx(0.5)


def test_hlb():
    plan = BUILTIN["hlb"].plan()
    rules = {r.name: r for r in plan.rules}
    # main.py: the loss is half the sum at 1024 examples, so a rate of 1.525 / 512 is one of half that for it
    for name, factor in {"weights": 1, "norms": 64}.items():
        lr_times, decay_times = rules[name].optimizer.quoting(1024)
        assert rules[name].lr * lr_times == pytest.approx(factor * 1.525 / 512 / 2)
        lost = 1.525 / 512 * 6.687e-4 * 1024
        assert rules[name].lr * lr_times * rules[name].weight_decay * decay_times == pytest.approx(lost)


@pytest.mark.parametrize(
    ("name", "after_stem", "in_groups", "bias_at_zero"),
    [
        ("airbench94", nn.GELU, nn.GELU, True),
        ("airbench96", nn.GELU, nn.GELU, True),
        ("muon94", nn.GELU, nn.GELU, False),
        ("hiverge94", nn.GELU, nn.SiLU, False),
        ("aidda100", nn.SiLU, nn.SiLU, True),
    ],
)
def test_stems(name, after_stem, in_groups, bias_at_zero):
    names = tuple(f"class{i}" for i in range(10))
    spec = DataSpec((3, 32, 32), names, 50_000, 10_000, (128.0,) * 3, (64.0,) * 3)
    net = build_net(BUILTIN[name].plan().net, spec)
    net.reset(torch.Generator().manual_seed(0))
    assert type(net.body.act) is after_stem
    assert {type(m) for m in net.body.group1.modules() if "activation" in type(m).__module__} == {in_groups}
    bias = net.body.stem.whiten.bias
    assert bool((bias == 0).all()) == bias_at_zero
    assert bias.abs().max() <= 12**-0.5  # PyTorch's bound for 12 inputs
