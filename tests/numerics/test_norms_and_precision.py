"""Norms in half precision, how fast statistics follow, and which arithmetic `half` is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from helpers import BF16, noise_dataset, program
from hotlap.machine.numerics import Numerics
from hotlap.machine.resolve import resolve
from hotlap.nets import Norm, ResNet9
from hotlap.nets.norms import BatchNorm
from hotlap.plan import Plan
from hotlap.recipes import BUILTIN
from hotlap.tricks.fast_norm_statistics import FastNormStatistics
from hotlap.tricks.half_precision import HalfPrecision

CPU = torch.device("cpu")


def layer(device=CPU, **norm) -> BatchNorm:
    made = BatchNorm(4, Norm(**norm)).to(device)
    made.reset(torch.Generator())
    return made


def noise(dtype, seed=0, times=1.0, device=CPU) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed)
    return (times * torch.randn(8, 4, 6, 6, generator=gen)).to(device, dtype)


def representable(x: torch.Tensor, dtype: torch.dtype) -> bool:
    return torch.equal(x, x.to(dtype).to(x.dtype))


HALVES = [
    pytest.param(CPU, torch.bfloat16, id="bf16"),
    pytest.param(torch.device("cuda"), torch.float16, id="fp16", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize(("device", "dtype"), HALVES)
@pytest.mark.parametrize("splits", [1, 4])
def test_a_norm_in_half_keeps_its_statistics_in_half(device, dtype, splits):
    half, wide = (layer(device, splits=splits, precision=p) for p in ("half", "fp32"))
    for step in range(4):
        x = noise(dtype, seed=step, times=1.7, device=device) + 0.3
        out = {p: norm(x) for p, norm in (("half", half), ("fp32", wide))}
        assert all(o.dtype == dtype for o in out.values())
    for name in ("running_mean", "running_var"):
        kept, exact = getattr(half, name), getattr(wide, name)
        assert kept.dtype == torch.float32  # what holds them is wide: the values in it are not
        assert representable(kept, dtype)
        assert not representable(exact, dtype)
        # four updates, each rounded to 8 bits (bf16): some of 2^-8 in all
        assert torch.allclose(kept, exact, rtol=0.03, atol=0.01)


@pytest.mark.parametrize(("device", "dtype"), HALVES)
@pytest.mark.parametrize("splits", [1, 4])
def test_statistics_in_half_do_not_follow_by_steps_below_their_last_bit(device, dtype, splits):
    """What float32 statistics are for: just above 1, half precision has no numbers closer than 2^-7 (bf16) or
    2^-10 (fp16)."""
    half, wide = (layer(device, splits=splits, precision=p, momentum=0.002) for p in ("half", "fp32"))
    for step in range(30):
        x = noise(dtype, seed=step, times=1.1, device=device)  # variance 1.2: steps of 0.0004
        half(x)
        wide(x)
    # rounding on the way may even take them below where they started
    assert (half.running_var <= 1).all()
    assert (wide.running_var > 1.005).all()


@pytest.mark.parametrize(("device", "dtype"), HALVES)
@pytest.mark.parametrize("training", [True, False])
def test_a_norm_in_half_rounds_its_scale_and_shift_before_it_uses_them(device, dtype, training):
    last = torch.finfo(dtype).eps  # 1 + last is the next number after 1
    x, out = noise(dtype, device=device), {}
    for precision in ("half", "fp32"):
        for share in (0.0, 0.49):
            norm = layer(device, precision=precision).train(training)
            norm.weight.data.fill_(1 + share * last)
            norm.bias.data.fill_(-1 - share * last)
            out[precision, share] = norm(x)
    assert torch.equal(out["half", 0.0], out["half", 0.49])
    assert not torch.equal(out["fp32", 0.0], out["fp32", 0.49])


def test_a_norm_in_half_learns_in_float32():
    half = layer(precision="half")
    x = noise(torch.bfloat16).requires_grad_()
    grads = torch.autograd.grad(half(x).square().sum(), (x, half.weight, half.bias))
    assert [g.dtype for g in grads] == [torch.bfloat16, torch.float32, torch.float32]
    assert all(torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("splits", [1, 2])
def test_half_changes_nothing_where_activations_are_wide(splits):
    x = noise(torch.float32)
    half, wide = (layer(splits=splits, precision=p) for p in ("half", "fp32"))
    assert torch.equal(half(x), wide(x))
    assert torch.equal(half.running_var, wide.running_var)


@pytest.mark.parametrize("norms", ["half", "fp32"])
def test_the_half_precision_trick_reaches_every_norm_of_a_run(norms):
    plan = HalfPrecision(norms)(Plan(net=ResNet9(widths=(4, 4, 4, 4)), batch_size=8, epochs=1.0))
    assert plan.numerics.precision == "half"
    made = program(plan, noise_dataset((3, 8, 8), classes=3, train=16, test=3), BF16)
    made.run(0, 2)
    statistics = [b for n, b in made.model.named_buffers() if "running" in n]
    assert len(statistics) == 2 * 8  # eight norms
    assert all(representable(s, torch.bfloat16) == (norms == "half") for s in statistics)
    assert torch.isfinite(made.losses).all()
    weights = [w for w in made.model.parameters() if w.ndim == 4]
    assert not any(representable(w, torch.bfloat16) for w in weights)  # weights stay in float32


def test_the_rungs_norms_are_in_half_until_the_seventh():
    names = [n for n in BUILTIN if n[:6] == "page/0"]
    kept = {n[5:7]: BUILTIN[n].plan().net.norm.precision for n in names}
    assert kept == {f"0{i}": "half" if i < 7 else "fp32" for i in range(1, 10)}


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("splits", [1, 2])
def test_statistics_follow_by_the_momentum_asked_for(momentum, splits):
    plan = FastNormStatistics(momentum)(Plan(net=ResNet9(norm=Norm(splits=splits))))
    norm = BatchNorm(4, plan.net.norm)
    norm.reset(torch.Generator())
    mean, var = torch.zeros(4), torch.ones(4)
    for step in range(5):
        x = noise(torch.float32, seed=step, times=step + 1.0) + step
        norm(x)
        parts = [x[s::splits] for s in range(splits)]
        mean += momentum * (sum(p.mean((0, 2, 3)) for p in parts) / splits - mean)
        var += momentum * (sum(p.var((0, 2, 3)) for p in parts) / splits - var)
    # float32 sums of a few hundred numbers up to ten
    assert torch.allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    assert torch.allclose(norm.running_var, var, rtol=1e-4, atol=1e-5)
    x = noise(torch.float32, seed=9)
    want = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    assert torch.allclose(norm.eval()(x), want, rtol=1e-3, atol=1e-4)


# which arithmetic `half` is


def measured(bf16_ms: float, fp32_ms: float):
    rows = {(p, m): ms for p, ms in (("bf16", bf16_ms), ("fp32", fp32_ms)) for m in ("channels_last",)}
    slower = {(p, "contiguous"): 2 * ms for (p, _), ms in rows.items()}
    return lambda *_args, **_kw: {(p, m, "off"): ms for (p, m), ms in (rows | slower).items()}


@pytest.mark.parametrize(("bf16", "fp32", "chosen"), [(5.0, 9.0, "bf16"), (9.0, 5.0, "fp32")])
def test_half_on_a_cpu_is_what_measures_faster_and_says_why(monkeypatch, bf16, fp32, chosen):
    monkeypatch.setattr("hotlap.machine.resolve.measured_choices", measured(bf16, fp32))
    backend = resolve(HalfPrecision()(Plan()).numerics, CPU)
    assert (backend.precision, backend.memory_format, backend.compile) == (chosen, "channels_last", False)
    assert backend.why.startswith(f"half precision is {chosen} here, a CPU having no fast fp16; measured")
    asked = resolve(Numerics(precision="half", memory_format="contiguous"), CPU)
    assert (asked.precision, asked.memory_format) == (chosen, "contiguous")


def test_fp16_on_a_cpu_is_given_only_when_asked_for_by_name(monkeypatch):
    monkeypatch.setattr("hotlap.machine.resolve.measured_choices", measured(5.0, 9.0))
    backend = resolve(Numerics(precision="fp16"), CPU)
    assert backend.precision == "fp16"
    assert "hundreds of times slower" in backend.why
    for asked in ("fp32", "bf16"):
        backend = resolve(Numerics(precision=asked), CPU)
        assert backend.precision == asked
        assert "half" not in backend.why


@pytest.mark.gpu
def test_half_on_a_gpu_is_fp16():
    cuda = torch.device("cuda")
    assert resolve(Numerics(precision="half"), cuda).dtype == torch.float16
    assert resolve(Numerics(), cuda).dtype in (torch.bfloat16, torch.float16)


@pytest.mark.gpu
def test_half_norms_on_a_gpu_are_batch_norm_of_half_tensors():
    cuda = torch.device("cuda")
    half, x = layer(cuda, precision="half"), noise(torch.float16, device=cuda)
    mean, var = torch.zeros(4, dtype=x.dtype, device=cuda), torch.ones(4, dtype=x.dtype, device=cuda)
    scale, shift = (t.detach().half() for t in (half.weight, half.bias))
    want = F.batch_norm(x, mean, var, scale, shift, True, 0.1, 1e-5)
    assert torch.equal(half(x), want)
    assert torch.equal(half.running_mean, mean.float())
    assert torch.equal(half.running_var, var.float())


@pytest.mark.gpu
def test_a_rung_in_half_trains_on_a_gpu():
    plan = BUILTIN["page/05-main-thread-augmentation"].plan()
    plan = replace(plan, net=replace(plan.net, widths=(8, 8, 8, 8)), batch_size=16, epochs=1.0)
    backend = resolve(plan.numerics, torch.device("cuda"))
    made = program(plan, noise_dataset(train=64, test=4), backend)
    made.run(0, 4)
    assert torch.isfinite(made.losses).all()
    assert all(representable(b, torch.float16) for b in made.model.buffers())
