"""The maths behind the topics of `hotlap explain`."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from helpers import FP64, noise_dataset, program
from hotlap.explain import batch_norm, batch_size, ghost_norm, momentum, small
from hotlap.inspect import equilibrium
from hotlap.inspect.activations import (
    Moments,
    depth_statistics,
    likeness,
    mean_share,
    one_sided,
    statistics_spread,
)
from hotlap.inspect.operations import kind_of, profile_steps
from hotlap.inspect.weights import trace_weights
from hotlap.nets import ResNet9
from hotlap.optim.sgd import sgd_step


def scale_free_walk(steps: int, start: float, lr: float, decay: float, m: float, force: float, size=4000):
    """|w| and the length of each step, for random gradients orthogonal to w of length force / |w|."""
    gen = torch.Generator().manual_seed(0)
    w = torch.randn(size, generator=gen, dtype=torch.float64)
    w *= start / w.norm()
    v = torch.zeros_like(w)
    values = [torch.tensor(x, dtype=torch.float64) for x in (lr, decay, m)]
    norms, moves = [float(w.norm())], []
    for _ in range(steps):
        g = torch.randn(size, generator=gen, dtype=torch.float64)
        g -= (g @ w) / (w @ w) * w
        g *= force / (g.norm() * w.norm())
        old = w.clone()
        sgd_step([w], [g], [v], *values, lr_in_velocity=True)
        norms.append(float(w.norm()))
        moves.append(float((w - old).norm()))
    return norms, moves


@pytest.mark.parametrize("m", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("start", [0.25, 4.0])
def test_scale_free_weights_end_in_the_predicted_equilibrium(m, start):
    # H decay = 0.01: the formulas are first order in it, so they hold to about 1%; 2% leaves room for the
    # walk's own noise, which in 4000 dimensions is below 1%
    lr, decay, force = 0.5 * (1 - m), 0.02, 1.0
    end = equilibrium.equilibrium_norm(force, lr, decay, m)
    norms, moves = scale_free_walk(400, start * end, lr, decay, m, force)
    assert norms[-1] == pytest.approx(end, rel=0.02)
    relative = sum(moves[-100:]) / sum(norms[-101:-1])
    assert relative == pytest.approx(equilibrium.relative_step(lr, decay, m), rel=0.02)
    rate = equilibrium.whole_rate(lr, m) * force / norms[-1] ** 2
    assert rate == pytest.approx(equilibrium.relative_rate(lr, decay, m), rel=0.04)


def test_the_way_to_equilibrium_is_the_predicted_one():
    lr, decay, m, force = 0.05, 0.02, 0.9, 1.0
    start = 3 * equilibrium.equilibrium_norm(force, lr, decay, m)
    norms, _ = scale_free_walk(150, start, lr, decay, m, force)
    settled = equilibrium.settling_steps(lr, decay, m)
    assert settled == pytest.approx(25)
    for step in (25, 50, 100, 150):
        # momentum delays the effect of a step by m / (1 - m) = 9 steps, of which decay changes w by 1% each
        predicted = equilibrium.norm_after(step, start, force, lr, decay, m)
        assert norms[step] == pytest.approx(predicted, rel=0.1)
    # and decay is what brings it down: without it nothing would shrink
    assert norms[25] < 0.85 * start


def quadratic_loss(m: float, whole: float, steps: int = 400) -> float:
    """Loss of sgd_step on a quadratic of curvatures 1 to 0.03, after `steps`."""
    curvature = torch.tensor([1.0, 0.3, 0.1, 0.03], dtype=torch.float64)
    w, v = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    values = [torch.tensor(x, dtype=torch.float64) for x in (whole * (1 - m), 0.0, m)]
    for _ in range(steps):
        sgd_step([w], [curvature * w], [v], *values, lr_in_velocity=True)
    return float((curvature * w.square()).sum() / 2)


def test_on_a_quadratic_the_whole_rate_counts_and_momentum_does_not():
    # a small whole rate, so that what momentum delays (up to 9 steps) is little against the 400
    losses = [quadratic_loss(m, 0.05) for m in (0.0, 0.5, 0.9)]
    assert max(losses) / min(losses) < 1.02
    # the same rate *before* dividing by 1 - m is another run altogether
    assert quadratic_loss(0.9, 0.05 / (1 - 0.9)) < 0.5 * losses[0]


def tiny_program(scale=1.0, weight_decay=0.02):
    plan = small.small_plan(16, 2.0, 0.2, weight_decay=0.0, schedule=small.Constant())
    net = ResNet9(widths=(4, 4, 4, 4), norm=replace(small.NET.norm, eps=1e-12))
    plan = replace(plan, net=net)
    plan = plan.carve("filters", "filter", lr=0.1 * scale**2, weight_decay=weight_decay / scale**2)
    return program(plan, noise_dataset(shape=(3, 16, 16), train=48), FP64)


def test_rate_times_decay_is_one_knob_once_the_start_is_scaled_with_it():
    """Filters a times as large, lr a^2, decay 1 / a^2: the same losses and the same filters but for a."""
    one, other = tiny_program(), tiny_program(scale=2.0)
    first, second = trace_weights(one, seed=3), trace_weights(other, seed=3, scale=2.0)
    torch.testing.assert_close(one.losses, other.losses, rtol=1e-7, atol=0)  # float64, eps 1e-12
    torch.testing.assert_close(2 * first.norms, second.norms, rtol=1e-7, atol=0)
    # the product is what is held: the decay alone changes the run
    third = tiny_program(weight_decay=0.2)
    trace_weights(third, seed=3)
    assert not torch.allclose(third.losses, one.losses, rtol=1e-6)


def test_gradients_read_back_from_the_velocity_are_orthogonal_to_scale_free_filters():
    trace = trace_weights(tiny_program(), seed=0)
    assert trace.cosines.abs().max() < 1e-9  # float64, eps 1e-12
    assert (trace.gradients > 0).all()
    assert trace.norms.shape == (7, len(trace.layers))


def test_statistics_noise_falls_with_the_root_of_the_group():
    gen = torch.Generator().manual_seed(0)
    # images whose own means spread by 0.5 around 1, pixels by 1 around those
    x = 1 + 0.5 * torch.randn(3000, 3, 1, 1, generator=gen) + torch.randn(3000, 3, 6, 6, generator=gen)
    moments, probes = Moments.of(x), x[:16, :, 0, 0]
    small_group, large = (statistics_spread(moments, probes, n, 3000, seed=1) for n in (8, 128))
    # 3000 groups x 3 channels estimate an sd to about 1%; 4% is four of these
    assert small_group.mean / large.mean == pytest.approx(4, rel=0.04)
    # the variance over n has itself an sd of sqrt(2 (n - 1)) / n: one of the n goes to the mean
    assert small_group.var / large.var == pytest.approx(math.sqrt(7 / 127) * 128 / 8, rel=0.04)
    assert small_group.mean == pytest.approx(small_group.predicted_mean, rel=0.04)
    total = math.sqrt(0.25 + 1)
    assert small_group.mean == pytest.approx(math.sqrt(0.25 + 1 / 36) / total / math.sqrt(8), rel=0.06)
    assert small_group.output > 3 * large.output


def test_what_depth_does_to_a_plain_net_and_norms_undo():
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, normed = (
        depth_statistics(images, 30, 32, norm, torch.Generator().manual_seed(1)) for norm in (False, True)
    )
    assert plain[0]["likeness"] < 0.2 < 0.85 < plain[-1]["likeness"]
    assert plain[-1]["mean_share"] > 5 * plain[0]["mean_share"]
    assert normed[-1]["likeness"] < 0.5
    assert max(row["mean_share"] for row in normed) < 1e-6  # a norm's output is centred, to float32


def test_the_correlation_through_a_relu_is_that_of_gaussians():
    gen = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 400_000, generator=gen, dtype=torch.float64)
    for r in (-0.9, 0.0, 0.5, 0.95):
        x, y = a.relu(), (r * a + math.sqrt(1 - r * r) * b).relu()
        cosine = float((x * y).mean() / (x.square().mean() * y.square().mean()).sqrt())
        assert batch_norm.through_relu(r) == pytest.approx(cosine, abs=0.006)  # 400,000 draws: sd below 0.002
    expected = batch_norm.expected_likeness(-0.2, 40)
    assert len(expected) == 40
    assert all(x < y for x, y in pairwise(expected))
    assert batch_norm.through_relu(1 + 1e-12) == pytest.approx(1)  # rounding may leave the cosine above 1


def test_measures_of_activations_at_their_ends():
    constant = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(5, 2, 3, 3)
    assert mean_share(constant) == pytest.approx(1)
    assert likeness(constant) == pytest.approx(1)
    assert one_sided(constant) == 1
    swinging = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 4, 3, 3)
    assert (mean_share(swinging), one_sided(swinging)) == (0, 0)
    assert likeness(swinging) == pytest.approx(-1)


def test_split_over_devices_is_ghost_norm_only_without_synchronising():
    x = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1
    plain, ghost, split_up, synchronised, many = ghost_norm.arrangements(x, 32, 8, 2)
    assert (plain["to_plain"], ghost["to_ghost"]) == (0, 0)
    assert split_up["to_ghost"] < 1e-12 < 0.1 < split_up["to_plain"]
    assert synchronised["to_plain"] < 1e-12 < 0.1 < synchronised["to_ghost"]
    assert many["to_plain"] < 1e-12
    assert [a["group"] for a in (plain, ghost, split_up, synchronised, many)] == [32, 4, 4, 32, 32]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::mkldnn_convolution", "convolution forward"),
        ("aten::cudnn_convolution", "convolution forward"),
        ("aten::convolution_backward", "convolution backward"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "convolution backward"),
        ("aten::native_batch_norm_backward", "norm"),
        ("GhostNormBackward", "norm"),
        ("aten::max_pool2d_with_indices_backward", "pool"),
        ("aten::elu_backward", "activation"),
        ("aten::clamp_min", "activation"),
        ("hotlap::optimizer", "optimizer"),
        ("aten::copy_", None),
        ("aten::linalg_vector_norm", None),
    ],
)
def test_operations_by_name(name, kind):
    assert kind_of(name) == kind


def test_a_profiled_step_is_accounted_for():
    plan = replace(small.small_plan(16, 1.0, 0.1), net=ResNet9(widths=(8, 8, 8, 8)))
    made = program(plan, noise_dataset(train=96), FP64)
    profile = profile_steps(made, 0, 2)
    ours = "pool, norm, activation"  # a kernel that takes no float64
    assert all(ms > 0 for kind, ms in profile.kinds.items() if kind != ours), profile.kinds
    assert profile.kinds[ours] == 0
    assert sum(profile.shares.values()) == pytest.approx(1)
    inside = sum(profile.kinds.values())
    assert 0.3 * profile.step_ms < inside < 1.05 * profile.step_ms  # each operation's time once, not twice
    assert "batch" not in vars(made.feed), "the parts are not put back"


def grid_results(loss):
    momenta, whole = (0.0, 0.5, 0.9, 0.98), (0.5, 1.0, 2.0, 4.0)
    runs = [{"momentum": m, "whole": w, "loss": loss(m, w), "accuracy": 50.0} for m in momenta for w in whole]
    decays = [
        {"lr": lr, "decay": d, "loss": 1 + abs(math.log(lr * d)), "accuracy": 50.0}
        for lr in (0.1, 0.2)
        for d in (0.01, 0.02)
    ]
    return {"runs": runs, "decay_runs": decays, "batch": 64, "epochs": 1.0, "decay_epochs": 1.0}


def test_the_momentum_answer_is_what_the_numbers_say():
    flat = momentum.conclude(grid_results(lambda m, w: 1 + (math.log(w / 2)) ** 2))
    assert "So the rate counts for more" in flat.answer
    assert "one knob" in flat.answer
    steep = momentum.conclude(grid_results(lambda m, w: 1 + (math.log(w / 2)) ** 2 + 3 * m))
    assert "momentum matters as much" in steep.answer
    assert momentum.conclude(grid_results(lambda m, w: None if w == 4 and m == 0 else 1.0 + w)).answer


def rate_results(edge):
    batches, rates = (32, 512), [0.001 * 2.0**k for k in range(10)]
    runs = [
        {"batch": b, "rate": r, "loss": 1.0 if r <= edge(b) * 1.001 else 2.0, "accuracy": 50.0}
        for b in batches
        for r in rates
    ]
    memory = [{"rate": 0.001, "bins": [1.0] * 8}, {"rate": 0.004, "bins": [1.0] * 6 + [1.5] * 2}]
    return {"batches": batches, "rates": rates, "epochs": 1.0, "runs": runs, "memory": memory}


def test_the_batch_size_answer_is_what_the_numbers_say():
    step = batch_size.conclude(rate_results(lambda b: 0.001 * 512 / b))
    assert "curvature" in step.answer
    assert step.results["together_until"] == {512: 0.001}
    example = batch_size.conclude(rate_results(lambda b: 0.016))
    assert "per example: forgetting" in example.answer
    assert "the faster net forgets more" in example.answer
    assert example.results["together_until"] == {512: pytest.approx(0.512)}  # they worsen together too
