"""Convolution, bias and clamp in one, against float64: our own on any shape, oneDNN's, PyTorch's two."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hotlap.machine.kernels import build, frozen
from hotlap.machine.kernels.build import anywhere

needs_kernels = pytest.mark.skipif(isinstance(anywhere(), str), reason=str(anywhere()))
DTYPES = [torch.float32, torch.bfloat16]
# float32: sums of at most 25 products. bfloat16: one rounding of the result, 2^-9 of it; sums are of float32
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-8}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(channels, kernel, stride, most, dtype, taps=True):
    """A convolution of each channel by itself, and its weights as they are after rounding, in float64."""
    weight, bias = drawn(channels, 1, kernel, kernel).to(dtype), drawn(channels, seed=1).to(dtype)
    held = frozen.pack(weight, bias, dtype) if taps else None
    return frozen.Frozen(weight, bias, stride, channels, most, held), weight.double(), bias.double()


def reference(x, weight, bias, conv, rows, columns):
    out = F.conv2d(F.pad(x.double(), (*columns, *rows)), weight, bias, conv.stride, 0, 1, conv.groups)
    return out if conv.most is None else out.clamp(0, conv.most)


def close(got, want, dtype) -> bool:
    return got.shape == want.shape and bool(
        ((got.double() - want).abs() <= ROUNDING[dtype] * want.abs().clamp_min(1)).all()
    )


@needs_kernels
@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(32, 100), st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([3, 5]),
    st.sampled_from([1, 2]),
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from([6.0, math.inf, 0.5]),
    st.sampled_from(DTYPES),
)
def test_each_channel_by_itself_for_any_shape_and_padding(shape, kernel, stride, pads, most, dtype):
    rows, columns = pads[:2], pads[2:]
    if shape[2] + sum(rows) < kernel or shape[3] + sum(columns) < kernel:
        return  # no result at all
    conv, weight, bias = made(shape[1], kernel, stride, most, dtype)
    assert frozen.possible(conv.weight, stride, shape[1], most)
    x = drawn(*shape, seed=2).to(dtype).contiguous(memory_format=torch.channels_last)
    got = frozen.depthwise(x, conv, rows, columns)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert close(got, reference(x, weight, bias, conv, rows, columns), dtype)


@needs_kernels
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_number_stays_so_and_stays_where_it_is(dtype):
    conv, *_ = made(40, 3, 1, 6.0, dtype)
    x = torch.zeros(1, 40, 9, 9, dtype=dtype).contiguous(memory_format=torch.channels_last)
    x[0, 33, 4, 4] = math.nan
    bad = frozen.depthwise(x, conv, (1, 1), (1, 1)).isnan().nonzero().tolist()
    assert bad == [[0, 33, i, j] for i in (3, 4, 5) for j in (3, 4, 5)]


@needs_kernels
def test_bfloat16_is_rounded_to_the_nearest_even_one():
    weight, bias = torch.zeros(32, 1, 3, 3), torch.zeros(32)
    weight[:, 0, 1, 1] = 1
    # halfway between two bfloat16, and a little off it
    bias[:4] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 1 + 2**-8 - 2**-20])
    dtype = torch.bfloat16
    held = frozen.pack(weight, bias, dtype)
    conv = frozen.Frozen(weight.to(dtype), bias.to(dtype), 1, 32, 6.0, held)
    x = torch.zeros(1, 32, 1, 1, dtype=dtype).contiguous(memory_format=torch.channels_last)
    assert torch.equal(frozen.depthwise(x, conv, (1, 1), (1, 1)).flatten(), bias.to(dtype))


def test_other_convolutions_are_left_to_the_library():
    weight = torch.zeros(64, 1, 3, 3)
    fits = (weight, 1, 64, 6.0)
    assert frozen.possible(*fits) is not isinstance(anywhere(), str)
    for i, other in (
        (0, torch.zeros(64, 64, 3, 3)),
        (0, torch.zeros(64, 1, 7, 7)),
        (0, weight.double()),
        (1, 3),
        (2, 32),
        (3, None),
    ):
        assert not frozen.possible(*fits[:i], other, *fits[i + 1 :])
    assert not frozen.possible(torch.zeros(31, 1, 3, 3), 1, 31, 6.0)  # fewer channels than a block


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("most", [None, 6.0, math.inf])
@pytest.mark.parametrize("pads", [((1, 1), (1, 1)), ((0, 1), (0, 1)), ((0, 1), (1, 2))])
def test_every_way_says_the_same(pads, most, dtype, layout, monkeypatch):
    conv, weight, bias = made(
        48, 3, 2, most, dtype, taps=most is not None and not isinstance(anywhere(), str)
    )
    x = drawn(2, 48, 9, 7, seed=2).to(dtype).contiguous(memory_format=layout)
    want = reference(x, weight, bias, conv, *pads)
    assert close(frozen.convolution(x, conv, *pads), want, dtype)
    conv, *_ = made(48, 3, 2, most, dtype, taps=False)
    for onednn in (frozen.onednn(dtype), False):
        monkeypatch.setattr(frozen, "onednn", lambda _, said=onednn: said)
        assert close(frozen.convolution(x, conv, *pads), want, dtype)


def test_a_pytorch_without_onednns_clamp_does_without(monkeypatch):
    def gone(*_):
        raise AttributeError("no such operation")

    monkeypatch.setattr(frozen, "clamped_at_once", gone)
    assert frozen.onednn.__wrapped__(torch.float32) is False
    monkeypatch.setattr(frozen, "clamped_at_once", lambda x, *_: torch.zeros_like(x))  # another meaning
    assert frozen.onednn.__wrapped__(torch.float32) is False


@pytest.mark.parametrize("faster", [True, False])
def test_our_own_is_used_where_it_measures_faster(faster, monkeypatch, tmp_path):
    now = [0.0]

    def convolution(_, conv, *__):
        now[0] += 1 if (conv.taps is not None) is faster else 2

    monkeypatch.setattr(frozen, "convolution", convolution)
    monkeypatch.setattr("hotlap.machine.race.time.perf_counter", lambda: now[0])
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path))
    assert frozen.pays.__wrapped__(torch.float32, 1) is faster


def test_without_a_compiler_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path))
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    assert anywhere.__wrapped__() == "no C++ compiler; one called c++ or g++ builds them"
