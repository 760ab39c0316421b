"""Our float32 kernels, which every processor has, against the same functions in float64."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import noise_dataset, program
from hotlap.files import locked, user_cache
from hotlap.machine.backend import Backend
from hotlap.machine.kernels import build, choice, cpu
from hotlap.machine.kernels.build import FP32, library_fp32
from hotlap.machine.kernels.cpu import Convolution, ConvolutionPool, PoolNormAct, convolution_pool
from hotlap.machine.numerics import Numerics
from hotlap.machine.resolve import resolve
from hotlap.nets import Norm
from hotlap.nets.layers import Chain, Conv2d
from hotlap.nets.norms import BatchNorm
from hotlap.recipes import BUILTIN
from kernels.float64 import ACTS, pool_norm_act, running

with locked(user_cache() / "kernels"):  # one process of pytest-xdist compiles them, the others wait for it
    MISSING = library_fp32()
needs_kernels = pytest.mark.skipif(isinstance(MISSING, str), reason=f"no float32 kernels: {MISSING}")
DATA = noise_dataset((3, 16, 16), classes=4, train=70, test=33)
# A convolution's results may be off by this share of their size. A product and sum of float32 is off by 6e-8;
# what windows, filters and results are transformed with makes up to fifteen times as much of it.
OFF = 3e-6
SIZES = [  # images, c_in, c_out, height, width
    (3, 24, 64, 31, 31),  # inputs in no sixteens; tiles that hang over the edge
    (5, 64, 48, 15, 15),
    (2, 7, 16, 7, 5),
    (1, 1, 16, 1, 1),  # one pixel, all else is padding
    (4, 1, 32, 8, 8),
    (3, 33, 16, 2, 9),
    (90, 16, 32, 3, 3),  # more tiles than are worked at once
    (70, 40, 96, 5, 6),
    (300, 256, 256, 3, 3),  # threads sum the filters' gradient together
]


def images(*shape: int, seed: int = 0, odd: bool = False) -> torch.Tensor:
    """(B, C, H, W) float32, channels-last; `odd`: not where vectors are aligned."""
    b, c, h, w = shape
    numbers = torch.randn(b * h * w * c + 1, generator=torch.Generator().manual_seed(seed))
    return numbers[int(odd) : len(numbers) - 1 + int(odd)].view(b, h, w, c).permute(0, 3, 1, 2)


def filters(c_out: int, c_in: int) -> torch.Tensor:
    return images(c_out, c_in, 3, 3, seed=5).contiguous(memory_format=torch.channels_last)


def apart(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The root of the mean squared difference, in units of that of the values."""
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()


@needs_kernels
@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize(("count", "c_in", "c_out", "height", "width"), SIZES)
def test_a_convolution_and_its_gradients(count, c_in, c_out, height, width, odd):
    x = images(count, c_in, height, width, odd=odd).add_(0.3).requires_grad_()  # not about zero
    assert cpu.takes_convolution(x, torch.empty(c_out, c_in, 3, 3), 1, 1)
    weight = filters(c_out, c_in).requires_grad_()
    grad = images(count, c_out, height, width, seed=1, odd=odd)
    wide = [t.detach().double().requires_grad_() for t in (x, weight)]
    wanted = F.conv2d(*wide, padding=1)
    got = Convolution.apply(x, weight, 1)
    assert got.dtype == torch.float32
    assert apart(got, wanted) < OFF
    ours = torch.autograd.grad(got, (x, weight), grad)
    for a, b in zip(ours, torch.autograd.grad(wanted, wide, grad.double()), strict=True):
        assert a.shape == b.shape
        assert apart(a, b) < OFF
    again = Convolution.apply(x, weight, 1)
    assert torch.equal(got, again), "the same convolution twice has other bits"
    for a, b in zip(ours, torch.autograd.grad(again, (x, weight), grad), strict=True):
        assert torch.equal(a, b), "the same gradient twice has other bits"


@needs_kernels
@pytest.mark.parametrize(("count", "c_in", "c_out", "height", "width"), [s for s in SIZES if min(s[3:]) > 1])
def test_a_convolution_that_pools_is_the_convolution_and_then_the_pool(count, c_in, c_out, height, width):
    x = images(count, c_in, height, width, odd=True).add_(0.3).requires_grad_()
    weight = filters(c_out, c_in).requires_grad_()
    whole, pooled = Convolution.apply(x, weight, 1), ConvolutionPool.apply(x, weight)
    assert torch.equal(pooled, F.max_pool2d(whole, 2))
    # of each four pixels the one that is said to be the largest gets the gradient, and is as large as any
    _, which = convolution_pool(x.detach(), weight)
    grad = images(*pooled.shape, seed=1, odd=True)
    b, c, h, w = pooled.shape
    corner = F.one_hot(which.view(b, h, w, c).long(), 4).movedim(3, 1).view(b, c, h, w, 2, 2)
    crop = whole.detach()[:, :, : 2 * h, : 2 * w].view(b, c, h, 2, w, 2).transpose(3, 4)
    assert torch.equal((crop * corner).sum((4, 5)), pooled)
    spread = torch.zeros_like(whole)
    spread[:, :, : 2 * h, : 2 * w] = (
        (grad[..., None, None] * corner).transpose(3, 4).reshape(b, c, 2 * h, 2 * w)
    )
    dx, dw = torch.autograd.grad(whole, (x, weight), spread)
    got = torch.autograd.grad(pooled, (x, weight), grad)
    assert torch.equal(got[0], dx)
    assert apart(got[1], dw) < OFF  # sums over other tiles at a time


