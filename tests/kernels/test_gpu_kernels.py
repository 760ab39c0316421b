"""The Triton kernels against the same functions in float64: on a GPU where there is one, else interpreted."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from interpreted import in_place

GPU = torch.cuda.is_available()
pytestmark = pytest.mark.interpreted
if in_place():
    gpu = pytest.importorskip("hotlap.machine.kernels.gpu", reason="no Triton here")
elif find_spec("triton") is None:
    pytest.skip("no Triton here", allow_module_level=True)

DEVICE = torch.device("cuda" if GPU else "cpu")
ACTS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "celu": lambda z: F.celu(z, 0.3)}
# half the distance of two numbers near 1, twice; the interpreter cuts a bfloat16 off where a GPU rounds it
ROUNDING = {torch.bfloat16: 2.0**-8 if GPU else 2.0**-7, torch.float16: 2.0**-10}


def images(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


def off(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference, in units of the largest value."""
    return ((got.double() - wanted.double()).abs().max() / wanted.double().abs().max()).item()


def split(x: torch.Tensor, splits: int, strided: bool) -> list[torch.Tensor]:
    return [x[s::splits] for s in range(splits)] if strided else list(x.chunk(splits))


def reference(x, weight, bias, pool, splits, strided, act, mean=None, var=None):
    """Pool, norm and activation in float64, part by part."""
    parts = split(F.max_pool2d(x, 2) if pool else x, splits, strided)
    done = [F.batch_norm(p, mean, var, weight, bias, mean is None, 0.1, 1e-5) for p in parts]
    return ACTS[act](torch.stack(done, 1).flatten(0, 1) if strided else torch.cat(done))


def run(x, weight, bias, mean, var, pool, training, splits=1, strided=True, act="gelu"):
    settings = pool, training, splits, strided, 0.1, 1e-5, act, 0.3
    return gpu.PoolNormAct.apply(x, weight, bias, mean, var, *settings)


