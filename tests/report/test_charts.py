"""Charts made without matplotlib: where the points lie, round ticks, well-formed."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.report.charts import (
    Group,
    Line,
    Part,
    line_chart,
    reliability_diagram,
    stacked_bar,
    ticks,
)

LABELS = {"x_label": "x", "y_label": "y"}


def read(svg):
    return ElementTree.fromstring(svg)  # what is drawn here


def test_ticks_are_round_and_few():
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(93.1, 96.2) == [93.5, 94, 94.5, 95, 95.5, 96]
    assert ticks(93.1, 96.2, 5) == [94, 95, 96]
    assert ticks(3, 3) == [3]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_lie_inside_and_are_never_more_than_asked(low, span, most):
    made = ticks(low, low + span, most)
    assert len(made) <= most
    slack = 1e-8 * (abs(low) + span)
    assert all(low - slack <= t <= low + span + slack for t in made)


def test_a_line_goes_through_its_points():
    svg = line_chart([Line("a", [(0, 0), (5, 50), (10, 100)]), Line("b", [(10, 90)], 1, "star")], **LABELS)
    root = read(svg)
    points = [p.split(",") for p in root.find("polyline").get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y in points]
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.11)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.11)
    assert y2 < y1 < y0  # up is more
    assert (x0, x2) == (56, 420)  # from one side of the axes to the other
    assert len(root.findall("polygon")) == 1
    assert "a: 50 at 5" in svg


def test_a_target_is_drawn_and_within_the_axes():
    root = read(line_chart([Line("a", [(1, 10), (2, 20)])], target=94, **LABELS))
    dotted = [e for e in root.findall("line") if e.get("stroke-dasharray")]
    assert len(dotted) == 1
    assert 34 < float(dotted[0].get("y1")) < 60  # near the top, for it is the largest


def test_epochs_have_whole_numbers_only():
    points = [(i, i) for i in (1, 2, 3)]
    texts = [e.text for e in read(line_chart([Line("a", points)], whole=True, **LABELS)).findall("text")]
    assert {"1", "2", "3"} <= set(texts)
    below = [e.text for e in read(line_chart([Line("a", points)], whole=True, **LABELS)).findall("text")
             if e.get("text-anchor") == "middle"]  # fmt: skip
    assert not any("." in t for t in below)


def test_nothing_to_draw_is_empty():
    assert line_chart([Line("a", [])], **LABELS) == ""
    assert stacked_bar([Part("a", 0, "0 s")], "t") == ""


def test_one_point_alone_is_drawn():
    root = read(line_chart([Line("a", [(1, 50)])], **LABELS))
    assert len(root.findall("circle")) == 1
    assert root.find("polyline") is None


def test_a_stacked_bar_is_as_wide_as_its_parts():
    root = read(stacked_bar([Part("a", 3, "3 s"), Part("none", 0, "0 s"), Part("b", 1, "1 s")], "t", 400))
    wide = [float(r.get("width")) for r in root.findall("rect") if r.get("height") == "30"]
    assert wide == [299, 99]  # a pixel between them
    texts = [e.text for e in root.findall("text")]
    assert texts == ["a", "3 s", "75.0%", "b", "1 s", "25.0%"]


def test_a_reliability_diagram_shows_the_groups_that_have_any():
    groups = [Group(0.5, 0.75, 10, 0.6, 0.5), Group(0.75, 1.0, 0, 0, 0)]
    svg = reliability_diagram(groups, "t", 440, 270)
    bars = read(svg).findall("rect")
    assert len(bars) == 1
    top, bottom = 14, 230
    assert float(bars[0].get("height")) == pytest.approx((bottom - top) / 2, abs=0.1)
    assert "10 images, 60.0% sure, 50.0% right" in svg


@pytest.mark.parametrize("name", ["<script>", "a & b", '"'])
def test_names_are_escaped(name):
    drawn = [
        line_chart([Line(name, [(1, 1), (2, 2)])], x_label=name, y_label=name, title=name),
        stacked_bar([Part(name, 1, name)], name),
        reliability_diagram([Group(0, 1, 1, 0.5, 0.5)], name),
    ]
    for svg in drawn:
        root = read(svg)  # would not read with a bare & or an open tag
        assert "<script" not in svg
        assert root.get("aria-label") == name


def test_colours_come_from_the_page_or_are_their_own():
    svg = line_chart([Line("a", [(1, 1), (2, 2)])], target=3, **LABELS)
    assert re.findall(r"stroke:(#|rgb)", svg) == []
    assert "var(--s1,#" in svg
