"""Where things are missing: an Apple GPU has no float64 nor our kernels, Windows no locks nor sysconf."""

from __future__ import annotations

import os

import pytest
import torch

from conftest import one_line
from hotlap.errors import UserError
from hotlap.machine.device import doubled, pick_device
from hotlap.machine.facts import machine_facts
from hotlap.machine.kernels import build, choice
from hotlap.machine.numerics import Numerics
from hotlap.machine.resolve import resolve
from hotlap.machine.telling import told

MPS = torch.device("mps")


@pytest.fixture
def apple(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(build, "loaded", lambda *_: pytest.fail("kernels for a CPU were built"))
    monkeypatch.setattr(
        "hotlap.machine.resolve.measured_choices", lambda *_: pytest.fail("a CPU was measured")
    )


def test_mps_is_taken_where_pytorch_has_it_and_called_untested(apple):
    said = []
    with told(said.append):
        assert pick_device("mps") == MPS
    assert said == ["--device mps: untested; PyTorch's own operations, step by step"]
    backend = resolve(Numerics(), MPS)
    assert (backend.precision, backend.memory_format, backend.compile) == ("fp32", "contiguous", False)
    assert (backend.kernels, backend.lacks) == ("none", "")
    assert resolve(Numerics(precision="half"), MPS).precision == "fp16"
    assert choice.mendable(MPS) == ""


def test_what_an_apple_gpu_cannot_do_is_one_line(apple):
    with pytest.raises(UserError, match="--device mps has no float64; use --device cpu"):
        resolve(Numerics(precision="fp64"), MPS)
    with pytest.raises(UserError, match=r"numerics\.kernels = 'all': there are none for this device"):
        resolve(Numerics(kernels="all"), MPS)


def test_float64_is_on_the_cpu_where_a_device_has_none():
    class Apple(torch.Tensor):
        device = MPS

        def cpu(self):
            return torch.Tensor._make_subclass(torch.Tensor, self)

    assert doubled(Apple([0.5])).dtype == torch.float64


def test_without_mps_it_is_refused(cli, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    done = cli("train", "demo", "--data", "patterns:200,50", "--device", "mps")
    assert done.status == 2
    assert "sees none; use --device cpu or auto" in one_line(done.err)


def test_without_sysconf_and_locks_nothing_stops(monkeypatch, tmp_path):
    from hotlap import files

    monkeypatch.delattr(os, "sysconf")
    assert machine_facts()["memory_gib"] is None
    monkeypatch.setattr(files, "LOCKS", False)
    with files.locked(tmp_path / "pack"):
        assert (tmp_path / "pack.lock").exists()
    assert not (tmp_path / "pack.lock").exists()


@pytest.mark.parametrize(("chip", "flag"), [("arm64", "-mcpu=native"), ("x86_64", "-march=native")])
def test_apples_compiler_is_told_what_it_knows(monkeypatch, chip, flag):
    monkeypatch.setattr(build.sys, "platform", "darwin")
    monkeypatch.setattr(build.platform, "machine", lambda: chip)
    monkeypatch.delenv("HOTLAP_ISA", raising=False)
    assert flag in build.flags()
    assert "-fopenmp" not in build.flags()  # this PyTorch brings no libomp.dylib
    assert build.openmp() == []
