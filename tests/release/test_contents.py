"""What would be released holds the package and nothing else, asks for what it needs, and is in CHANGELOG."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

if not os.environ.get("CI"):  # there, what is missing is an error
    for package in ("hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(package, reason="releases are made with hotlap[release]")

from contents import ROOT, faults, kept, read, told_wrong, version


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The wheel and the source distribution of this tree."""
    from hatchling.build import build_sdist, build_wheel

    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / build_wheel(str(folder)), folder / build_sdist(str(folder))


def test_they_hold_what_git_has(made):
    assert [line for path in made for line in faults(path)] == []


def test_what_runs_and_what_it_reads_is_in_the_wheel(made):
    held = read(made[0])
    for name in (
        "machine/kernels/winograd.cpp",
        "machine/kernels/lanes.h",
        "machine/kernels/gpu.py",
        "report/templates/page.html",
        "report/templates/blocks/table.html",
        "report/templates/page.css",
        "deploy/page.html",
        "py.typed",
    ):
        assert f"hotlap/{name}" in held
    assert not [name for name in held if not name.startswith(("hotlap/", "hotlap-"))]


def test_the_source_distribution_makes_the_same_wheel(made, tmp_path):
    import tarfile

    from hatchling.build import build_wheel

    with tarfile.open(made[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        again = tmp_path / build_wheel(str(tmp_path))
    assert read(again) == read(made[0])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("hotlap/py.typed", None, "lacks hotlap/py.typed"),
        ("hotlap/errors.py", b"", "hotlap/errors.py is not as git has it"),
        ("tests/conftest.py", b"", "holds tests/conftest.py"),
        ("hotlap/left.so", b"", "holds hotlap/left.so"),
    ],
)
def test_a_wheel_that_holds_something_else_is_found(made, tmp_path, name, content, said):
    held = read(made[0])
    other = {k: v for k, v in held.items() if k != name} | ({} if content is None else {name: content})
    path = tmp_path / made[0].name
    with zipfile.ZipFile(path, "w") as archive:
        for k, v in other.items():
            archive.writestr(k, v)
    assert faults(path) == [f"{path.name}: {said}"]


def test_a_page_that_leads_nowhere_is_found():
    text = "a [page](docs/log.md)\n\n[elsewhere](https://example.org)\n\n![](docs/pictures/report.png)\n"
    found = told_wrong(f"Version: {version()}\n\n{text}".encode())
    assert [line.rpartition(": ")[2] for line in found] == text.splitlines()[::4]
    assert told_wrong(b"Version: 0.0.1\n\n") == ["its version is 0.0.1"]


CALLED = {"pillow": "PIL"}  # what is imported by another name than it is installed by


def imported(path: Path) -> set[str]:
    """Modules that a file imports as it is run, without those for type checking."""
    found, open_ = set(), [ast.parse(path.read_text())]
    while open_:
        node = open_.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            open_ += node.orelse
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
        else:
            open_ += ast.iter_child_nodes(node)
    return found - sys.stdlib_module_names - {"hotlap"}


def test_what_is_imported_is_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(lines: list[str]) -> set[str]:
        asked = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
        return {CALLED.get(name, name) for name in asked}

    required = names(project["dependencies"])
    optional = set().union(*(names(v) for k, v in project["optional-dependencies"].items() if k != "dev"))
    found = {p: imported(p) for p in (ROOT / "src").rglob("*.py")}
    everything = set().union(*found.values())
    assert required <= everything
    assert everything - required - optional == {"triton"}  # which comes with PyTorch where there is a GPU


def test_changelog_tells_of_this_version_first():
    heads = re.findall(r"^## (.+)$", kept()["CHANGELOG.md"].decode(), re.M)
    released = [head for head in heads if head != "Unreleased"]
    assert "Unreleased" not in heads[1:]
    found = [re.fullmatch(r"(\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)", head) for head in released]
    assert all(found), released
    assert found[0][1] == version()
    assert [m[2] for m in found] == sorted((m[2] for m in found), reverse=True)
