"""HOTLAP_ISA imitates a lesser processor: its features, the compiler's flags, PyTorch's libraries."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import pytest

from conftest import command, one_line
from hotlap.machine.isa import LEVELS, NAME, cpu_flags

needs_avx2 = pytest.mark.skipif("avx2" not in cpu_flags(), reason="this processor has no AVX2 to be held to")
SETTINGS = {k for level in LEVELS.values() for k in level.settings}
LOOK = """
import hotlap, json, os, torch
from hotlap.machine.facts import machine_facts, machine_key
from hotlap.machine.kernels.build import flags, library
said = library()
print(json.dumps({
    "capability": torch.backends.cpu.get_cpu_capability(), "facts": machine_facts(), "key": machine_key(),
    "flags": flags(), "library": said if isinstance(said, str) else "",
    "environment": {k: v for k, v in os.environ.items()},
}))
"""


def process(words: list[str], name: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    return subprocess.run(words, env=clean | {NAME: name}, capture_output=True, text=True, timeout=120)


@needs_avx2
def test_avx2_holds_features_compiler_and_libraries():
    held, plain = (
        json.loads(process([sys.executable, "-c", LOOK], name).stdout) for name in ("avx2", "native")
    )
    assert held["capability"] == "AVX2"
    assert held["facts"]["cpu_features"] == ["avx2"]
    assert held["facts"]["imitates"] == "avx2 (HOTLAP_ISA)"
    assert held["library"] == "this processor has no avx512_bf16"
    assert "-march=x86-64-v3" in held["flags"]
    assert "-march=native" in plain["flags"]
    assert {k: held["environment"][k] for k in SETTINGS} == LEVELS["avx2"].settings
    assert not SETTINGS & set(plain["environment"])
    assert "imitates" not in plain["facts"]
    if plain["facts"]["cpu_features"] != ["avx2"]:
        assert held["key"] != plain["key"], "what one of them measured would be taken for the other's"


@needs_avx2
def test_doctor_says_it():
    done = process(command("doctor", "--threads", "1"), "avx2")
    assert "imitates" in done.stdout
    assert "avx2 (HOTLAP_ISA)" in done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "avx3",
            "HOTLAP_ISA=avx3: no such processor; did you mean 'avx2'?; give native, avx512, avx2, baseline",
        ),
        ("avx512", "HOTLAP_ISA=avx512: this processor has no avx512f; only a lesser one is imitated"),
    ],
)
def test_what_cannot_be_imitated_is_one_line(cli, monkeypatch, name, says):
    monkeypatch.setenv(NAME, name)
    monkeypatch.setattr("hotlap.machine.isa.cpu_flags", lambda: ["avx2", "fma"])
    done = cli("recipes", "list")
    assert (done.status, done.out) == (2, "")
    assert one_line(done.err) == f"hotlap: {says}"


@needs_avx2
def test_it_is_too_late_once_pytorch_is_there(cli, monkeypatch):
    importlib.import_module("torch")
    for key in SETTINGS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv(NAME, "avx2")
    done = cli("recipes", "list")
    assert done.status == 2
    assert one_line(done.err).endswith("has chosen its instructions; import hotlap first")
