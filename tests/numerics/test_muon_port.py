"""The hand-written run that hotlap is timed against takes muon94's own steps and sees with its views."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import FP64, noise_dataset, program
from hotlap.engine.views import all_logits
from hotlap.recipes import BUILTIN

BATCH = 16
STEPS = 7  # of 16: past the mirrored second epoch and past the freezing of the stem's bias (step 6)
WIDTHS = (8, 80, 12)  # some filter matrices taller than wide: 80 > 8 * 9, and small in float64
TOLERANCE = 1e-9  # float64 keeps about 16 digits; sums in another order and three steps cost some of them
NAMES = {"stem": "body.stem.whiten.bias", "head": "head.weight"} | {
    f"{short}{g}{i}": f"body.group{g + 1}.{part}{i + 1}.{leaf}"
    for g in range(3)
    for i in range(2)
    for short, part, leaf in (("conv", "conv", "weight"), ("bias", "norm", "bias"))
}


def close(got: torch.Tensor, want: torch.Tensor, what: str) -> None:
    error = (got - want).norm() / want.norm().clamp_min(1e-12)
    assert error < TOLERANCE, f"{what}: relative error {error:.2e}"


@pytest.fixture
def wide():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_port_trains_and_evaluates_as_muon94_does(monkeypatch, wide):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import flat_muon

    monkeypatch.setattr(flat_muon, "BATCH", BATCH)
    monkeypatch.setattr(flat_muon, "WIDTHS", WIDTHS)
    plan = BUILTIN["muon94"].plan()
    plan = replace(plan, net=replace(plan.net, widths=WIDTHS, logit_scale=1 / WIDTHS[-1]), batch_size=BATCH)
    # weight decay is quoted for the recipe's own batch size where it is for the sum
    plan = replace(
        plan,
        rules=tuple(
            r if r.name == "filters" else replace(r, weight_decay=r.weight_decay * BATCH / 2000)
            for r in plan.rules
        ),
    )
    dataset = noise_dataset(train=2 * BATCH, test=50)
    made = program(plan, dataset, FP64)
    made.feed.enter(0)
    flips = made.feed.choices[1].bool()

    def draw_shifts(count: int) -> torch.Tensor:
        moves = made.feed.choices[0]
        shifts = torch.stack((moves // 5, moves % 5), 1)
        shifts[flips, 1] = 4 - shifts[flips, 1]  # the port mirrors first and then moves
        return shifts

    monkeypatch.setattr(flat_muon, "draw_flips", lambda count: flips)
    monkeypatch.setattr(flat_muon, "draw_shifts", draw_shifts)
    monkeypatch.setattr(flat_muon, "draw_order", lambda count: made.feed.order.clone())

    images = torch.tensor(dataset.train.images), torch.tensor(dataset.train.labels)
    spread = (torch.tensor(v, dtype=torch.float64) for v in (dataset.spec.mean, dataset.spec.std))
    flat = flat_muon.Flat(*images, *spread, torch.float64, torch.contiguous_format)
    assert flat.total == made.steps == 16
    parameters = dict(made.model.named_parameters())
    assert {name for name, p in parameters.items() if p.requires_grad} == set(NAMES.values())
    signs = (flat.whiten * parameters["body.stem.whiten.weight"]).sum((1, 2, 3), keepdim=True).sign()
    close(flat.whiten * signs, parameters["body.stem.whiten.weight"], "whitening, but for signs")
    flat.whiten = parameters["body.stem.whiten.weight"].detach().clone()
    start = {}
    for short, name in NAMES.items():
        start[short] = parameters[name].detach().clone()
        assert flat.weights[short].shape == start[short].shape
        flat.weights[short].data.copy_(start[short])

    for step in range(STEPS):
        made.feed.enter(step)
        loss = flat.step().item()
        made.run(step, step + 1)
        assert loss == pytest.approx(made.losses[step].item(), rel=TOLERANCE), f"loss of step {step}"
    for short, name in NAMES.items():
        close(flat.weights[short].detach(), parameters[name].detach(), name)
        assert not torch.equal(flat.weights[short], start[short]), f"{name} should have moved"

    got = flat.look(torch.tensor(dataset.test.images), size=20)
    want = all_logits(made.model, made.evaluation_weights(), made.test_set, plan.evaluation.tta)
    close(got, want, "logits of six views")


@pytest.fixture
def port(monkeypatch, capsys):
    """`port("--watch")`: the script at a small size; what it printed on stdout and on stderr."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import flat_muon
    import muon_port

    monkeypatch.setattr(flat_muon, "BATCH", 20)
    monkeypatch.setattr(flat_muon, "WIDTHS", (8, 8, 8))
    monkeypatch.setattr(muon_port, "SIZES", (4, 20))
    words = ["--data", "patterns:200,50", "--images", "60", "--epochs", "2", "--threads", "1"]

    def run(*more: str):
        monkeypatch.setattr("sys.argv", ["muon_port.py", *words, *more])
        muon_port.main()
        said = capsys.readouterr()
        return json.loads(said.out), said.err

    return run


def test_the_port_takes_what_is_fastest_here_and_says_so(monkeypatch, port):
    import flat_muon

    taken, step = [], flat_muon.Flat.step

    def slow_in_bf16(self):
        taken.append((self.dtype, self.batch))
        if self.dtype == torch.bfloat16:
            time.sleep(0.3)  # as where it is done in software
        return step(self)

    monkeypatch.setattr(flat_muon.Flat, "step", slow_in_bf16)
    found, said = port()
    assert found["precision"] == "fp32"
    assert (
        found["times_the_fastest"][f"fp32 {found['layout']}"] == min(found["times_the_fastest"].values()) == 1
    )
    assert said.startswith(f"fp32 {found['layout']}: the fastest of 4 in ")
    assert found["steps"] == 6
    assert {batch for dtype, batch in taken if dtype == torch.bfloat16} == {4}, "a slow one went on"


def test_a_watched_port_takes_the_same_steps_in_the_same_time(monkeypatch, port):
    import flat_muon

    monkeypatch.setattr("hotlap.machine.race.race", lambda *_: {("fp32", "channels_last"): 1.0})
    looks, look = [], flat_muon.Flat.look

    def slow_look(self, *args, views=flat_muon.VIEWS, **more):
        looks.append((self.steps, len(views)))
        time.sleep(1.0)
        return look(self, *args, views=views, **more)

    plain, _ = port("--epochs", "1.5")
    monkeypatch.setattr(flat_muon.Flat, "look", slow_look)
    watched, said = port("--epochs", "1.5", "--watch")
    assert looks == [(3, 1), (5, 1), (5, 6)]
    for key in ("steps", "first_loss", "last_loss", "accuracy"):
        assert watched[key] == plain[key], key
    assert "history" not in plain
    first, last = watched["history"]
    assert (first["epoch"], last["epoch"]) == (1, 2)
    assert 0 < first["train_s"] < last["train_s"] <= watched["train_s"] < 1.0 <= watched["eval_s"]
    for row in (first, last):
        assert 0 <= row["test_accuracy"] <= 100
        assert f"{row['train_s']:.1f} s, test {row['test_accuracy']:.2f}%" in said
    assert watched["command"].endswith("--epochs 1.5 --watch")
