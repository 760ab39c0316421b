"""What the layout promises beside the order of imports, which import-linter holds (pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hotlap

ROOT = Path(hotlap.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py"))


def test_only_few_files_name_compilation_and_graphs():
    named = {
        str(p.relative_to(ROOT))
        for p in FILES
        if "torch.compile(" in p.read_text() or "CUDAGraph" in p.read_text()
    }
    # choices.py measures what compiling would bring
    assert named == {"engine/program.py", "machine/capture.py", "machine/choices.py"}


CORE = ("plan/plan.py", "engine/program.py", "engine/loop.py")


def test_the_core_stays_small():
    assert sum(len((ROOT / f).read_text().splitlines()) for f in CORE) <= 600
    assert len((ROOT / "engine/loop.py").read_text().splitlines()) < 60


LIGHT = (
    "",
    ".cli.main",
    ".recipes",
    ".recipes.published",
    ".tricks",
    ".data",
    ".plan.checks",
    ".plan.recipe",
)


@pytest.mark.parametrize("module", [f"hotlap{name}" for name in LIGHT])
def test_light_modules_do_not_import_torch(module):
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SOURCES = (
    "hlb-cifar10",
    "cifar10-airbench",
    "cifar-100 speedrun",
)  # what is quoted may be called by its name


KNOW = ("data", "recipes", "tricks", "cli", "runs", "__init__.py")


def test_nothing_outside_data_and_recipes_knows_cifar():
    for path in FILES:
        place = path.relative_to(ROOT)
        if place.parts[0] not in KNOW and str(place) != "plan/recipe.py":  # its default data
            text = path.read_text().lower()
            for name in SOURCES:
                text = text.replace(name, "")
            assert "cifar" not in text, path


def test_few_modules_lie_loose_at_the_top():
    assert len(list(ROOT.glob("*.py"))) <= 7
