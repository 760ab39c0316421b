"""Every command of README.md runs as it is written, and the pages beside it name none that hotlap refuses.

What is in README.md's fences marked `sh` is one script for bash, run from the first line to the last in an
empty folder. Nothing of it is left out, and one thing is put in its place: the repository's own path for
`<this repository>`. What would take minutes is made short around the command:

- `git clone` clones this repository, and brings along what `make` and a reader would have by then: `.venv`,
  without an installation, and `photos/`, `photo.jpg` and `more/`.
- `hotlap` is limited.py, which says how: fewer images and epochs, a small net.
- `make` is not touched. Its `python -m pytest` runs one file of tests.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from PIL import Image

from conftest import PLAIN, surroundings
from data.own_sets import write_tree
from data.tiny_cifar import SMALL, random_splits, write_folder
from docs.shell import FENCE, fences, named, of_hotlap
from hotlap.cli.composing import compose
from hotlap.cli.main import build_parser
from hotlap.errors import UserError
from hotlap.recipes import find

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *(ROOT / "docs" / f"{name}.md" for name in ("using", "your-images", "scale"))]
LINES, WIDTH = 120, 92  # of a front page, and characters that GitHub shows of a fence without scrolling
SHORT = (*PLAIN, "--set", "net.widths=[8,8,8]", "--set", "batch_size=20", "--set", "epochs=1.0")
SHORT = (*SHORT, "--set", "numerics.kernels=none")
LIMITS = {
    "train": SHORT,
    "profile": (*SHORT, "--seconds", "0.2"),
    "bench": (*SHORT, "--runs", "2"),
    "explain": ("--threads", "1", "--quick", "--data", "patterns:600,200"),
}
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


@pytest.mark.parametrize(
    "line",
    [
        "hotlap trian fast94",
        "hotlap train fast94 --sed 1",
        "hotlap train fast49",
        "hotlap train fast94 --with ghost-nrom",
        "hotlap bench fast94 muon49",
        "cd x && torchrun -m hotlap train fast94 --device 2 --nodes 2",
    ],
)
def test_a_command_that_hotlap_refuses_is_seen(line):
    (words,) = named(f"```sh\n{line}   # and why\n```\n")
    with pytest.raises((AssertionError, UserError, SystemExit)):
        refused(words)


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
    """A folder with an empty `cwd/`, a `git` in `bin/`, CIFAR-10 in `data/` and what a clone is given."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no checkout that could be cloned")
    brought = tmp_path / "brought"
    venv.create(brought / ".venv", symlinks=True)
    write_tree(brought, {"photos/cat": 20, "photos/dog": 20, "more": 3}, side=40)
    with Image.open(brought / "more" / "0.png") as image:
        image.save(brought / "photo.jpg")
    limited = Path(__file__).with_name("limited.py")
    program(brought / ".venv" / "bin" / "hotlap", f'exec "{sys.executable}" "{limited}" "$@"')
    program(brought / ".venv" / "bin" / "python", f'exec "{sys.executable}" "$@" {TESTS}')
    brings = f'"{git}" "$@" && cp -R "{brought}/." hotlap && touch hotlap/.venv/.made'
    program(tmp_path / "bin" / "git", brings)
    write_folder(SMALL, "binary", random_splits(SMALL, 0), tmp_path / "data")
    (tmp_path / "cwd").mkdir()
    return tmp_path


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """The script in bash, up to the first command that fails, which is then named on stderr."""
    around = surroundings()
    around |= {
        "PATH": f"{folder / 'bin'}:{around['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "HOTLAP_DATA": str(folder / "data"),
        "README_RAN": str(folder / "ran"),
        "README_LIMITS": json.dumps(LIMITS),
        "GIT_CONFIG_COUNT": "1",  # a checkout may be another user's
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    words = ["bash", "-c", f"set -Eeuo pipefail\ntrap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n{text}"]
    return subprocess.run(words, cwd=folder / "cwd", env=around, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_runs_as_it_is_written(reader):
    text = "".join(fences(README.read_text())).replace("<this repository>", f"'{ROOT}'")
    done = run(reader, text)
    assert done.returncode == 0, done.stderr[-2000:]
    ran = [json.loads(line) for line in (reader / "ran").read_text().splitlines()]
    demo = ["train", "demo", "--data", "patterns", "--target", "94", "--out", "demo-run"]
    assert ran == [demo, *of_hotlap(text)]
    assert " passed" in done.stdout  # `make test`


@pytest.mark.parametrize(
    "wrong", ["hotlap tricks show ghost-nrom", "hotlap predict mine photo.jpg", "make dmo"]
)
def test_a_command_that_fails_ends_it(reader, wrong):
    start = f"git clone '{ROOT}' hotlap && cd hotlap\nsource .venv/bin/activate\n"
    done = run(reader, f"{start}hotlap tricks list\n{wrong}\nhotlap recipes list\n")
    assert done.returncode != 0
    assert done.stderr.endswith(f"failed: {wrong}\n")
    assert '["tricks", "list"]' in (reader / "ran").read_text()
    assert '["recipes", "list"]' not in (reader / "ran").read_text()
