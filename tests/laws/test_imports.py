"""Imports run one way, and what must answer fast does not import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import hotlap

ROOT = Path(hotlap.__file__).parent
# From the ground up: a module may import from its own layer or a lower one. One file is a unit of its own:
# what picks hard examples trains a proxy net as a program, so `feed.selected` lies above `program`, and
# `program` above the rest of `feed`, from which it takes its batches. LATE names the one import upwards that
# this needs: it is made when a plan asks for hard examples, not when the module is loaded.
LAYERS = [
    {"_version", "errors", "spec", "flat", "files", "schedule", "numerics", "seeds"},
    {"processor", "capture"},
    {"kernels"},
    {"machine", "clock"},
    {"data", "nets", "optim"},
    {"plan"},
    {"checks"},
    {"cost", "feed", "views"},
    {"tricks"},
    {"recipe"},
    {"recipes"},
    {"program", "checkpoint"},
    {"feed.selected"},
    {"loop", "evaluate"},
    {"report"},
    {"inspect"},
    {"run", "predictor"},
    {"measure", "explain"},
    {"cli"},
    {"__init__"},
]
LEVEL = {name: i for i, layer in enumerate(LAYERS) for name in layer}
LATE = {"feed": {"feed.selected"}}
# what a layer must not know though it lies lower: a program is made of a plan, not of tricks or recipes
FROM_PLANS = ("program", "feed.selected", "loop", "evaluate", "checkpoint", "inspect")
FORBIDDEN = {name: {"tricks", "recipe", "recipes"} for name in FROM_PLANS}
FORBIDDEN |= {"data": {"nets", "optim"}, "nets": {"data", "optim"}, "optim": {"data"}}


def unit_of(parts: Sequence[str]) -> str:
    """The unit of a module: what stands after `hotlap`, unless it is one of the files that are a unit."""
    file = ".".join(parts[:2])
    return file if file in LEVEL else parts[0]


def unit(path: Path) -> str:
    return unit_of(path.relative_to(ROOT).with_suffix("").parts)


def imports(source: str, late: bool = True) -> set[str]:
    """The units of hotlap that a file imports when it runs (not those only for type checking).

    Args:
        late: whether those that functions import when they are called are among them.
    """
    found = set()
    skipped = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(n) for n in ast.walk(node)}
        if isinstance(node, ast.FunctionDef) and not late:
            skipped |= {id(n) for n in ast.walk(node)}
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names]
        if id(node) not in skipped:
            found |= {unit_of(n.split(".")[1:]) for n in names if n.startswith("hotlap.")}
    return found


def wrong(name: str, source: str) -> list[str]:
    used = imports(source) - {name} - (LATE.get(name, set()) - imports(source, late=False))
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
    assert wrong("program", "from hotlap.feed.selected import Selector\n") == ["feed.selected"]
    for name in ("feed", "checks"):
        assert wrong(name, "from hotlap.program import Program\n") == ["program"]
    late = "def build():\n    from hotlap.feed.selected import Selector\n"
    assert wrong("feed", late) == []
    assert wrong("feed", "from hotlap.feed.selected import Selector\n") == ["feed.selected"]
    assert wrong("feed", "from hotlap.feed import selected\n") == ["feed.selected"]
    assert wrong("checks", late) == ["feed.selected"]
    assert wrong("feed.selected", "from hotlap.tricks import discover\n") == ["tricks"]


def test_every_unit_has_a_layer():
    assert {unit(p) for p in FILES} <= LEVEL.keys()


def test_only_few_files_name_compilation_and_graphs():
    named = {
        str(p.relative_to(ROOT))
        for p in FILES
        if "torch.compile(" in p.read_text() or "CUDAGraph" in p.read_text()
    }
    # machine.py measures what compiling would bring
    assert named == {"program.py", "capture.py", "machine.py"}


def test_the_core_stays_small():
    assert sum(len((ROOT / f).read_text().splitlines()) for f in ("plan.py", "program.py", "loop.py")) <= 600
    assert len((ROOT / "loop.py").read_text().splitlines()) < 60


LIGHT = ("", ".cli.main", ".recipes", ".recipes.published", ".tricks", ".data", ".plan", ".checks")


@pytest.mark.parametrize("module", [f"hotlap{name}" for name in LIGHT])
def test_light_modules_do_not_import_torch(module):
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SOURCES = (
    "hlb-cifar10",
    "cifar10-airbench",
    "cifar-100 speedrun",
)  # what is quoted may be called by its name


def test_nothing_outside_data_and_recipes_knows_cifar():
    for path in FILES:
        if unit(path) not in ("data", "recipes", "cli", "run", "__init__", "recipe", "tricks"):
            text = path.read_text().lower()
            for name in SOURCES:
                text = text.replace(name, "")
            assert "cifar" not in text, path
