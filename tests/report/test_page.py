"""The page maker: every block, escaping, nothing loaded, light to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hotlap.report import page as maker
from hotlap.report.page import (
    Bar,
    Bars,
    Beside,
    Claim,
    Code,
    Details,
    Diff,
    Facts,
    Gallery,
    Heading,
    Matrix,
    Picture,
    Table,
    Thumb,
    kind,
    render_page,
)
from pages import check_page

EVIL = "<script>alert(1)</script> & \"quoted\" 'x' {{ 7 * 7 }}"
DOT = "data:image/png;base64,iVBORw0KGgo="
SVG = '<?xml version="1.0"?><svg width="1" height="1"><rect/></svg>'


def every(words):
    return [
        words,
        Heading(words),
        Heading(words, 3),
        Code(words),
        Diff([f"+ {words}", f"- {words}", words, ""]),
        Table([words, "b"], [[words, words]], words=(1,)),
        Picture(SVG, words),
        Picture(SVG, words, themed=True),
        Claim(words, True, words),
        Claim(words, False),
        Matrix([words, "b"], [words, "b"], [(0, 0, 3), (1, 0, 2)], [3, 2], words, words, words),
        Gallery([Thumb(DOT, words, words, DOT, True, True), Thumb("", words), Thumb(DOT, words, good=False)]),
        Bars([Bar(words, 0.5, words, 0.3), Bar(words, 1.0, words)], words),
        Facts([(words, words)]),
        Beside([words, Table([words], [[words]])]),
        Details(words, [words, Details(words, [Code(words)])]),
    ]


def test_every_block_is_well_formed_and_escapes_what_it_is_given():
    text = render_page(EVIL, *every(EVIL))
    page = check_page(text)
    assert "<script" not in text
    shown = " ".join(EVIL.split())
    # what is given as text comes out as text, none of it lost and none of it carried out
    assert page.text.count(shown) >= 30
    assert {kind(b) for b in every("")} == {p.stem for p in (maker.TEMPLATES / "blocks").glob("*.html")}


def test_headings_make_contents_when_there_are_many():
    few = check_page(render_page("t", *(Heading(f"h{i}") for i in range(4))))
    assert few.count("nav") == 0
    many = check_page(render_page("t", "before", *(Heading(f"h{i}") for i in range(6)), Heading("x", 3)))
    assert many.count("nav") == 1
    assert [a["href"] for tag, a in many.tags if tag == "a"] == [f"#s{i}" for i in range(1, 7)]


@pytest.mark.parametrize("address", ["http://example.com/a.png", "javascript:alert(1)", "a.png"])
def test_a_picture_from_elsewhere_is_refused(address):
    with pytest.raises(ValueError, match="data:image"):
        Thumb(address, "t")
    with pytest.raises(ValueError, match="data:image"):
        Thumb(DOT, "t", overlay=address)


def test_a_matrix_of_many_classes_has_small_cells_and_no_numbers():
    def matrix(n):
        counts = [(i, i, 5) for i in range(n)] + [(0, n - 1, 3)]
        names = [f"a class with a rather long name, number {i}" for i in range(n)]
        return Matrix(names, names, counts, [8] * n)

    few, many = (check_page(render_page("t", matrix(n))) for n in (10, 100))
    assert few.count("rect") == 12  # the cells and the frame
    numbers = [sum("number" in (a.get("class") or "") for _, a in p.tags) for p in (few, many)]
    assert numbers == [11, 0]
    assert many.count("rect") == 102
    width = next(int(a["width"]) for tag, a in many.tags if tag == "svg")
    assert width < 1800
    assert "number 99, said to be" in many.text  # whole, in what is shown of a cell that is pointed at
    assert any(a.get("class") == "scroll" for _, a in many.tags)


def test_importing_the_page_maker_imports_neither_torch_nor_jinja():
    code = (
        "import sys, hotlap.report.page, hotlap.report.run_page, hotlap.report.charts;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'jinja2', 'numpy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_style_is_for_dark_phones_and_paper():
    text = render_page("t")
    for wanted in ("prefers-color-scheme: dark", "@media print", "max-width: 32rem", "width=device-width"):
        assert wanted in text
