"""matplotlib's SVG, shortened: it says and shows what it did."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.report.plots import new_figure, save_figure, svg_text
from hotlap.report.svg import compact, path

POINTS = st.lists(st.tuples(*[st.floats(-500, 500).map(lambda x: round(x, 6))] * 2), min_size=2, max_size=40)


def corners(data: str) -> list[tuple[float, float]]:
    """The points of a path of `M` and `l`, with numbers that run into each other told apart."""
    move, _, steps = data.removeprefix("M").partition("l")
    numbers = [float(n) for n in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", f"{move} {steps}")]
    places = [tuple(numbers[:2])]
    for dx, dy in zip(numbers[2::2], numbers[3::2], strict=True):
        places.append((places[-1][0] + dx, places[-1][1] + dy))
    return places


def off(point: tuple[float, float], line: list[tuple[float, float]]) -> float:
    """How far a point is from a line through corners."""
    nearest = math.inf
    for (ax, ay), (bx, by) in pairwise(line):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        t = 0.0 if length == 0 else ((point[0] - ax) * (bx - ax) + (point[1] - ay) * (by - ay)) / length
        t = min(1.0, max(0.0, t))
        nearest = min(nearest, math.hypot(point[0] - ax - t * (bx - ax), point[1] - ay - t * (by - ay)))
    return nearest


@given(POINTS)
def test_a_line_goes_where_it_went(points):
    made = path("\n".join(f"{'ML'[i > 0]} {x:f} {y:f} " for i, (x, y) in enumerate(points)))
    line = corners(made)
    assert all(off(p, line) < 0.1 for p in points)  # a tenth of a point, half of it in each direction
    assert math.dist(line[-1], points[-1]) < 0.1
    assert len(line) <= max(2, len(points))


def test_points_on_a_straight_stretch_are_left_out():
    assert path("M 0 0 L 1 0 L 2 0 L 2 0.02 L 3 0 L 3 5 L 3 4") == "M0 0l3 0 0 5 0-1"
    assert path("M 0 0 L .25 .5 L -.25 1.5 z") == "M0 0l.2.5-.4 1z"


def test_curves_are_left_as_they_are():
    assert (
        path("M 0 1.5 \nC 0.397805 1.5 0.77937 1.341951 1 1 \nz")
        == "M0 1.5C0.397805 1.5 0.77937 1.341951 1 1z"
    )


@pytest.fixture(scope="module")
def figure():
    made, axes = new_figure(6, 3, 1, 2)
    axes[0].plot([0.001, 0.002, 0.0035], [1.0625, 2.125, 2.5], marker="o", label="a & b <c>")
    axes[0].set_xticks([0.001, 0.002, 0.0035], ["0.001", "0.002", "0.0035"])
    axes[0].legend()
    axes[1].barh(["p", "q"], [1, 2], alpha=0.375)
    return made


def test_words_and_shades_stay(figure):
    root = ElementTree.fromstring(svg_text(figure))
    words = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"0.001", "0.002", "0.0035", "a & b <c>", "p", "q"} <= set(words)
    assert "opacity:0.38" in svg_text(figure)


def test_everything_that_is_referred_to_is_there_once(figure):
    text = svg_text(figure)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', text)) == set(ids)
    used = set(re.findall(r'class="(\w+)"', text))
    rules = dict(re.findall(r"\.(\w+)\{([^}]*)\}", text))
    assert used == set(rules) != set()
    assert len(set(rules.values())) == len(rules)


def test_it_is_a_fraction_of_what_it_was_and_gets_no_shorter(figure, tmp_path):
    figure.savefig(tmp_path / "as-it-comes.svg")
    whole = (tmp_path / "as-it-comes.svg").read_text()
    text = svg_text(figure)
    assert len(text) < 0.5 * len(whole)
    assert text == compact(text)
    assert "<g>" not in text
    assert text.count("<g") == text.count("</g>")
    assert max(map(len, text.splitlines())) < 1000


def test_a_file_turns_dark_where_the_reader_does_and_a_page_turns_what_it_holds(figure, tmp_path):
    file = save_figure(figure, tmp_path / "a.svg").read_text()
    assert "prefers-color-scheme:dark" in file
    assert "prefers-color-scheme" not in svg_text(figure)
    ElementTree.fromstring(file.encode())
