"""The lowered program: spans, tables, repeatability, and evaluation that leaves training alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import BF16, FP32, FP64, noise_dataset, program
from hotlap.engine.clock import Clock
from hotlap.engine.diverged import Diverged
from hotlap.engine.evaluate import evaluate
from hotlap.engine.loop import train
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.engine.views import VIEWS, all_logits
from hotlap.errors import UserError
from hotlap.optim import Lookahead, Rule
from hotlap.plan import Plan
from hotlap.plan.schedule import tabulate
from hotlap.recipes import BUILTIN

DATA = noise_dataset((3, 16, 16), classes=4, train=70, test=33)


def small(name: str, **changes) -> Plan:
    plan = BUILTIN[name].plan()
    net = replace(plan.net, widths=tuple(8 for _ in plan.net.widths))
    return replace(plan, **{"net": net, "batch_size": 16, "epochs": 3.0, **changes})


def finished(made: Program, seed: int, stride: int | None = None) -> dict[str, torch.Tensor]:
    for _ in train(made, Clock(torch.device("cpu")), seed, stride=stride):
        pass
    return {k: v.clone() for k, v in made.state().items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_steps_and_segments():
    made = program(small("muon94"), DATA)
    assert (made.steps_per_epoch, made.steps) == (4, 12)  # 70 // 16, the rest left out
    assert list(made.segments(0, None)) == [(0, 4), (4, 8), (8, 12)]
    assert list(made.segments(3, 3)) == [(3, 4), (4, 7), (7, 8), (8, 11), (11, 12)]
    part = lower(small("muon94", epochs=1.3), DATA, FP32)
    assert part.steps == 6  # ceil(1.3 * 4)
    assert list(part.segments(0, None)) == [(0, 4), (4, 6)]


def test_spans_split_where_structure_changes_and_only_there():
    made = program(small("airbench94", epochs=4.0), DATA)
    stem = [g.rule.name for g in made.groups].index("stem")
    frozen_from = 5  # ceil(3 / 9.9 * 16)
    for span in made.spans:
        phases, due, scale = span.structure
        assert phases[stem] == ("step" if span.start < frozen_from else None)
        assert all(p == "step" for i, p in enumerate(phases) if i != stem)
        assert due == ((span.start + 1) % 5 == 0,)
        assert span.stop - span.start == 1 or not any(due)
        assert scale == 1
    assert [s.start for s in made.spans] == sorted({0, 4, 5, 9, 10, 14, 15})
    assert made.spans[-1].stop == made.steps


def test_table_holds_peak_times_knob():
    plan = small("page/19-flip-tta")
    made = program(plan, DATA)
    rule = next(r for r in plan.rules if r.name == "norms")
    knob = tabulate(plan.knob("lr", "test"), made.steps)
    for step in (0, 5, 11):
        values = made.knobs_at(step)
        assert values["lr[norms]"] == pytest.approx(
            rule.lr / 16 * knob[step], rel=1e-6
        )  # quoted for the mean
        assert values["weight_decay[norms]"] == pytest.approx(rule.weight_decay * 16, rel=1e-6)
        assert values["decay[ema]"] == pytest.approx(0.99**5, rel=1e-6)


@pytest.mark.parametrize("name", ["muon94", "airbench94", "page/19-flip-tta"])
def test_a_reset_program_repeats_a_run_bit_for_bit(name):
    made = program(small(name), DATA)
    first = finished(made, seed=1)
    assert not same(first, finished(made, seed=2))
    assert same(first, finished(made, seed=1, stride=1))
    assert same(first, finished(program(small(name), DATA), seed=1))


@pytest.mark.parametrize("backend", [FP32, BF16], ids=["fp32", "bf16"])
def test_evaluation_does_not_disturb_training(backend):
    plan = small("airbench94")
    quiet = finished(program(plan, DATA, backend), seed=0)
    watched = program(plan, DATA, backend)
    for _ in train(watched, Clock(torch.device("cpu")), 0, stride=1):
        torch.manual_seed(5)
        evaluate(watched)
        evaluate(watched, "none")
    assert same(quiet, watched.state())
    assert watched.model.training


def test_frozen_parameters_stay_and_others_move():
    made = program(small("muon94"), DATA)
    bias = made.model.body.stem.whiten.bias
    made.run(0, 4)
    made.run(4, 5)
    moved = bias.clone()
    made.run(5, 8)
    assert torch.equal(bias, moved)  # 3/8 of 12 steps is 5 steps
    made.reset(0)


def test_lookahead_weights_are_the_result():
    made = program(small("airbench94"), DATA)
    made.run(0, 4)
    made.run(4, 8)
    made.run(8, 12)
    (averaged,) = made.averages
    assert isinstance(averaged.average, Lookahead)
    assert not all(torch.equal(a, b) for a, b in zip(averaged.slow, averaged.fast, strict=True))
    made.finish()
    assert all(torch.equal(a, b) for a, b in zip(averaged.slow, averaged.fast, strict=True))


def test_an_average_that_would_never_be_updated_is_refused():
    with pytest.raises(UserError, match="never"):
        lower(small("airbench94", epochs=1.0), DATA, FP32)  # 4 steps, an update every 5


def test_a_diverged_run_names_the_step_and_the_values():
    plan = small("muon94")
    hot = tuple(replace(r, lr=1e30) if r.name == "head" else r for r in plan.rules)
    made = program(replace(plan, rules=hot), DATA)
    with pytest.raises(Diverged, match=r"at step \d+ of 12: the loss is .*lr\[head\] = ") as caught:
        finished(made, seed=0)
    assert "\n" not in str(caught.value)


def test_every_role_needs_a_rule_and_only_one():
    plan = small("airbench94")
    without = replace(plan, rules=tuple(r for r in plan.rules if r.name != "norms"))
    with pytest.raises(UserError, match="no rule claims the role 'norm_bias'"):
        lower(without, DATA, FP32)
    twice = replace(plan, rules=(*plan.rules, Rule("again", ("norm_bias",), plan.rules[0].optimizer, 1.0)))
    with pytest.raises(UserError, match="'norm_bias' is claimed by more than one"):
        lower(twice, DATA, FP32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 71}, "batch_size = 71 with 70"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"epochs": 0.0}, "epochs = 0"),
        (
            {"net": BUILTIN["page/19-flip-tta"].plan().net, "batch_size": 40},
            r"40 does not divide.*splits = 16",
        ),
        ({"epochs": float("nan")}, "epochs = nan"),
    ],
)
def test_plans_that_cannot_run_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        lower(small("muon94", **changes), DATA, FP32)


def test_views_average_what_they_say():
    made = program(small("muon94"), DATA, FP64)
    made.model.eval()
    made.run(0, 4)
    weights = made.evaluation_weights()
    flat = all_logits(made.model, weights, made.test_set, "none")
    flipped = noise_dataset((3, 16, 16), classes=4, train=70, test=33)
    flipped.test.images[:] = flipped.test.images[:, :, ::-1]
    mirror = program(small("muon94"), flipped, FP64)
    pair = all_logits(made.model, weights, made.test_set, "flip")
    assert torch.allclose(
        pair, (flat + all_logits(made.model, weights, mirror.test_set, "none")) / 2, atol=1e-12
    )
    assert not torch.allclose(pair, flat)
    for views in VIEWS.values():
        assert sum(v.weight for v in views) == pytest.approx(1, rel=1e-15)  # a sixth has no exact form
    # moved by one pixel: against padding by reflection and cropping
    shifted = torch.nn.functional.pad(made.test_set.read(torch.arange(33)), (1,) * 4, mode="reflect")
    with torch.no_grad():
        made.model.eval()

        def pairs(x):
            return (made.model(x) + made.model(x.flip(-1))) / 2

        up_left, down_right = shifted[:, :, 2:, 2:], shifted[:, :, :-2, :-2]
        want = pairs(shifted[:, :, 1:-1, 1:-1]) / 2 + (pairs(up_left) + pairs(down_right)) / 4
    six = all_logits(made.model, weights, made.test_set, "flip_translate")
    assert torch.allclose(six, want, atol=1e-12)


def test_it_learns():
    made = program(small("resnet9", epochs=10.0), DATA)
    finished(made, seed=0)
    assert made.losses[-4:].mean() < 0.8 * made.losses[:4].mean()
    assert evaluate(made, "none").accuracy > 60  # four classes told apart by brightness; chance is 25


def test_cpu_precisions_agree():
    """bf16 keeps 8 bits of mantissa, so losses of the first steps agree to about one percent."""
    plan = small("airbench94")
    wide, half = (program(plan, DATA, e) for e in (FP64, BF16))
    for made in (wide, half):
        made.run(0, 3)
    assert torch.allclose(wide.losses[:3], half.losses[:3].double(), rtol=0.02)