CASES = {
    "odd sides: a row and a column are pooled by none": ((3, 20, 9, 7), True, 1, True),
    "an odd height": ((2, 16, 5, 4), True, 1, True),
    "an odd width": ((2, 16, 4, 5), True, 1, True),
    "no pool": ((3, 16, 5, 5), False, 1, True),
    "parts taken in turn": ((8, 8, 8, 8), True, 4, True),
    "parts of neighbours": ((8, 8, 6, 6), False, 2, False),
    "more channels than a tile": ((2, 72, 4, 4), True, 1, True),
    "several tiles a chunk": ((3, 8, 14, 16), False, 1, True),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_float64(case, act, monkeypatch):
    monkeypatch.setattr(gpu, "MOST_CHUNKS", 8)  # so that a chunk has several tiles
    shape, pool, splits, strided = CASES[case]
    x, c = (2 * images(*shape) + 0.5).requires_grad_(), shape[1]
    weight = (torch.rand(c, device=DEVICE) + 0.5).requires_grad_()
    bias = torch.randn(c, device=DEVICE).requires_grad_()
    mean, var = torch.zeros(c, device=DEVICE), torch.ones(c, device=DEVICE)
    y = run(x, weight, bias, mean, var, pool, True, splits, strided, act)
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    wanted = reference(*wide, pool, splits, strided, act)
    assert off(y, wanted) < 2e-6  # sums of float32, in another order
    grad = images(*y.shape, seed=1)
    got = torch.autograd.grad(y, (x, weight, bias), grad)
    exact = torch.autograd.grad(wanted, wide, grad.double())
    for ours, theirs in zip(got, exact, strict=True):
        assert ours.shape == theirs.shape
        assert off(ours, theirs) < 5e-6
    # running statistics: the mean over the parts, the variance unbiased
    before = F.max_pool2d(wide[0], 2) if pool else wide[0]
    flat = [p.transpose(0, 1).flatten(1) for p in split(before, splits, strided)]
    assert off(mean, 0.1 * torch.stack([f.mean(1) for f in flat]).mean(0)) < 2e-6
    assert off(var, 0.9 + 0.1 * torch.stack([f.var(1) for f in flat]).mean(0)) < 2e-6
    again = run(x, weight, bias, mean, var, pool, True, splits, strided, act)
    assert torch.equal(y, again), "the same twice has other bits"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(dtype):
    x = images(4, 16, 8, 8, dtype=dtype).requires_grad_()
    ones, zeros = torch.ones(16, device=DEVICE), torch.zeros(16, device=DEVICE)
    y = run(x, ones, zeros, zeros.clone(), ones.clone(), True, True)
    assert y.dtype == dtype
    wide = x.detach().double().requires_grad_()
    wanted = reference(wide, ones.double(), zeros.double(), True, 1, True, "gelu")
    assert off(y, wanted) < ROUNDING[dtype]
    grad = images(*y.shape, seed=1, dtype=dtype)
    got, exact = torch.autograd.grad(y, x, grad)[0], torch.autograd.grad(wanted, wide, grad.double())[0]
    assert got.dtype == dtype
    assert off(got, exact) < ROUNDING[dtype]


def test_a_mean_far_from_zero_costs_no_digits():
    x = images(8, 8, 8, 8) * 0.01 + 100
    ones, zeros = torch.ones(8, device=DEVICE), torch.zeros(8, device=DEVICE)
    y = run(x, ones, zeros, zeros.clone(), ones.clone(), False, True, act="silu")
    wanted = reference(x.double(), ones.double(), zeros.double(), False, 1, True, "silu")
    # the mean itself is known to a part in 2^24 of 100, a six-hundredth of the deviation
    assert off(y, wanted) < 2e-3


@pytest.mark.parametrize("pool", [True, False])
def test_known_statistics_are_used_and_left_alone(pool):
    x = images(4, 16, 6, 6)
    weight, bias = torch.rand(16, device=DEVICE) + 0.5, torch.randn(16, device=DEVICE)
    mean, var = torch.randn(16, device=DEVICE), torch.rand(16, device=DEVICE) + 0.5
    held = mean.clone(), var.clone()
    y = run(x, weight, bias, mean, var, pool, False, splits=2)
    wide = [t.double() for t in (x, weight, bias, mean, var)]
    assert off(y, reference(*wide[:3], pool, 1, True, "gelu", *wide[3:])) < 2e-6
    assert torch.equal(mean, held[0])
    assert torch.equal(var, held[1])


def test_of_equal_pixels_the_first_gets_the_gradient_and_no_number_stays_none():
    x = torch.zeros(2, 8, 4, 4, device=DEVICE).contiguous(memory_format=torch.channels_last)
    x[:, :, 1, 1] = 2.0
    ones, zeros = torch.ones(8, device=DEVICE), torch.zeros(8, device=DEVICE)

    def of(x, act="silu"):
        return run(x, ones, zeros, zeros.clone(), ones.clone(), True, True, act=act)

    x = x.requires_grad_()
    dx = torch.autograd.grad(of(x), x, images(2, 8, 2, 2))[0]
    for row, column, some in ((1, 1, True), (0, 0, False), (0, 2, True), (2, 2, True), (3, 3, False)):
        assert bool((dx[:, :, row, column] != 0).all()) == some
        assert bool((dx[:, :, row, column] == 0).all()) != some
    spoilt = x.detach().clone()
    spoilt[1, 0, 0, 3] = float("nan")
    for act in ACTS:
        y = of(spoilt, act)
        assert y[:, 0].isnan().all(), "a channel with what is no number has no mean"
        assert not y[:, 1:].isnan().any()


def test_the_gradient_of_what_has_no_scale_is_not_asked_for():
    x = images(2, 8, 4, 4).requires_grad_()
    ones, zeros = torch.ones(8, device=DEVICE), torch.zeros(8, device=DEVICE).requires_grad_()
    y = run(x, ones, zeros, torch.zeros_like(ones), ones.clone(), True, True)
    dx, db = torch.autograd.grad(y.sum(), (x, zeros))
    assert dx.shape == x.shape
    assert db.shape == (8,)


def test_they_try_themselves_out():
    gpu.try_out(DEVICE)
