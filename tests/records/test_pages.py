"""What stands in records/, docs/ and README.md against what records make of it, and how large it all is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

import handbook
from docs.shell import FENCE
from hotlap.recipes import find
from keeping import front, store
from keeping.kinds.runs import RACE, RUNS
from keeping.places import PLACE
from keeping.record import README, RECIPES, RECORDS, ROOT, SUMMARY, Record, all_records

QUOTING = store.quoting()


@pytest.fixture
def copy(tmp_path) -> Path:
    """The repository's pages and records, to be changed."""
    shutil.copy(ROOT / README, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("pictures"))
    shutil.copytree(RECORDS, tmp_path / "records")
    return tmp_path


def test_every_page_is_what_records_make_of_it():
    assert store.stale() == [], "run `python benchmarks/record.py`"
    assert store.unnamed() == []


def test_pages_made_from_nothing_are_those_that_are_here(copy):
    (copy / "docs" / "results.md").unlink()
    for path in copy.glob(f"records/**/{README}"):
        path.unlink()
    for path in store.quoting(copy):
        path.write_text(PLACE.sub(r"\1\5", path.read_text()))
    assert not re.search(RATIO, (copy / README).read_text())
    store.write(copy)
    pages = [p for p in copy.rglob("*") if p.is_file()]
    assert len([p for p in pages if p.name == README]) > 30
    for page in pages:
        assert page.read_bytes() == (ROOT / page.relative_to(copy)).read_bytes(), page


RATIO = r"\| 0\.\d{3} \|"  # in the README's comparison


@pytest.mark.parametrize(
    ("page", "figure"),
    [
        (README, RATIO),
        ("docs/results.md", r"\d\d\.\d\d ± 0\.\d\d"),
        ("docs/handbook/08-bag-of-tricks.md", r">\d\d\.\d\d<"),
        ("docs/handbook/03-regularisation.md", r"~\d+,\d{3}"),
        ("records/fast94-losses-cpu/README.md", r"median \d+ s"),
        ("records/fast94-losses-cpu/summary.json", r"\b0\.3\d{3,}"),
        ("records/fast94-losses-cpu/runs.jsonl", r'"accuracy": \d\d\.\d+'),
    ],
)
def test_a_figure_changed_by_hand_is_seen(copy, page, figure):
    assert store.stale(copy) == []
    text = (copy / page).read_text()
    found = re.search(figure, text)
    assert found
    digit = max(i for i in range(found.start(), found.end()) if text[i].isdigit())
    (copy / page).write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    assert store.stale(copy) != []


@pytest.mark.parametrize(
    "words", ["nowhere-cpu accuracy.mean .2f", "page18-cpu accuracy.median .2f", "page18-cpu"]
)
def test_a_place_that_names_no_figure_is_said(copy, words):
    (copy / README).write_text(f"<!-- figure {words} --><!-- end -->")
    with pytest.raises(SystemExit, match=f"figure {words}"):
        store.written(copy)


@pytest.mark.parametrize("page", QUOTING, ids=lambda p: p.name)
def test_a_figure_beside_a_link_to_its_record_is_written_from_it(page):
    text = PLACE.sub(lambda m: m[0] if m[2] == "figure" else "", page.read_text())
    for paragraph in text.split("\n\n"):
        linked = set(re.findall(r"records/([\w-]+)/\)", paragraph))
        written = {words.split()[0] for _, _, words, _, _ in PLACE.findall(paragraph)}
        if re.search(r"\d\.\d|\d%|\d s\b", re.sub(r"\]\([^)]*\)|`[^`]*`", "", paragraph)):
            assert linked <= written, f"{page.name}: {paragraph}"


def test_records_that_pages_name_are_there():
    names = {record.name for record in all_records()} | {RECIPES}
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.toml")]
    for page in pages:
        named = set(re.findall(r"(?<![/\w])(?:\.\./)*records/([a-z0-9][\w-]*)", page.read_text()))
        assert named <= names, page


def test_recipes_of_benchmarks_still_read_and_train_as_they_did():
    for record in all_records():
        if record["kind"] == "bench":
            for c in record["contenders"]:
                if "recipe" in c:
                    text = record.recipe(c["recipe"])
                    recipe = find(str(RECORDS / RECIPES / c["recipe"]))
                    assert set(text.splitlines()) <= set(recipe.text().splitlines())


def lines(folder: Path) -> int:
    """Of what is kept: `make docs` writes docs/reference."""
    found = [p for p in folder.rglob("*") if p.is_file() and "reference" not in p.relative_to(folder).parts]
    return sum(p.read_bytes().count(b"\n") for p in found)


def test_records_and_docs_stay_small():
    assert lines(RECORDS) < 6000
    assert lines(ROOT / "docs") < 8000
    for record in all_records():
        assert lines(record.folder) < 1300, record.name
        for path in record.folder.iterdir():
            assert path.suffix in (".md", ".json", ".jsonl"), f"{path}: `record.py --draw` makes it again"
            assert max(map(len, path.read_text().splitlines())) < 1400, path
        assert (record.folder / SUMMARY).stat().st_size < 20_000, record.name


def test_every_picture_that_a_page_shows_is_there():
    shown = [
        page.parent / found
        for page in QUOTING
        for found in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())
    ]
    assert len(shown) > 20
    assert [file for file in shown if not file.is_file()] == []


def test_output_that_the_front_page_shows_is_what_records_hold():
    shown = [" ".join(text.split()) for _, text in FENCE.findall((ROOT / README).read_text())]
    (answer,) = (text for text in shown if text.startswith("From momentum"))
    whole = Record(RECORDS / "explain-cpu")["figures"]["momentum"]
    assert [part for part in answer.split("…") if part.strip() not in whole] == []
    (lap,) = (text for text in shown if text.startswith("epoch train loss"))
    run = Record(RECORDS / front.PICTURED).lines(RUNS)[0]
    h = run["history"]
    for i in (0, -1):
        row = f"{h['epoch'][i]} {h['train_loss'][i]:.4f} {h['train_accuracy'][i]:.2f}%"
        assert f"{row} {h['test_accuracy'][i]:.2f}% {h['train_s'][i]:.1f} " in lap
    assert f"{run['accuracy']:.2f}% on 10,000 test images" in lap


def test_pictures_are_those_that_are_shown_and_small(tmp_path):
    """Drawn anew they say the same: the words and the kinds of things in them, whoever's matplotlib it is."""
    here = {p.name: p for p in (front.PICTURES / RACE, *handbook.PICTURES.glob("*"))}
    drawn = {p.name: p for p in (front.picture(tmp_path), *handbook.pictures(tmp_path))}
    assert set(here) == set(drawn)
    pages = "".join(p.read_text() for p in QUOTING)
    for name, path in here.items():
        assert f"pictures/{name}" in pages, name
        old, new = (ElementTree.parse(p).getroot() for p in (path, drawn[name]))
        assert [t for t in old.itertext() if t.strip() and t[0] != "*"] == [
            t for t in new.itertext() if t.strip() and t[0] != "*"
        ], f"{name}: run `python benchmarks/handbook.py`"
    for path in (*here.values(), *(ROOT / "docs" / "pictures").iterdir()):
        assert path.stat().st_size < 40_000, path
