"""The nets in the handbook's chapters are those that `python benchmarks/handbook.py` draws."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HANDBOOK = ROOT / "docs" / "handbook"


@pytest.fixture(scope="module")
def handbook():
    spec = importlib.util.spec_from_file_location("handbook", ROOT / "benchmarks" / "handbook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_of_nets_are_those_that_are_kept(handbook, tmp_path):
    for chapter in sorted(HANDBOOK.glob("*.md")):
        text = chapter.read_text()
        assert handbook.NETS.sub(lambda m: m[1] + handbook.pictures(m[2].split()) + m[3], text) == text
        handbook.draw(text, tmp_path)
    drawn = sorted((tmp_path / "pictures").iterdir())
    assert len(drawn) > 5
    assert [f.name for f in sorted((HANDBOOK / "pictures").glob("net-*.svg"))] == [f.name for f in drawn]
    for file in drawn:
        assert file.read_text() == (HANDBOOK / "pictures" / file.name).read_text(), file.name


def test_every_picture_that_a_chapter_shows_is_there():
    shown = [
        HANDBOOK / found
        for chapter in HANDBOOK.glob("*.md")
        for found in re.findall(r"!\[[^]]*\]\(([^)]+)\)", chapter.read_text())
    ]
    assert len(shown) > 10
    assert [file for file in shown if not file.is_file()] == []
