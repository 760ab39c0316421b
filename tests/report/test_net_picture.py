"""The picture of a net: well-formed, small, complete, nothing on something else, colours where it differs."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import pytest

from hotlap.nets.outline import Layer, Outline, folded
from hotlap.recipes import BUILTIN
from hotlap.report.net_layout import CIRCLE, HEAD, PAD, ROW, WIDEST, layout
from hotlap.report.net_picture import net_file, net_picture
from hotlap.report.net_section import net_section
from hotlap.report.net_words import HEADS, costs, difference, marks, rows
from hotlap.report.page import render_page
from hotlap.runs.net import draw_net as draw
from pages import check_page

draw_net = functools.cache(draw)
NETS = {BUILTIN[name].plan().net: name for name in BUILTIN}
SVG = "{http://www.w3.org/2000/svg}"
SOME = ("page/01-baseline", "page/10-resnet9", "page/a7-residuals", "aidda100", "fast94", "photos")


def read(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(root: ElementTree.Element) -> list[str]:
    return [t.text for t in root.iter(f"{SVG}text")]


def drawn(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """The layers drawn in a style, without the square of it in the legend."""
    return [e for tag in ("rect", "circle") for e in root.iter(f"{SVG}{tag}")
            if e.get("class") == kind and e.get("width") != "12"]  # fmt: skip


@pytest.mark.parametrize("name", NETS.values())
def test_every_net_is_drawn_whole_and_small(name):
    made = draw_net(name)
    root, shown = read(made.svg), folded(made.outline)
    assert len(made.svg.encode()) < 40_000
    assert made.svg.count("\n") < 12
    assert float(root.get("width")) <= WIDEST + 30
    said = texts(root)
    for layer in shown.layers:
        assert said.count(layer.label) >= sum(m.label == layer.label for m in shown.layers)
    for stage in shown.stages:
        assert stage.name in said
        assert stage.layers[-1].size in said
    layers = [e for kind in ("layer", "new", "changed") for e in drawn(root, kind)]
    assert len(layers) == len(shown.layers)
    assert len(drawn(root, "stage")) == len(shown.stages)
    assert name in said
    assert costs(made.outline) in said


@pytest.mark.parametrize("name", NETS.values())
def test_nothing_lies_on_something_else(name):
    shown = folded(draw_net(name).outline)
    made = layout(shown, 150)
    places = {}
    for row in made.rows:
        high = CIRCLE if row.layer.kind == "add" else ROW
        places[row.layer.name] = (row.x, row.y, row.x + made.wide, row.y + high)
    assert len(places) == len(shown.layers)
    boxes = {b.stage.name: (b.x, b.y, b.x + b.width, b.y + b.height) for b in made.boxes}
    for things in (places, boxes):
        for (a, p), (b, q) in combinations(things.items(), 2):
            assert p[2] <= q[0] or q[2] <= p[0] or p[3] <= q[1] or q[3] <= p[1], (a, b)
    for box in made.boxes:
        x0, y0, x1, y1 = boxes[box.stage.name]
        assert x0 >= 0
        assert x1 <= made.width
        assert 0 <= y0 < y1 <= made.height
        for layer in box.stage.layers:
            left, top, right, bottom = places[layer.name]
            assert x0 + PAD <= left < right <= x1 - PAD, layer.name
            assert y0 + HEAD <= top < bottom <= y1 - PAD, layer.name
    for stage in shown.stages:  # what is computed later never stands above what it reads
        own = {layer.name for layer in stage.layers}
        for layer in stage.layers:
            for read in own.intersection(layer.inputs):
                assert places[read][3] <= places[layer.name][1], (read, layer.name)


def test_the_lines_between_stages_keep_clear_of_the_stages():
    for name in NETS.values():
        made = layout(folded(draw_net(name).outline), 150)
        assert len(made.arrows) == len(made.boxes) - 1
        for arrow in made.arrows:
            for (x, y), (u, v) in zip(arrow.points, arrow.points[1:], strict=False):
                assert x == u or y == v, "across"
                for box in made.boxes:
                    left, top = box.x, box.y
                    right, bottom = left + box.width, top + box.height
                    crossed = (
                        min(x, u) < right and max(x, u) > left and min(y, v) < bottom and max(y, v) > top
                    )
                    assert not crossed, (name, box.stage.name)


def test_a_net_that_differs_throughout_is_still_small():
    made = draw("photos", net__variant="lite2", size=260)
    assert len(made.svg.encode()) < 40_000
    again = {m.name: m.against for m in folded(made.outline).layers if m.kind == "again"}
    assert again == {"stage4.2": "changed", "stage5.2": "changed", "stage6.2": "changed"}
    assert len(drawn(read(made.svg), "changed")) > 40


def test_a_branch_stands_beside_what_it_goes_around():
    made = layout(draw_net("page/01-baseline").outline, 150)
    at = {row.layer.name: (row.x, row.y) for row in made.rows}
    for stage in ("stage2", "stage3", "stage4"):
        assert at[f"{stage}.0.shortcut"][0] > at[f"{stage}.0.conv1"][0] + 150
        assert at[f"{stage}.0.shortcut"][1] == at[f"{stage}.0.conv1"][1]
        assert at[f"{stage}.0.add"][0] == at[f"{stage}.0.conv1"][0]
    made = layout(draw_net("page/10-resnet9").outline, 150)
    around = [w for w in made.wires if w.meet is not None and max(x for x, _ in w.points) > w.points[0][0]]
    assert [w.meet.name for w in around] == ["layer1.residual.add", "layer3.residual.add"]


def test_what_differs_is_in_colour_and_the_rest_is_not():
    root = read(draw_net("page/a7-residuals").svg)
    assert len(drawn(root, "new")) == 14
    assert drawn(root, "changed") == []
    assert [p.get("class") for p in root.iter(f"{SVG}path")] == ["wire", "branch"]
    root = read(draw_net("page/12-pool-before-norm").svg)
    assert (len(drawn(root, "new")), len(drawn(root, "changed"))) == (0, 3)
    assert "changed or moved since page/11-device-augmentation" in texts(root)
    root = read(draw_net("page/13-label-smoothing").svg)
    assert (len(drawn(root, "new")), len(drawn(root, "changed"))) == (0, 0)
    assert "no difference: the same net as page/12-pool-before-norm" in texts(root)
    root = read(draw_net("resnet9").svg)  # a root, compared with nothing
    assert not any("since" in t or "difference" in t for t in texts(root))
    said = texts(read(draw_net("page/a2-no-repeated-norm").svg))
    assert "only in page/a1-backbone: 4 x norm; 4 x relu" in said


def test_a_file_has_its_colours_for_light_and_dark_and_a_page_gives_its_own():
    made = draw_net("fast94")
    text = made.svg
    style = text[text.index("<style>") : text.index("</style>")]
    used = set(re.findall(r"var\((--\w+)\)", text))
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    assert used
    for name in used:
        assert f"{name}:" in light
        assert f"{name}:" in dark
    assert "<style>" not in net_picture(made.outline, "fast94")
    page = render_page("a net", *net_section(made.outline, "fast94"))
    check_page(page)
    for name in used:
        assert page.count(f"{name}:") >= 2
    for kind in set(re.findall(r'class="(\w+)', text)) - {"net"}:
        assert f".net .{kind} " in style


def test_the_same_net_is_the_same_text():
    for name in ("page/10-resnet9", "photos"):
        assert draw(name).svg == draw_net(name).svg


def test_names_are_escaped():
    bad = '"><script>&'
    layer = Layer(bad, bad, bad, bad, {}, (1, 2, 3), 3, 0, 4, (), "changed", bad)
    made = net_file(Outline((1, 2, 3), (layer,), base=bad, gone=(layer,)), bad)
    assert "<script" not in made
    root = read(made)
    assert root.get("aria-label") == bad
    assert bad in texts(root)


def test_a_net_that_costs_nothing_is_drawn():
    layer = Layer("a", "act", "relu", "relu", {}, (1, 2, 3), 0, 0, 0, ())
    read(net_file(Outline((1, 2, 3), (layer,)), "nothing"))


# -- in words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOME)
def test_rows_add_up(name):
    found = draw_net(name).outline
    made = rows(found)
    assert {len(row) for row in made} == {len(HEADS)}
    stages = {stage.name for stage in found.stages}

    def number(cell: str) -> int:
        return int(cell.replace(",", "") or 0)

    for column, whole in ((3, found.parameters), (4, found.products)):
        assert sum(number(r[column]) for r in made if r[0].strip() != r[0] or r[0][0] in "+~>") == whole
        assert sum(number(r[column]) for r in made if r[0] in stages) == whole
        assert number(made[-1][column]) == whole
    assert made[-1][-1] == "100%"


def test_a_table_marks_what_differs():
    found = draw_net("airbench96").outline
    made = {row[0] for row in rows(found)}
    assert {"+ rest.conv3", "~ rest.norm2", "  rest.act2"} <= made
    assert marks(found) == ["+ new, ~ changed since airbench95"]
    (head, text), *others = difference(found)
    assert head == "changed"
    assert text.startswith("4 x norm: momentum 0.1 (was 0.4); conv: channels 384 to 512 (was 384 to 384)")
    assert others == []
    assert marks(replace(found, layers=tuple(replace(m, against="same") for m in found.layers))) == []


def test_a_large_net_is_folded_on_a_page():
    small, large = (net_section(draw_net(n).outline, n) for n in ("fast94", "photos"))
    assert [type(b).__name__ for b in small] == ["Heading", "Picture", "Details"]
    assert [type(b).__name__ for b in large] == ["Heading", "str", "Details", "Details"]
