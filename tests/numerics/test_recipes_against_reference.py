"""The composed recipes take the same steps as hand-written flat scripts, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import FP64, noise_dataset, program
from hotlap.recipes import BUILTIN
from reference import muon_flat, page_flat

# float64 keeps about 16 digits; sums in another order and a few steps of a net cost some of them
TOLERANCE = 1e-9
STEPS = 7  # past two EMA updates (steps 1 and 6) and past the freezing of the stem's bias (step 3 of 8)


def close(got: torch.Tensor, want: torch.Tensor, what: str) -> None:
    error = (got - want).norm() / want.norm().clamp_min(1e-12)
    assert error < TOLERANCE, f"{what}: relative error {error:.2e}"


def draws(made, pixels):
    """The order, shifts (N, 2) and flips (N,) that the program drew for its first epoch."""
    made.feed.enter(0)
    drawn = zip(made.plan.augment, made.feed.choices, strict=True)
    by_kind = {type(op).__name__: choice for op, choice in drawn}
    side = 2 * pixels + 1
    shifts = torch.stack((by_kind["Translate"] // side, by_kind["Translate"] % side), 1) - pixels
    return made.feed.order, shifts, by_kind["Flip"].bool()


def check(recipe: str, names: dict[str, str], flat, net: dict, batch: int, pixels: int, epochs: float):
    plan = BUILTIN[recipe].plan()
    plan = replace(plan, net=replace(plan.net, **net), batch_size=batch, epochs=epochs)
    dataset = noise_dataset(train=8 * batch)
    # weight decay was set for the recipe's own batch size where it is quoted for the sum
    plan = replace(
        plan, rules=tuple(replace(r, weight_decay=r.weight_decay * scale(r, batch)) for r in plan.rules)
    )
    made = program(plan, dataset, FP64)
    parameters = dict(made.model.named_parameters())
    start = {short: parameters[name].detach().clone() for short, name in names.items()}
    order, shifts, flips = draws(made, pixels)
    images, labels = torch.tensor(dataset.train.images), torch.tensor(dataset.train.labels)
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (dataset.spec.mean, dataset.spec.std))
    want = flat.train(
        images,
        labels,
        mean,
        std,
        order,
        shifts,
        flips,
        start,
        steps=STEPS,
        total_steps=round(8 * epochs),
        batch=batch,
    )
    made.run(0, STEPS)
    for step, loss in enumerate(want[0]):
        assert made.losses[step].item() == pytest.approx(loss, rel=TOLERANCE), f"loss of step {step}"
    for short, name in names.items():
        close(parameters[name].detach(), want[1][short], name)
        moved = (parameters[name].detach() - start[short]).norm()
        assert (moved > 0) == (short != "whiten"), f"{name} should {'not ' * (short == 'whiten')}have moved"
    buffers = dict(made.model.named_buffers())
    for short, (running_mean, running_var) in want[2].items():
        path = names[short].rpartition(".")[0]
        close(buffers[f"{path}.running_mean"], running_mean, path)
        close(buffers[f"{path}.running_var"], running_var, path)
    return made, want, names


def scale(rule, batch: int) -> float:
    return batch / 2000 if getattr(rule.optimizer, "quoted_for", "sum") == "sum" else 1.0


def test_page_final_recipe_equals_its_flat_script():
    # 400 steps in all, so that the first ones are small: at full rate the shifts' 64-fold steps on random
    # images amplify rounding tenfold a step
    names = {"whiten": "body.stem.whiten.weight", "head": "head.weight"}
    layers = {"prep": "stem", "1": "layer1", "2": "layer2", "3": "layer3"}
    layers |= {f"{i}{b}": f"layer{i}.residual.branch.{n}" for i in (1, 3) for n, b in enumerate("ab")}
    for short, path in layers.items():
        names |= {f"conv.{short}": f"body.{path}.conv.weight", f"shift.{short}": f"body.{path}.norm.bias"}
    net = {"widths": (4, 6, 8, 10)}
    made, want, _ = check("page/19-flip-tta", names, page_flat, net, batch=32, pixels=4, epochs=50.0)
    ema = made.evaluation_weights()
    for short, name in names.items():
        close(ema[name], want[3][short], f"EMA of {name}")
    for short, (mean, var) in want[4].items():
        path = names[short].rpartition(".")[0]
        close(ema[f"{path}.running_mean"], mean, f"EMA of {path}")
        close(ema[f"{path}.running_var"], var, f"EMA of {path}")


def test_muon_recipe_equals_its_flat_script():
    names = {
        "whiten": "body.stem.whiten.weight",
        "whiten_bias": "body.stem.whiten.bias",
        "head": "head.weight",
    }
    for g in "123":
        for i, part in enumerate("ab", start=1):
            names[f"conv.{g}{part}"] = f"body.group{g}.conv{i}.weight"
            names[f"shift.{g}{part}"] = f"body.group{g}.norm{i}.bias"
    # widths that make some filter matrices taller than wide: 80 > 8 * 9, so the transposed path runs too
    net = {"widths": (8, 80, 12), "logit_scale": 1 / 12}
    check("muon94", names, muon_flat, net, batch=16, pixels=2, epochs=1.0)
