"""On CUDA: the captured step takes the steps that the eager one takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import noise_dataset
from hotlap.engine.clock import Clock
from hotlap.engine.evaluate import evaluate
from hotlap.engine.loop import train
from hotlap.engine.lower import lower
from hotlap.engine.program import Program
from hotlap.machine.backend import Backend
from hotlap.machine.numerics import Numerics
from hotlap.machine.resolve import resolve
from hotlap.nets import AirNet
from hotlap.recipes import BUILTIN

pytestmark = pytest.mark.gpu
DATA = noise_dataset((3, 32, 32), classes=10, train=640, test=100)
CUDA = torch.device("cuda")


def plan_of(name: str):
    plan = BUILTIN[name].plan()
    net = replace(plan.net, widths=tuple(16 for _ in plan.net.widths))
    if isinstance(net, AirNet):
        net = replace(net, middle=tuple(16 for _ in net.middle))
    plan = replace(plan, batch_size=64, epochs=2.0, net=net)
    return replace(plan, rules=tuple(replace(r, lr=r.lr / 10) for r in plan.rules))


def run(made: Program, seed: int, captured: bool) -> dict[str, torch.Tensor]:
    if captured:
        made.compile()
    made.upload()
    for _ in train(made, Clock(CUDA), seed):
        pass
    return {k: v.clone() for k, v in made.state().items()}


# of the last three: batches from the host; resets of norms in some steps; images of three sizes
REPLAYED = ("muon94", "airbench94", "page/19-flip-tta", "page/10-resnet9", "hiverge94", "aidda100")


@pytest.mark.parametrize("name", REPLAYED)
def test_replayed_graphs_take_the_eager_steps(name):
    backend = Backend(CUDA, "fp32", "channels_last", False, "test")
    eager, captured = (run(lower(plan_of(name), DATA, backend), 0, c) for c in (False, True))
    # the same kernels; atomics in some backward kernels sum in another order
    for key in eager:
        assert torch.allclose(eager[key].float(), captured[key].float(), rtol=1e-2, atol=1e-3), key


def test_a_captured_program_is_reset_without_capturing_again():
    made = lower(plan_of("muon94"), DATA, resolve(Numerics(), CUDA))
    run(made, 0, captured=True)
    graphs = dict(made._launch)
    first = made.losses.clone()
    for _ in train(made, Clock(CUDA), 0):
        pass
    assert made._launch == graphs
    assert torch.allclose(first, made.losses, rtol=0.05)
    assert torch.isfinite(made.losses).all()


@pytest.mark.parametrize("name", ["muon94", "hiverge94", "page/19-flip-tta"])
def test_the_captured_evaluation_is_the_eager_one(name):
    made = lower(plan_of(name), DATA, Backend(CUDA, "fp32", "channels_last", False, "test"))
    run(made, 0, captured=True)
    views = made.plan.evaluation.tta, made.plan.evaluation.share
    assert list(made._views) == [views]
    first = made.logits(*views).clone()
    assert torch.allclose(first, made._logits(*views), rtol=1e-4, atol=1e-4)
    run(made, 1, captured=False)  # other weights, on the same addresses
    again = made.logits(*views)
    assert not torch.allclose(first, again, rtol=1e-2, atol=1e-2)
    assert torch.allclose(again, made._logits(*views), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["muon94", "airbench96", "page/15-ghost-norm", "page/10-resnet9"])
def test_steps_with_our_kernels_are_those_without(name):
    found = []
    for kernels in ("none", "all"):
        backend = Backend(CUDA, "fp32", "channels_last", False, "test", kernels)
        found.append(run(lower(plan_of(name), DATA, backend), 0, captured=True))
    plain, ours = found
    assert not torch.equal(plain["losses"], ours["losses"]), "the kernels were not used"
    # float32 sums in another order, and the first steps follow on each other
    assert torch.allclose(plain["losses"][:4], ours["losses"][:4], rtol=1e-3)


def test_which_kernels_are_used_is_measured(tmp_path):
    from hotlap.machine.kernels import choice

    assert choice.missing(CUDA) is None
    (times,) = choice.measured(tmp_path, device=CUDA).values()
    assert all(0 < ms < 1000 for ms in times)
    assert choice.choose("auto", True, tmp_path, CUDA) == ("all" if times[0] < times[1] else "none")


def test_events_and_wall_clock_agree():
    made = lower(plan_of("muon94"), DATA, resolve(Numerics(), CUDA))
    made.compile()
    made.upload()
    clock = Clock(CUDA)
    for _ in train(made, clock, 0):
        pass
    with clock.measure("eval"):
        assert 0 <= evaluate(made).accuracy <= 100
    assert clock.drift < 0.05 * clock.seconds["train"] + 0.005


def test_a_profile_counts_kernels_and_the_gaps_between_replays():
    from hotlap.measure.profile import OUTSIDE, profile_run

    made = lower(plan_of("muon94"), DATA, resolve(Numerics(), CUDA))
    made.upload()
    found = profile_run(made, "muon94", 0.5)
    assert sum(found.kinds.values()) == pytest.approx(found.train_s)
    assert found.kinds["convolution forward"] > 0
    assert found.kinds[OUTSIDE] >= 0
    for part in ("group1", "group2", "group3"):
        assert found.parts[part]["convolution backward"] > 0, f"{part}: its backward kernels are not found"
    assert all(s.profile.launches > 50 for s in found.stretches)
    assert 0 < found.reach < 1