@needs_kernels
def test_of_equal_results_the_first_is_pooled_and_no_number_stays_none():
    x = torch.zeros(1, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    pooled, which = convolution_pool(x, filters(16, 16))
    assert not pooled.any()
    assert not which.any()
    x[0, 3, 4, 4] = float("nan")
    pooled, _ = convolution_pool(x, filters(16, 16))
    assert pooled[0, :, 1:3, 1:3].isnan().all(), "filters reach from row and column 3 to 5"


@needs_kernels
@pytest.mark.parametrize("c_out", [48, 256])
def test_threads_change_the_bits_of_a_filters_gradient_alone(c_out):
    x, weight = images(90, 256, 6, 5).requires_grad_(), filters(c_out, 256).requires_grad_()
    grad, held, found = images(90, c_out, 6, 5, seed=1), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = Convolution.apply(x, weight, 1)
            found.append((y, *torch.autograd.grad(y, (x, weight), grad)))
    finally:
        torch.set_num_threads(held)
    for y, dx, dw in found[1:]:
        assert torch.equal(y, found[0][0])
        assert torch.equal(dx, found[0][1])
        assert apart(dw, found[0][2]) < OFF


@needs_kernels
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("shape", "pool", "splits", "strided"),
    [
        ((6, 32, 9, 7), True, 1, True),  # odd sides: a row and a column are pooled by none
        ((1, 16, 5, 5), False, 1, True),
        ((8, 48, 8, 8), True, 4, True),
        ((8, 16, 3, 3), False, 2, False),
        ((40, 16, 1, 1), False, 1, True),
    ],
)
def test_pool_norm_and_activation(act, shape, pool, splits, strided):
    x = images(*shape, odd=True).mul_(2).add_(0.5).requires_grad_()
    c = shape[1]
    weight, bias = (torch.rand(c) + 0.5).requires_grad_(), torch.randn(c).requires_grad_()
    mean, var = torch.zeros(c), torch.ones(c)
    settings = (pool, True, splits, strided, 0.1, 1e-5, act, 0.3)
    y = PoolNormAct.apply(x, weight, bias, mean, var, *settings)
    grad = images(*y.shape, seed=1, odd=True)
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    wanted = pool_norm_act(*wide, pool, splits, strided, act)
    # a few operations in float32, and an exponential and an error function that are off by 1.5e-7
    assert apart(y, wanted) < 1e-6
    got = torch.autograd.grad(y, (x, weight, bias), grad)
    for a, b in zip(got, torch.autograd.grad(wanted, wide, grad.double()), strict=True):
        assert apart(a, b) < 2e-6
    for found, exact in zip((mean, var), running(wide[0], pool, splits, strided), strict=True):
        assert apart(found, exact) < 1e-6
    known = PoolNormAct.apply(x, weight, bias, mean, var, pool, False, *settings[2:])
    exact = pool_norm_act(*wide, pool, 1, True, act, mean.double(), var.double())
    assert apart(known, exact) < 1e-6


@needs_kernels
@pytest.mark.parametrize("act", ACTS)
def test_activations_of_extreme_and_of_no_numbers(act):
    z = torch.tensor([-1e30, -200.0, -90.0, -1e-6, 0.0, 1e-6, 90.0, 200.0, 1e30, float("inf"), float("nan")])
    x = z.repeat_interleave(16).view(1, 11, 1, 16).permute(0, 3, 1, 2)
    zeros, ones = torch.zeros(16), torch.ones(16)
    y = PoolNormAct.apply(x, ones, zeros, zeros, ones, False, False, 1, True, 0.1, 0.0, act, 0.3)
    wanted = ACTS[act](z.double())
    assert torch.allclose(y[0, 0, :, 0].double(), wanted, rtol=3e-7, atol=2e-7, equal_nan=True)


def unit(*modules: nn.Module) -> Chain:
    chain = Chain(*modules)
    for module in chain:
        if isinstance(module, BatchNorm | Conv2d):
            module.reset(torch.Generator().manual_seed(0))
        if isinstance(module, Conv2d):
            module.native = True
    chain.native = True
    return chain


