"""The page of a run: every section, and the page without it; many classes; names that are no names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hotlap.report.charts import Group
from hotlap.report.run_page import (
    BARS,
    MATRIX,
    ClassLine,
    Findings,
    Mistake,
    RunView,
    Shown,
    Sureness,
    run_page,
)
from pages import check_page

EVIL = '</style><script>alert("1")</script>&amp;'
DOT = "data:image/png;base64,iVBORw0KGgo="
GROUPS = (Group(0, 0.5, 10, 0.4, 0.5), Group(0.5, 1, 30, 0.8, 0.6))


def classes(n, name="class {}"):
    return tuple(
        ClassLine(name.format(i), 100, 100 - i % 50, 1 - i % 50 / 100, 0.9, 0.9, 7 + i) for i in range(n)
    )


def view(n=4, name="class {}"):
    names = [name.format(i) for i in range(n)]
    shown = Shown(12, names[0], names[1], 0.87, DOT, DOT, True)
    right = Shown(13, names[0], names[0], 0.31, DOT, DOT, True)
    found = Findings(
        classes(n, name),
        tuple((i, j, 100 if i == j else 2) for i in range(n) for j in (i, (i + 1) % n)),
        (Mistake(names[0], names[1], 17, 0.17, (replace(shown, looked=""), shown)),),
        Sureness(1.7, True, 0.09, 0.02, GROUPS, GROUPS),
        (shown,),
        (right, shown),
        unknown=3,
        balanced_accuracy=81.25,
        top5=99.5,
    )
    row = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 30.0, "test_accuracy": 40.0, "train_s": 1.5}
    later = {"epoch": 2, "train_loss": 1.0, "train_accuracy": 60.0, "test_accuracy": None, "train_s": 3.0}
    return RunView(
        recipe="mine",
        data="photos",
        seed=7,
        accuracy=93.25,
        target=90.0,
        count=400,
        split="val",
        views="6 views each",
        seconds={"cold": 1, "load": 2, "compile": 0, "train": 12.34, "eval": 1, "watch": 1},
        history=(row, later),
        findings=found,
        base="demo",
        changes=("- epochs = 8.0", "+ epochs = 3.0"),
        text="epochs = 3.0\n",
        data_facts=(("source", "photos"),),
        remarks=("two classes have few images",),
        bad=(("a.jpg", "truncated"),),
        bad_count=2,
        environment=(("processor", "a fast one"),),
        command="hotlap train mine.toml",
        again="hotlap train run/recipe.toml",
    )


def test_the_claim_says_what_the_run_came_to():
    page = check_page(run_page(view()))
    assert (
        "93.25% of 400 val images are classified right (6 views each; 95% interval 90.4 to 95.3%),"
        " after 12.3 seconds of training,"
        " the target of 90% is met. seed 7" in page.text
    )
    missed = check_page(run_page(replace(view(), target=95.0)))
    assert "the target of 95% is missed" in missed.text
    assert any(a.get("class") == "claim bad" for _, a in missed.tags)
    without = check_page(run_page(replace(view(), target=None, views="", seconds={})))
    assert (
        "93.25% of 400 val images are classified right (95% interval 90.4 to 95.3%). seed 7" in without.text
    )
    assert "This run is not finished" in check_page(run_page(replace(view(), accuracy=None))).text


def found_without(**changes):
    full = view()
    return replace(full, findings=replace(full.findings, **changes))


# a change that takes something away, and words of the page that must go with it
WITHOUT = {
    "history": (replace(view(), history=()), ["How it learnt", "train loss"]),
    "seconds": (replace(view(), seconds={}), ["Where the seconds went", "the process's start"]),
    "findings": (
        replace(view(), findings=None),
        ["Class by class", "taken for what", "mistakes", "sure it is", "worst", "least certain"],
    ),
    "classes": (found_without(classes=(), confusion=(), mistakes=()), ["Class by class", "Every class"]),
    "confusion": (found_without(confusion=()), ["What is taken for what"]),
    "mistakes": (found_without(mistakes=()), ["The most frequent mistakes", "17 images"]),
    "sureness": (found_without(sureness=None), ["How sure it is", "temperature"]),
    "worst": (found_without(worst=()), ["The worst images"]),
    "least certain": (found_without(least_certain=()), ["The least certain images"]),
    "changes": (replace(view(), changes=()), ["with these changes"]),
    "recipe": (replace(view(), changes=(), text="", base=""), ["The recipe", "The whole recipe"]),
    "data": (replace(view(), data_facts=(), remarks=(), bad=(), bad_count=0), ["The data", "source"]),
    "remarks": (replace(view(), remarks=()), ["few images"]),
    "bad files": (replace(view(), bad=(), bad_count=0), ["truncated", "not read"]),
    "environment": (replace(view(), environment=()), ["The environment", "a fast one"]),
    "command": (replace(view(), command=""), ["hotlap train mine.toml"]),
    "commands": (replace(view(), command="", again=""), ["The command"]),
    "top5": (found_without(top5=None), ["five most probable"]),
    "unknown": (found_without(unknown=0), ["not trained on"]),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_what_is_missing_is_left_out(name):
    smaller, words = WITHOUT[name]
    whole, page = check_page(run_page(view())).text, check_page(run_page(smaller)).text
    for word in words:
        assert word in whole, word
        assert word not in page, word


def test_a_run_of_which_nothing_is_known_has_a_page():
    page = check_page(run_page(RunView("r", "d", 0)))
    assert page.text == "r on d r on d This run is not finished. seed 0"


def test_names_are_escaped_everywhere():
    made = view(name=EVIL + "{}")
    made = replace(
        made,
        **dict.fromkeys(("recipe", "data", "split", "views", "base", "text", "command", "again"), EVIL),
        changes=("+ " + EVIL,),
        remarks=(EVIL,),
        data_facts=((EVIL, EVIL),),
        environment=((EVIL, EVIL),),
        bad=((EVIL, EVIL),),
    )
    text = run_page(made)
    check_page(text)
    assert "<script" not in text
    assert text.count("</style>") == 1


def test_images_have_what_was_looked_at_beside_them():
    page = check_page(run_page(view()))
    images = [a for tag, a in page.tags if tag == "img"]
    # of the two mistakes one, the worst, and the two least certain: alone, and again under its veil
    assert sum(a.get("class") == "veil" for a in images) == 4
    assert len(images) == 3 * 4 + 1
    assert "class 0, said class 1" in page.text
    assert "87% sure, image 12" in page.text


def test_a_name_stands_in_place_of_a_number_and_is_inert():
    made = view()
    name = f'train/cat/{EVIL.replace("/", "-")}" onload="x.jpg'
    called = replace(made.findings.worst[0], name=name)
    mistakes = (replace(made.findings.mistakes[0], images=(called,)),)
    found = replace(made.findings, worst=(called,), least_certain=(), mistakes=mistakes)
    text = run_page(replace(made, findings=found))
    page = check_page(text)
    assert "<script" not in text
    titles = [a["title"] for tag, a in page.tags if a.get("class") == "file"]
    assert titles == [name, name]
    assert page.text.count(" ".join(name.split("/")[-1].split())) == 2
    assert "image 12" not in page.text
    assert "87% sure" in page.text


def test_many_classes_show_the_lowest_and_the_most_confused():
    made = view(n=300)
    text = run_page(made)
    page = check_page(text)
    assert "The 20 lowest of 300 classes" in page.text
    assert f"The {MATRIX} most confused of 300 classes" in page.text
    assert sum(a.get("class") == "fill" for _, a in page.tags) == 20
    cells = sum(a.get("class") in ("right", "wrong") for _, a in page.tags)
    assert MATRIX <= cells <= 2 * MATRIX
    assert len(text) < 300_000
    few = check_page(run_page(view(n=BARS)))
    assert sum(a.get("class") == "fill" for _, a in few.tags) == BARS


def test_a_full_matrix_of_a_hundred_classes_and_many_images_stay_under_three_megabytes():
    made = view(n=100)
    full = tuple((i, j, 1) for i in range(100) for j in range(100))
    picture = "data:image/jpeg;base64," + "A" * 8000  # as much as a thumbnail of 128 pixels may take
    shown = Shown(1, "a", "b", 0.5, picture, DOT)
    mistakes = tuple(Mistake("a", "b", 5, 0.1, (replace(shown, looked=""),) * 6) for _ in range(20))
    found = replace(
        made.findings, confusion=full, mistakes=mistakes, worst=(shown,) * 12, least_certain=(shown,) * 12
    )
    assert len(run_page(replace(made, findings=found))) < 3_000_000


def test_where_no_temperature_is_known_none_is_told():
    page = check_page(run_page(found_without(sureness=Sureness(1.0, False, 0.02, 0.02, GROUPS, GROUPS))))
    assert "do not say what temperature would suit them" in page.text
    assert "Scaled" not in page.text


def test_uneven_training_images_are_told():
    assert "7 of class 0, 306 of class 299" in check_page(run_page(view(n=300))).text
    assert "uneven" not in check_page(run_page(view(n=4))).text
