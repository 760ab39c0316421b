"""Imports run one way, and what must answer fast does not import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hotlap

ROOT = Path(hotlap.__file__).parent
# From the ground up: a module may import from its own layer or a lower one.
LAYERS = [
    {"_version", "errors", "spec", "flat", "files", "schedule", "numerics", "seeds"},
    {"machine", "clock"},
    {"data", "nets", "optim"},
    {"plan"},
    {"tricks"},
    {"recipe"},
    {"recipes"},
    {"program", "checkpoint"},
    {"loop", "evaluate"},
    {"report"},
    {"run", "predictor"},
    {"cli"},
    {"__init__"},
]
LEVEL = {name: i for i, layer in enumerate(LAYERS) for name in layer}
# what a layer must not know though it lies lower: a program is made of a plan, not of tricks or recipes
FORBIDDEN = {"program": {"tricks", "recipe", "recipes"}, "loop": {"tricks", "recipe", "recipes"}}
FORBIDDEN |= {"data": {"nets", "optim"}, "nets": {"data", "optim"}, "optim": {"data"}}


def unit(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imports(source: str) -> set[str]:
    """The units of hotlap that a file imports when it runs (not those only for type checking)."""
    found = set()
    skipped = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(n) for n in ast.walk(node)}
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "hotlap" else [f"hotlap.{a.name}" for a in node.names]
        if id(node) not in skipped:
            found |= {n.split(".")[1] for n in names if n.startswith("hotlap.")}
    return found


def wrong(name: str, source: str) -> list[str]:
    used = imports(source) - {name}
    return sorted(u for u in used if LEVEL[u] > LEVEL[name] or u in FORBIDDEN.get(name, ()))


FILES = sorted(p for p in ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    if unit(path) != "__init__":
        assert wrong(unit(path), path.read_text()) == []


def test_a_wrong_import_is_caught():
    assert wrong("program", "from hotlap.tricks.ema import Ema\n") == ["tricks"]
    assert wrong("nets", "from hotlap import plan\n") == ["plan"]
    assert wrong("plan", "from hotlap.nets import Net\n") == []


def test_only_the_program_names_compilation_and_graphs():
    named = {
        str(p.relative_to(ROOT))
        for p in FILES
        if "torch.compile(" in p.read_text() or "CUDAGraph" in p.read_text()
    }
    assert named == {"program.py", "machine.py"}  # machine.py measures what compiling would bring


def test_the_core_stays_small():
    assert sum(len((ROOT / f).read_text().splitlines()) for f in ("plan.py", "program.py", "loop.py")) <= 600
    assert len((ROOT / "loop.py").read_text().splitlines()) < 60


@pytest.mark.parametrize(
    "module", ["hotlap", "hotlap.cli.main", "hotlap.recipes", "hotlap.tricks", "hotlap.data", "hotlap.plan"]
)
def test_light_modules_do_not_import_torch(module):
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_outside_data_and_recipes_knows_cifar():
    for path in FILES:
        if unit(path) not in ("data", "recipes", "cli", "run", "__init__", "recipe", "tricks"):
            assert "cifar" not in path.read_text().lower().replace("hlb-cifar10", "").replace(
                "cifar10-airbench", ""
            ), path