@needs_kernels
def test_a_chain_takes_float32_and_leaves_other_filters_to_pytorch(monkeypatch):
    called = []
    for function in (ConvolutionPool, Convolution, PoolNormAct):
        run = function.apply
        monkeypatch.setattr(
            function, "apply", lambda *a, run=run, name=function.__name__: called.append(name) or run(*a)
        )
    x = images(4, 16, 9, 8)
    rest = (BatchNorm(32, Norm()), nn.GELU())
    for conv, names in (
        ([Conv2d(16, 32, 3), nn.MaxPool2d(2)], ["ConvolutionPool", "PoolNormAct"]),
        ([Conv2d(16, 32, 3)], ["Convolution", "PoolNormAct"]),
        ([Conv2d(16, 32, 1)], ["PoolNormAct"]),
        ([Conv2d(16, 32, 2)], ["PoolNormAct"]),
        ([Conv2d(16, 32, 3, stride=2)], ["PoolNormAct"]),
    ):
        called.clear()
        chain = unit(*conv, *rest)
        y = chain(x)
        assert called == names
        plain = x
        for module in chain:
            if isinstance(module, Conv2d):
                module.native = False
            plain = module(plain)
        assert apart(y, plain) < OFF
    monkeypatch.setattr(cpu, "library_fp32", lambda: "none here")
    called.clear()
    unit(Conv2d(16, 32, 3), *rest)(x)
    assert not called


def small(name: str):
    plan = BUILTIN[name].plan()
    net = replace(plan.net, widths=tuple(16 for _ in plan.net.widths))
    return replace(plan, net=net, batch_size=16, epochs=3.0)


@needs_kernels
@pytest.mark.parametrize("name", ["fast94", "page/15-ghost-norm"])
def test_a_run_is_the_same_run_with_them(name):
    def made(kernels):
        backend = Backend(torch.device("cpu"), "fp32", "channels_last", False, "test", kernels)
        found = program(small(name), DATA, backend)
        found.run(0, 4)
        return found

    plain, ours, again = made("none"), made("all"), made("all")
    # 1e-6 in a step; the third is off by 1e-3, as it is without them when weights begin 1e-6 apart
    assert apart(ours.losses[:2], plain.losses[:2]) < 2e-5
    states = [made.state() for made in (plain, ours, again)]
    assert not all(torch.equal(a, states[0][key]) for key, a in states[1].items()), "they were not used"
    for key, value in states[1].items():
        assert torch.equal(value, states[2][key]), key


@needs_kernels
def test_each_precision_is_measured_by_itself(tmp_path, monkeypatch):
    asked = []

    def contests(device, dtype, *_):
        asked.append(dtype)
        return {name: (lambda: None, lambda: None) for name in choice.WORDS}

    monkeypatch.setattr(choice, "contests", contests)
    numbers = iter(range(100))
    monkeypatch.setattr(choice, "milliseconds", lambda *_: float(next(numbers)))
    fp32, bf16 = (choice.measured(tmp_path, precision=p) for p in ("fp32", "bf16"))
    assert list(dict.fromkeys(asked)) == [torch.float32, torch.bfloat16]
    assert fp32 != bf16
    asked.clear()
    assert choice.measured(tmp_path, precision="fp32") == fp32
    assert choice.measured(tmp_path, precision="bf16") == bf16
    assert not asked


@needs_kernels
def test_kernels_can_be_asked_for_in_float32():
    got = resolve(Numerics("fp32", "channels_last", kernels="all"), torch.device("cpu"))
    assert (got.precision, got.kernels) == ("fp32", "all")


ELSEWHERE = {  # what a processor's kernels are built with, and what runs them here
    "avx2": (["g++", "-march=x86-64-v3"], []),
    "sse2": (["g++", "-march=x86-64"], []),
    "clang": (["clang++", "-march=x86-64-v3"], []),
    "neon": (["aarch64-linux-gnu-g++", "-static"], ["qemu-aarch64"]),
}


@pytest.mark.parametrize(
    "processor", ["avx2", "neon", *(pytest.param(p, marks=pytest.mark.slow) for p in ("sse2", "clang"))]
)
def test_other_processors_have_the_same_functions(processor, tmp_path):
    compiler, runner = ELSEWHERE[processor]
    for word in (compiler[0], *runner):
        if shutil.which(word) is None:
            pytest.skip(f"no {word}")
    if not runner and "avx2" not in build.cpu_features():
        pytest.skip("this processor has no AVX2")
    made = tmp_path / "kernels"
    sources = [str(p) for p in (Path(__file__).with_name("vectors_main.cpp"), *FP32)]
    words = [*compiler, "-O2", "-std=c++17", "-fopenmp", "-w", *sources, "-o", str(made)]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([*runner, str(made)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
