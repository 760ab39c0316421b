"""A ladder's arithmetic, and its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from helpers import TINY_SETTINGS
from hotlap.errors import UserError
from hotlap.inspect.throughput import Projection
from hotlap.measure import ladder as module
from hotlap.measure.ladder import Ladder, Rung, Trained, compare, within_budget
from hotlap.plan.recipe import Set
from hotlap.recipes import BUILTIN
from hotlap.recipes.published import AFTER, PAGE, PUBLISHED, Published
from hotlap.report.page import Code, Heading, Picture, Table, render_page
from hotlap.report.plots import svg_text
from hotlap.report.waterfall import Bar, waterfall

DATA = "patterns:200,50"


def projected(train_s: float, eval_s: float = 0.0) -> Projection:
    return Projection(0.0, 0.0, 1.0, 0.0, 0.0, 3, int(train_s), 1, 1.0, train_s, eval_s)


def rung(name: str, seconds: float) -> Rung:
    return Rung(name, 1.0, 1, "bf16", projected(seconds))


def tiny(name: str = "demo"):
    settings = {**TINY_SETTINGS, "epochs": 2.0}
    return BUILTIN[name].then(name, *(Set(k, v) for k, v in settings.items()))


def test_every_rung_of_the_series_has_published_figures_and_a_predecessor():
    names = {n for n in BUILTIN if n.startswith("page/")}
    assert names == {f"page/{n}" for n in PAGE}
    assert set(AFTER) <= set(BUILTIN)
    starts = [n for n, p in PUBLISHED.items() if p.follows is None]
    assert starts == ["page/01-baseline", "page/a1-backbone", "hlb", "airbench95", "airbench96", "aidda100"]
    for name, figures in PUBLISHED.items():
        seen = [name]
        while figures.follows is not None:  # ends, and never comes round
            assert figures.follows not in seen
            seen.append(figures.follows)
            figures = PUBLISHED[figures.follows]


def test_seconds_bought_are_against_the_one_it_follows():
    rows = {
        r.rung.name: r
        for r in compare(
            [rung("page/09-batch-768", 200.0), rung("page/a7-residuals", 80.0), rung("page/10-resnet9", 90.0)]
        )
    }
    ten = rows["page/10-resnet9"]
    assert (ten.bought_s, ten.bought_share, ten.published_bought_s) == (110.0, 0.55, 154 - 79)
    assert rows["page/09-batch-768"].bought_s is None
    assert rows["page/a7-residuals"].bought_s is None  # nothing of its story is here
    assert rows["page/a7-residuals"].aside


def test_rungs_that_are_not_there_are_stepped_over():
    rows = compare([rung("page/10-resnet9", 100.0), rung("page/19-flip-tta", 130.0)])
    assert (rows[1].bought_s, rows[1].bought_share, rows[1].published_bought_s) == (-30.0, -0.3, 79 - 26)


def test_a_recipe_of_ones_own_is_compared_with_the_one_above_it():
    rows = compare([rung("muon94", 10.0), rung("mine", 8.0)])
    assert (rows[1].bought_s, rows[1].published_bought_s) == (2.0, None)


def test_accuracy_is_the_mean_and_seconds_the_median_of_full_runs():
    runs = tuple(Trained(i, a, s, 1.0) for i, (a, s) in enumerate([(94.0, 5.0), (95.0, 9.0), (93.0, 6.0)]))
    full = Rung("demo", 1.0, 1, runs=runs)
    assert (full.accuracy, full.seconds, full.trained_s) == (94.0, 6.0, 6.0)
    both = replace(full, projection=projected(7.0))
    assert (both.seconds, both.trained_s) == (7.0, 6.0)  # a projected ladder compares projections throughout


def test_the_budget_takes_the_cheapest_and_keeps_their_order():
    rungs = [rung("c", 50.0), rung("a", 10.0), rung("d", 30.0), rung("b", 20.0)]
    assert within_budget(rungs, 60.0, seeds=1) == ["a", "d", "b"]
    assert within_budget(rungs, 60.0, seeds=2) == ["a", "b"]
    assert within_budget(rungs, 0.0, seeds=1) == []


def test_the_budget_is_for_the_evaluation_too_and_may_be_spent_whole():
    rungs = [Rung("a", 1.0, 1, "bf16", projected(10.0, 2.0)), Rung("b", 1.0, 1, "bf16", projected(20.0, 1.0))]
    assert within_budget(rungs, 33.0, seeds=1) == ["a", "b"]
    assert within_budget(rungs, 32.9, seeds=1) == ["a"]
    assert within_budget(rungs, 24.0, seeds=2) == ["a"]
    assert within_budget(rungs, 23.9, seeds=2) == []
    known = Rung("c", 1.0, 1, runs=(Trained(0, 94.0, 5.0, 1.0),))  # of which nothing was projected
    assert within_budget([rungs[0], known], 5.0, seeds=1) == ["c"]


def test_what_takes_no_seconds_yet_is_compared_with_nothing():
    rows = compare([rung("muon94", 10.0), Rung("mine", 1.0, 1), rung("other", 8.0)])
    assert [(r.bought_s, r.bought_share) for r in rows] == [(None, None)] * 3
    assert [r.aside for r in rows][1:] == [False, False]


def test_published_seconds_are_compared_on_one_device(monkeypatch):
    for name, device in (("alike", "A100"), ("elsewhere", "H100")):
        monkeypatch.setitem(PUBLISHED, name, Published(2.0, 94.0, device, "muon94"))
        _, row = compare([rung("muon94", 9.0), rung(name, 6.0)])
        assert row.bought_s == 3.0
        assert row.published_bought_s == (pytest.approx(0.59) if name == "alike" else None)


def test_runs_of_a_recipe_whose_name_goes_on_are_not_its_own(tmp_path):
    ladder = Ladder([tiny(), tiny("muon94").then("demo-small")], tmp_path, data=DATA)
    for name, seed, accuracy in (("demo", 2, 90.0), ("demo", 11, 92.0), ("demo-small", 0, 50.0)):
        folder = tmp_path / "runs" / f"{name}-s{seed}"
        folder.mkdir(parents=True)
        about = {"seed": seed, "accuracy": accuracy, "seconds": {"train": 3.0, "eval": 1.0}}
        about |= {"precision": "fp32", "memory_format": "channels_last"}
        (folder / "summary.json").write_text(json.dumps(about))
    (tmp_path / "runs" / "demo-small-s1").mkdir()
    (tmp_path / "runs" / "demo-small-s1" / module.DIVERGED).write_text("diverged at step 1\n")
    demo, small = ladder.rungs()
    assert (demo.runs, demo.diverged) == (
        (Trained(2, 90.0, 3.0, 1.0), Trained(11, 92.0, 3.0, 1.0)),
        0,
    )
    assert (small.runs, small.diverged) == ((Trained(0, 50.0, 3.0, 1.0),), 1)
    assert demo.arithmetic == "fp32, channels-last"


def test_a_measured_rung_is_kept_and_read_back(tmp_path, monkeypatch):
    first = Ladder([tiny()], tmp_path / "l", data=DATA).measure(tiny(), 0.01)
    assert first.projection.train_s > 0
    assert first.arithmetic.startswith("fp32, channels-last")  # with our kernels, where they are faster
    monkeypatch.setattr(module, "project", lambda *_: pytest.fail("measured again"))
    again = Ladder([tiny()], tmp_path / "l", data=DATA)
    assert again.measure(tiny(), 0.01) == first
    assert again.rungs() == [first]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("machine", "other", "another machine"),
        ("device", "cuda:7", "another device"),
        ("data", "cifar10", "other data"),
    ],
)
def test_results_of_elsewhere_are_not_mixed_in(tmp_path, key, value, words):
    Ladder([tiny()], tmp_path, data=DATA)
    path = tmp_path / "ladder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=words):
        Ladder([tiny()], tmp_path, data=DATA)


def test_a_changed_recipe_is_refused_and_a_further_one_is_added(tmp_path):
    Ladder([tiny()], tmp_path, data=DATA)
    with pytest.raises(UserError, match="demo was another recipe"):
        Ladder([tiny().then("demo", epochs=3.0)], tmp_path, data=DATA)
    Ladder([tiny("muon94")], tmp_path, data=DATA)
    held = json.loads((tmp_path / "ladder.json").read_text())
    assert set(held["recipes"]) == {"demo", "muon94"}
    assert held["facts"]["torch"] == torch.__version__


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no ladder"):
        Ladder([tiny()], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        Ladder([tiny()], tmp_path / "thesis.txt")


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_damaged_file_is_named(tmp_path, text):
    Ladder([tiny()], tmp_path, data=DATA)
    (tmp_path / "rungs").mkdir()
    (tmp_path / "rungs" / "demo.json").write_text(text)
    with pytest.raises(UserError, match=r"demo\.json: damaged; delete it"):
        Ladder([tiny()], tmp_path, data=DATA).rungs()


def test_the_picture_has_every_rung_and_is_the_same_twice():
    story = [
        Bar("first", 100.0, None, 20.0),
        Bar("second", 60.0, 100.0, 10.0, "-40%"),
        Bar("third", 70.0, 60.0),
    ]
    texts = [svg_text(waterfall("title", story, [Bar("aside", 30.0)], "V100")) for _ in range(2)]
    assert texts[0] == texts[1]
    figure = waterfall("title", story, [Bar("aside", 30.0)], "V100")
    drawn = [t.get_text() for ax in figure.axes for t in ax.get_yticklabels()]
    assert drawn == ["first", "second", "third", "aside"]
    noted = [t.get_text() for t in figure.axes[0].texts]
    assert noted == ["100 s", "60 s  -40%", "70 s"]
    widths = [p.get_width() for p in figure.axes[0].patches]
    assert widths[1:] == [40.0, 10.0]  # from 100 to 60; from 60 up to 70


def test_a_page_is_whole_and_escapes_what_it_is_given():
    svg = svg_text(waterfall("t", [Bar("a", 1.0)]))
    text = render_page(
        "<title> & co",
        "a < b",
        Heading("h"),
        Code("x<y"),
        Table(("a", "b"), [("<1>", "2")]),
        Picture(svg, "c&d"),
    )
    assert "http-equiv" not in text
    assert "<script" not in text
    assert 'src="http' not in text
    for escaped in ("&lt;title&gt; &amp; co", "a &lt; b", "x&lt;y", "&lt;1&gt;", "c&amp;d"):
        assert escaped in text
    ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
