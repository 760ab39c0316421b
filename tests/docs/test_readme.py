"""Every command of README.md runs as it is written, and the pages beside it name none that hotlap refuses.

What is in README.md's fences marked `sh` is one script for bash, run from the first line to the last in an empty
folder. Nothing of it is left out, and one thing is put in its place: the repository's own path for
`<this repository>`. What would take minutes is made short around the command:

- `git clone` clones this repository, and brings along what `make` and a reader would have by then: `.venv`,
  without an installation, and `photos/`, `photo.jpg` and `more/`.
- `hotlap` is limited.py, which says how: fewer images and epochs, a small net.
- `make` is not touched. Its `python -m pytest` runs one file of tests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from PIL import Image

from data.own_sets import write_tree
from data.tiny_cifar import random_splits, tiny, write_folder
from docs.shell import FENCE, fences, named, of_hotlap
from hotlap.cli.composing import compose
from hotlap.cli.main import build_parser
from hotlap.recipes import find

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *(ROOT / "docs" / f"{name}.md" for name in ("using", "your-images", "scale"))]
LINES, WIDTH = 120, 84  # of a front page, and of what stands in its fences: a phone's
TESTS = "tests/measure/test_stats.py"  # what `make test` is left with


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_command_is_one_that_hotlap_refuses(page):
    found = named(page.read_text())
    assert len(found) > 5
    for words in found:
        refused(words)


def refused(words: list[str]) -> None:
    """Raises if an option, a recipe, a trick or a setting is none."""
    args, rest = build_parser().parse_known_args(words)
    assert not rest, f"hotlap {' '.join(words)}: no option {rest[0]}"
    if args.verb in ("train", "profile") and args.recipe:
        compose(args)
    if args.verb == "bench":
        assert [find(name).plan() for name in args.recipes]


def test_extras_that_pages_install_are_there():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [re.findall(r"'(?:\.|hotlap)\[([\w,]+)\]'", page.read_text()) for page in PAGES]
    assert asked[0]
    assert {extra for found in asked for words in found for extra in words.split(",")} <= set(known)


def test_it_is_a_front_page():
    text = README.read_text()
    assert len(text.splitlines()) < LINES
    assert len(re.findall(r"^!\[", text, re.MULTILINE)) == 1
    inside = [line for _, fence in FENCE.findall(text) for line in fence.splitlines()]
    assert [line for line in inside if len(line) > WIDTH] == []


@pytest.fixture
def reader(tmp_path) -> Path:
    """An empty folder, with what is called `git` and `hotlap` in it, and what a reader has."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no checkout that could be cloned")
    brought, ran = tmp_path / "brought", tmp_path / "ran"
    venv.create(brought / ".venv", symlinks=True)
    tools = brought / ".venv" / "bin"
    for name, line in {
        "hotlap": f'"{sys.executable}" "{Path(__file__).with_name("limited.py")}" "$@"',
        "python": f'"{sys.executable}" "$@" {TESTS}',
    }.items():
        (tools / name).unlink(missing_ok=True)
        script(tools / name, f"exec {line}")
    write_tree(brought, {"photos/cat": 20, "photos/dog": 20, "more": 3}, side=40)
    with Image.open(brought / "more" / "0.png") as image:
        image.save(brought / "photo.jpg")
    git = f'"{shutil.which("git")}" "$@" && cp -R "{brought}/." hotlap && touch hotlap/.venv/.made'
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "git", git)
    cifar = tiny("cifar10", 40, 40, (3, 32, 32))
    write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path / "data")
    ran.touch()
    (tmp_path / "cwd").mkdir()
    return tmp_path


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """The script in bash, up to the first command that fails, whose words are then the last on stderr."""
    script = f"set -Eeuo pipefail\ntrap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n{text}"
    around = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "HOTLAP_DATA": str(folder / "data"),
        "README_RAN": str(folder / "ran"),
        "OMP_NUM_THREADS": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    return subprocess.run(
        ["bash", "-c", script], cwd=folder / "cwd", env=around, capture_output=True, text=True
    )


@pytest.mark.slow
def test_every_command_runs_as_it_is_written(reader):
    text = "".join(fences(README.read_text())).replace("<this repository>", str(ROOT))
    done = run(reader, text)
    assert done.returncode == 0, done.stderr[-2000:]
    ran = [json.loads(line) for line in (reader / "ran").read_text().splitlines()]
    demo = ["train", "demo", "--data", "patterns", "--target", "94", "--out", "demo-run"]
    assert ran == [demo, *of_hotlap(text)]
    assert " passed" in done.stdout
