"""No link is dead, in the Markdown that is kept and in the site; and one that is dead is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hotlap
from hotlap.cli.main import VERBS
from hotlap.cli.train import EXAMPLES
from hotlap.recipes import BUILTIN
from hotlap.tricks import discover

if not os.environ.get("CI"):  # there, what is missing is an error
    for package in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(package, reason="the reference is made with hotlap[docs]")

ROOT = Path(__file__).parents[2]
MAKING = ROOT / "docs" / "making"


@pytest.fixture
def links(monkeypatch):
    monkeypatch.syspath_prepend(MAKING)
    import links

    links.read.cache_clear()
    return links


def test_no_link_in_markdown_is_dead(links, monkeypatch):
    places = [*ROOT.glob("*.md"), *(ROOT / name for name in ("docs", "records", "benchmarks"))]
    pages = [page for place in places for page in links.pages(place)]
    assert {"README.md", "04-architecture.md", "your-trick.ipynb"} <= {page.name for page in pages}
    assert [line for page in pages for line in links.dead(page)] == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("there.md", ""),
        ("there.md#a-heading", ""),
        ("#here", ""),
        ("folder/", ""),
        ("https://example.org/x?y#z", ""),
        ("gone.md", "no such file"),
        ("folder/gone", "no such file"),
        ("there.md#gone", "no such place"),
        ("#gone", "no such place"),
        ("https:///x", "no address"),
        ("http://localhost:8000/", "no address"),
        ("ftp://example.org/x", "no scheme"),
    ],
)
def test_what_is_dead(links, tmp_path, link, why):
    (tmp_path / "folder").mkdir()
    (tmp_path / "there.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n[a link]({link})\n\n| in a table |\n|---|\n| ![]({link}) |\n")
    found = links.dead(page)
    assert len(found) == (2 if why else 0)
    assert all(why in line and link in line for line in found)


def test_links_of_a_notebook_are_looked_at(links, tmp_path):
    page = tmp_path / "book.ipynb"
    page.write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["[a](gone.md)\\n", "[b](book.ipynb)"]}]}'
    )
    assert links.dead(page) == [f"{page}: gone.md: no such file"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, without what notebooks print: a warning of any kind is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-q", "-W", "--keep-going", "-c", MAKING, "-D", "nb_execution_mode=off", "-d", folder / "trees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, words), str(ROOT), str(folder / "site")],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.mark.slow
def test_no_link_of_the_site_is_dead(links, site):
    pages = links.pages(site)
    assert [line for page in pages for line in links.dead(page)] == []
    assert links.main([str(site)]) == 0
    (site / "more.html").write_text('<a href="docs/index.html#gone">x</a>')
    assert links.main([str(site)]) == 1


@pytest.mark.slow
def test_everything_has_its_page(links, site):
    reference = site / "docs" / "reference"
    assert {p.stem for p in (reference / "cli").glob("*.html")} == {*VERBS, "index"}
    assert {p.stem for p in (reference / "tricks").glob("*.html")} == {*discover(), "index"}
    public = {f"hotlap.{name}" for name in hotlap.__all__ if not name.startswith("_")}
    anchors = links.read(reference / "api" / "hotlap.html").anchors
    assert public <= anchors
    private = [
        a for page in (reference / "api").glob("*.html") for a in links.read(page).anchors if "._" in a
    ]
    assert private == []
    sections = links.read(reference / "recipes.html").anchors
    assert {name.lower().replace("/", "") for name in BUILTIN} <= sections


@pytest.mark.slow
def test_pages_say_what_the_command_line_says(site):
    shown = (site / "docs" / "reference" / "cli" / "train.html").read_text()
    assert [line for line, _ in EXAMPLES if line not in shown] == []
    for option in ("--with", "--checkpoint-every", "--json"):
        assert f'id="cmdoption-hotlap-train-{option[2:]}"' in shown
    card = (site / "docs" / "reference" / "tricks" / "ghost-norm.html").read_text()
    assert discover()["ghost-norm"].effect in card
