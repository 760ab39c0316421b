"""Class folders of every odd shape, and tables of paths: which image is of which class and split."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from own_sets import COLOURS, error_of, names_of, pixels, png, right, seen, write_tree

from hotlap import data
from hotlap.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HOTLAP_DATA", raising=False)


def counts(dataset) -> dict[str, int]:
    held = {name: len(split) for name, split in dataset.held.items()}
    return {"train": len(dataset.train), dataset.test_split: len(dataset.test), **held}


FOUR = {"cat": 6, "dog": 5}
SPLIT = {"train/cat": 4, "train/dog": 3, "test/cat": 2, "test/dog": 1}


@pytest.mark.parametrize(
    ("tree", "found", "layout"),
    [
        (FOUR, {"train": 9, "val": 2}, "class-per-folder"),
        (SPLIT, {"train": 7, "test": 3}, "class-per-folder with train/ and test/"),
        (
            {f"all/{k}": n for k, n in SPLIT.items()},
            {"train": 7, "test": 3},
            "class-per-folder with train/ and test/ in all/",
        ),
        ({f"a/b/{k}": n for k, n in FOUR.items()}, {"train": 9, "val": 2}, "class-per-folder in a/b/"),
        (
            {**SPLIT, "valid/dog": 2},
            {"train": 7, "val": 2, "test": 3},
            "class-per-folder with train/, valid/ and test/",
        ),
        (
            {"Training/cat": 3, "Training/dog": 2, "Validation/cat": 2},
            {"train": 5, "val": 2},
            "class-per-folder with Training/ and Validation/",
        ),
        ({"train/cat": 5, "train/dog": 5}, {"train": 8, "val": 2}, "class-per-folder with train/"),
        ({"cat/2019/may": 3, "cat/2020": 2, "dog": 5}, {"train": 8, "val": 2}, "class-per-folder"),
        (
            {"cat/train": 4, "cat/test": 2, "dog/train": 3, "dog/test": 1},
            {"train": 7, "test": 3},
            "class-per-folder, each with train/ and test/",
        ),
        (
            {"a/cat/Training/x": 3, "a/cat/valid": 2, "a/dog/Training": 3, "a/dog/test": 1},
            {"train": 6, "val": 2, "test": 1},
            "class-per-folder, each with Training/, valid/ and test/ in a/",
        ),
        ({"cat/train": 5, "dog/train": 5}, {"train": 8, "val": 2}, "class-per-folder, each with train/"),
        ({"cat/old": 3, "cat/test": 2, "dog": 5}, {"train": 8, "val": 2}, "class-per-folder"),
        ({"cat": 3, "cat/test": 2, "dog": 5}, {"train": 8, "val": 2}, "class-per-folder"),
    ],
)
def test_class_folders_of_every_shape(tmp_path, tree, found, layout):
    # Folders in a class's folder are named by dates; the colour is that of the class.
    root = tmp_path / "set"
    for folder, count in tree.items():
        name = next(part for part in folder.split("/") if part in COLOURS)
        (root / folder).mkdir(parents=True)
        for i in range(count):
            (root / folder / f"{i}.png").write_bytes(png(pixels(name, i)))
    got = data.load(root)
    assert counts(got) == found
    assert got.facts.layout == layout
    assert got.spec.class_names == ("cat", "dog")
    assert right(got)
    assert got.spec.test_count == len(got.test)


def test_splits_in_class_folders_with_odd_ones_among_them(tmp_path):
    tree = {f"c{i}/{split}": n for i in range(18) for split, n in (("train", 2), ("test", 1))}
    root = write_tree(tmp_path / "set", {**tree, "lone": 3, "late/test": 2, "empty": 0, "c1": 2})
    write_tree(root, {".": 1})
    got = data.load(root)
    assert counts(got) == {"train": 39, "test": 20}
    assert got.facts.missed == {"late": 2}
    assert got.facts.layout == "class-per-folder, each with train/ and test/"
    for said in (
        "lone/ is not divided as the others are: its 3 images are trained on",
        "2 images in c1/ beside train/ and test/ passed over",
        "1 image beside the class folders passed over",
        "1 class only in test, not in train: late; 2 images count as missed",
        "2 classes have no training image and are left out: empty, late",
    ):
        assert said in got.facts.remarks
    assert got.facts.passed_over == {"images of no class": 3}


def test_a_class_may_be_called_train(tmp_path):
    write_tree(tmp_path / "set", {"train": 3, "cat": 3, "dog": 3})
    assert data.load(tmp_path / "set").spec.class_names == ("cat", "dog", "train")


def test_what_is_no_image_is_passed_over_and_counted(tmp_path):
    root = write_tree(tmp_path / "set", {"cat": 3, "dog": 3, ".ipynb_checkpoints": 2, "__MACOSX/cat": 2})
    write_tree(root, {"@eaDir/dog": 1, "cat/.thumbs": 2})
    for name in (".DS_Store", "Thumbs.db", "cat/desktop.ini", "cat/._0.png"):
        (root / name).write_bytes(b"x")
    (root / "readme.txt").write_text("cats and dogs")
    (root / "dog" / "notes.md").write_text("good dogs")
    (root / "loose.png").write_bytes(png(pixels("cat", 9)))
    os.mkfifo(root / "cat" / "pipe.png")  # to open it would wait for ever
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    got = data.load(root)
    assert got.spec.class_names == ("cat", "dog")
    assert counts(got) == {"train": 4, "val": 2}
    assert got.facts.passed_over == {
        "hidden": 8,
        "not images": 2,
        "images of no class": 1,
        "not files": 1,
        "broken links": 1,
    }
    assert got.facts.bad_count == 0
    assert "1 image beside the class folders passed over" in got.facts.remarks


def test_links_are_followed_and_loops_are_not(tmp_path):
    write_tree(tmp_path / "elsewhere", {"dog": 3})
    root = write_tree(tmp_path / "set", {"cat": 3})
    (root / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (root / "cat" / "again").symlink_to(root)
    got = data.load(root)
    assert counts(got) == {"train": 4, "val": 2}
    assert got.facts.passed_over == {"folders seen before": 1}


def test_a_file_without_a_suffix_is_an_image_if_it_begins_like_one(tmp_path):
    root = write_tree(tmp_path / "set", {"cat": 3, "dog": 3})
    (root / "cat" / "photo").write_bytes(png(pixels("cat", 7)))
    (root / "cat" / "LICENSE").write_text("free")
    got = data.load(root)
    assert sum(counts(got).values()) == 7
    assert got.facts.passed_over == {"not images": 1}


def test_numbers_sort_as_numbers_and_names_as_names(tmp_path):
    write_tree(tmp_path / "numbers", {"10": 2, "9": 2, "-1": 2, "2": 2})
    assert data.load(tmp_path / "numbers").spec.class_names == ("-1", "2", "9", "10")
    write_tree(tmp_path / "names", {"10": 2, "9": 2, "b": 2})
    assert data.load(tmp_path / "names").spec.class_names == ("10", "9", "b")


def test_a_split_with_fewer_classes_keeps_every_label_right(tmp_path):
    write_tree(
        tmp_path / "set", {"train/cat": 3, "train/dog": 3, "train/eel": 3, "val/eel": 2, "test/dog": 2}
    )
    got = data.load(tmp_path / "set")
    assert right(got)
    assert names_of(got, got.test) == ["eel", "eel"]
    assert names_of(got, got.held["test"]) == ["dog", "dog"]
    assert got.facts.counts == {"train": (3, 3, 3), "val": (0, 0, 2), "test": (0, 2, 0)}


def test_a_class_that_only_another_split_has_is_missed_and_said(tmp_path):
    write_tree(tmp_path / "set", {"train/cat": 3, "train/dog": 3, "val/aye": 2, "val/dog": 1, "val/fox": 1})
    got = data.load(tmp_path / "set")
    assert got.spec.class_names == ("cat", "dog")
    assert sorted(got.test.labels.tolist()) == [-1, -1, -1, 1]
    assert got.facts.missed == {"aye": 2, "fox": 1}
    assert "2 classes only in val, not in train: aye, fox; 3 images count as missed" in got.facts.remarks
    assert got.facts.counts["val"] == (0, 1)


def test_no_class_in_common_is_an_error(tmp_path):
    write_tree(tmp_path / "set", {"train/cat": 3, "train/dog": 3, "val/fox": 2})
    assert "val and train have no class in common" in error_of(tmp_path / "set")


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"cat": 5}, "one class only, 'cat'; there must be two or more"),
        ({"train/cat": 5, "test/cat": 2}, "one class only, 'cat'"),
        ({"cat": 1, "dog": 1}, "one a class at most: nothing is left to measure on"),
        ({"val/cat": 2, "val/dog": 2, "test/cat": 1}, "but no train/ with class folders in it"),
        ({"images": 4}, None),
        (
            {"cat/train": 2, "cat/test": 1, "dog": 4},
            "1 of 2 class folders have train/ and test/ in them, but",
        ),
        (
            {"cat/val": 2, "cat/test": 1, "dog/test": 4},
            "have val/ and test/ in them but no train/; add it to",
        ),
        ({"train": 3, "test": 2}, "5 images but neither class folders nor a table"),
        ({"cat/train": 3, "cat/test": 2}, "5 images but neither class folders nor a table"),
        ({}, "is empty"),
    ],
)
def test_what_cannot_be_trained_on(tmp_path, tree, says):
    (tmp_path / "set").mkdir()
    write_tree(tmp_path / "set", tree)
    assert (says or "one class only, 'images'") in error_of(tmp_path / "set")


def test_images_without_classes(tmp_path):
    write_tree(tmp_path / "set", {".": 3})
    assert "3 images but neither class folders nor a table" in error_of(tmp_path / "set")


def test_odd_classes_are_each_said_in_a_line(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    root = write_tree(tmp_path / "set", {composed: 2, apart: 2, "Cat": 3, "cat": 3, "rare": 1, "empty": 0})
    (root / "bad").mkdir()
    (root / "bad" / "0.png").write_bytes(b"")
    got = data.load(root)
    assert got.spec.class_names == ("Cat", "caf\u00e9", "cat", "rare")
    remarks = "\n".join(got.facts.remarks)
    assert f"{composed}: written in two Unicode forms, taken as one class" in remarks
    assert "Cat and cat differ only by case: kept apart as 2 classes" in remarks
    assert "2 classes have no training image and are left out: bad, empty" in remarks
    assert "1 class has one training image: rare" in remarks
    assert got.facts.imbalance == 3.0


def test_case_of_another_split_is_forgiven_and_said(tmp_path):
    write_tree(tmp_path / "set", {"train/Cat": 3, "train/dog": 3, "val/cat": 2, "val/dog": 1})
    got = data.load(tmp_path / "set")
    assert sorted(got.test.labels.tolist()) == [0, 0, 1]
    assert any("cat in val: written in other case than in train" in r for r in got.facts.remarks)


def test_the_split_that_is_made_is_stratified_seeded_and_said(tmp_path):
    root = write_tree(tmp_path / "set", {"cat": 20, "dog": 10, "eel": 2, "fox": 1})
    got = data.load(root)
    assert got.facts.counts == {"train": (16, 8, 1, 1), "val": (4, 2, 1, 0)}
    assert got.facts.made == 0.2
    assert got.test_split == "val"
    assert any(
        "7 training images, 1/5 of each class, put aside to measure on" in r for r in got.facts.remarks
    )
    shutil.copytree(root, tmp_path / "copy")
    again = data.load(tmp_path / "copy")
    assert np.array_equal(again.test.images, got.test.images)
    # adding an image moves few of the others: here it can only be those of its own class
    (root / "dog" / "new.png").write_bytes(png(pixels("dog", 99)))
    more = data.load(root)
    assert {i.tobytes() for i in got.test.images[:4]} <= {i.tobytes() for i in more.test.images}


def test_a_path_is_taken_for_a_name_only_without_a_slash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "patterns", FOUR)
    write_tree(tmp_path / "mine", FOUR)
    assert data.load("./patterns").spec.class_names == ("cat", "dog")
    assert data.load("mine").spec.class_names == ("cat", "dog")
    assert data.load("patterns:30,20").origin.startswith("procedural")
    assert "no data source 'mime'" in error_of("mime")
    assert "there is no such file or folder" in error_of("./mime")
    assert "--size goes with images of one's own" in error_of("patterns:30,20", size=8)


@pytest.mark.parametrize("name", ["new\nline", "\udcff\udcfe", "semi;colon", "'quoted\"", "emoji \U0001f63a"])
def test_odd_names_of_classes_and_files(tmp_path, name):
    root = write_tree(tmp_path / "set", {name: 3, "dog": 3})
    (root / name / "bad\n\udcff.png").write_bytes(b"")
    said = []
    got = data.load(root, notify=said.append)
    assert len(got.spec.class_names) == 2
    assert all("\n" not in line for line in (*got.spec.class_names, *said))
    " ".join((*got.spec.class_names, *said)).encode()
    assert got.facts.bad_count == 1


# -- tables -----------------------------------------------------------------------------------------


def write_images(root, names, suffix=".png"):
    root.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (root / f"{i}{suffix}").write_bytes(png(pixels(name, i)))


NAMES = ["cat", "dog", "dog", "cat", "eel", "eel", "cat", "dog"]


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("path,label", "images/{i}.png,{n}"),
        ("label,file_name", "{n},images/{i}.png"),
        ("Image_ID;Species", "{i};{n}"),
        ("id\tother\tbreed", "{i}.png\tx\t{n}"),
        ("", "images/{i}.png,{n}"),
        ("filepaths,labels", r"C\:images\{i}.png,{n}".replace(r"C\:", "")),
        ("path,label", '"images/{i}.png"," {n} "'),
    ],
)
def test_tables_of_every_shape(tmp_path, head, row):
    root = tmp_path / "set"
    write_images(root / "images", NAMES)
    lines = [row.format(i=i, n=n) for i, n in enumerate(NAMES)]
    (root / "labels.csv").write_text("\ufeff" + "\r\n".join([head, *lines] if head else lines))
    for source in (root, root / "labels.csv"):
        got = data.load(source)
        assert right(got)
        assert got.spec.class_names == ("cat", "dog", "eel")
        assert sum(counts(got).values()) == 8
        assert got.facts.layout == "images named by labels.csv"


def test_a_column_of_splits(tmp_path):
    root = tmp_path / "set"
    write_images(root, NAMES)
    splits = ["train"] * 5 + ["validation", "Test", "test"]
    rows = [f"{i}.png,{n},{s}" for i, (n, s) in enumerate(zip(NAMES, splits, strict=True))]
    (root / "all.csv").write_text("\n".join(["file,class,data set", *rows]))
    got = data.load(root)
    assert counts(got) == {"train": 5, "val": 1, "test": 2}
    assert right(got)
    (root / "all.csv").write_text("\n".join(["file,class,split", *rows[:7], "7.png,dog,holdout"]))
    assert "has the split 'holdout'; write train, val or test" in error_of(root)


def test_a_table_for_each_split(tmp_path):
    root = tmp_path / "set"
    write_images(root / "train", NAMES)
    write_images(root / "test", NAMES[:4])
    (root / "train.csv").write_text(
        "\n".join(["image,label", *(f"train/{i}.png,{n}" for i, n in enumerate(NAMES))])
    )
    (root / "test.csv").write_text(
        "\n".join(["image,label", *(f"test/{i}.png,{n}" for i, n in enumerate(NAMES[:4]))])
    )
    (root / "submission.csv").write_text("image,score\nx.png,1")
    got = data.load(root)
    assert counts(got) == {"train": 8, "test": 4}
    assert right(got)
    (root / "more.csv").write_text("image,label\ntrain/0.png,cat")
    (root / "most.csv").write_text("image,label\ntrain/0.png,cat")
    assert "has several tables of images" in error_of(root)


def write_lines(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_metadata_in_each_splits_folder(tmp_path, suffix):
    root = tmp_path / "set"
    for split, names in (("train", NAMES), ("test", NAMES[2:6])):  # the same names in both
        write_images(root / "data" / split, names)
        rows = [{"file_name": f"{i}.png", "label": n, "text": "a, b"} for i, n in enumerate(names)]
        path = root / "data" / split / f"metadata.{suffix}"
        if suffix == "jsonl":
            write_lines(path, rows)
        else:
            path.write_text("\n".join(["file_name,label", *(f"{i}.png,{n}" for i, n in enumerate(names))]))
    write_images(root / "data" / "train" / "more", ["fox"])  # of a name that a row has, and not its image
    got = data.load(root)
    assert counts(got) == {"train": 8, "test": 4}
    assert right(got)
    assert got.facts.bad_count == 0
    where = " and ".join(f"data/{split}/metadata.{suffix}" for split in ("test", "train"))
    assert got.facts.layout == f"images named by {where.replace(' and ', ', ')}"
    one = data.load(root / "data" / "test" / f"metadata.{suffix}")
    assert sum(counts(one).values()) == 4


def test_metadata_without_labels(tmp_path):
    root = tmp_path / "set"
    for split in ("train", "test"):
        write_images(root / split, NAMES)
        write_lines(
            root / split / "metadata.jsonl", [{"file_name": f"{i}.png", "text": "x"} for i in range(8)]
        )
    assert "metadata.jsonl has no column of labels among text; name it with" in error_of(root)
    write_lines(
        root / "train" / "metadata.jsonl",
        [{"file_name": f"{i}.png", "label": n} for i, n in enumerate(NAMES)],
    )
    got = data.load(root)
    assert right(got)
    assert counts(got) == {"train": 5, "val": 3}
    assert any(
        r.startswith("passed over: test/metadata.jsonl has no column of labels") for r in got.facts.remarks
    )
    # of labels in folders, it is about something else
    write_tree(tmp_path / "folders", {"cat": 3, "dog": 3})
    write_lines(tmp_path / "folders" / "metadata.jsonl", [{"file_name": "cat/0.png", "text": "a cat"}])
    assert data.load(tmp_path / "folders").facts.layout == "class-per-folder"


def test_json_lines_of_every_shape(tmp_path):
    root = tmp_path / "set"
    write_images(root / "images", NAMES)
    splits = ["train"] * 5 + ["validation", "test", "test"]
    rows = [
        {"boxes": [1, 2], "label": n, "image": f"images/{i}.png", "split": s, "line": "a\u2028b"}
        for i, (n, s) in enumerate(zip(NAMES, splits, strict=True))
    ]
    rows += [{"image": "images/0.png", "label": "cat", "split": "train"}, {"image": None, "split": "test"}]
    write_lines(root / "all.jsonl", rows)
    got = data.load(root)
    assert counts(got) == {"train": 5, "val": 1, "test": 2}
    assert right(got)
    assert got.facts.passed_over == {"rows that come twice": 1, "rows without a path or a label": 1}
    numbers = [{"file": f"images/{i}.png", "label": 2 * (n == "cat")} for i, n in enumerate(NAMES)]
    write_lines(root / "all.jsonl", numbers)
    assert data.load(root / "all.jsonl").spec.class_names == ("0", "2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; a table of JSON lines has an object a line"),
        (
            '{"file_name": "0.png", "label": "cat"}\n[1]',
            "t.jsonl, line 2, is no JSON object; each line is one",
        ),
        ('\n{"file_name": "0.png", "label"', "t.jsonl, line 2, is no JSON object"),
        ("[" * 100_000, "t.jsonl, line 1, is no JSON object"),
        ('{"label": "cat", "x": {"file_name": "0.png"}}', "has no column of paths among label"),
        ('{"file_name": "0.png", "label": ["cat"]}', "has no column of labels; name it with"),
        ('{"file_name": "\\ud800\\udcff.png", "label": "\\ud800"}', "none of the 1 image that"),
    ],
)
def test_json_lines_that_are_no_table(tmp_path, text, says):
    write_images(tmp_path / "set", NAMES)
    (tmp_path / "set" / "t.jsonl").write_text(text)
    for source in (tmp_path / "set", tmp_path / "set" / "t.jsonl"):
        assert says in error_of(source)


def test_one_image_by_two_names_comes_twice(tmp_path):
    root = tmp_path / "set"
    write_images(root / "images", NAMES)
    rows = [f"images/{i}.png,{n}" for i, n in enumerate(NAMES)]
    (root / "t.csv").write_text("\n".join(["path,label", *rows, "0,cat", "./images/1.png,eel"]))
    got = data.load(root)
    assert right(got)
    assert got.facts.passed_over["rows that come twice"] == 2
    assert any("1 image listed twice with another label" in r for r in got.facts.remarks)


def test_told_columns_and_another_folder(tmp_path):
    write_images(tmp_path / "photos", NAMES)
    table = tmp_path / "tables" / "t.csv"
    table.parent.mkdir()
    table.write_text("\n".join(["a,label,b", *(f"{i}.png,x,{n}" for i, n in enumerate(NAMES))]))
    got = data.load(table, data_dir=tmp_path / "photos", images="a", labels="b")
    assert right(got)
    assert "has no column 'c' among label, b" in error_of(table, labels="c", images="a")
    assert "has no column of paths among a, label, b; name it with --image-column" in error_of(table)
    text = error_of(table, images="a", labels="b")
    assert f"none of the 8 images that {table} names is below {table.parent}" in text


def test_rows_that_lack_or_repeat(tmp_path):
    root = tmp_path / "set"
    write_images(root, NAMES)
    rows = [f"{i}.png,{n}" for i, n in enumerate(NAMES)]
    (root / "t.csv").write_text(
        "\n".join(["path,label", *rows, "0.png,cat", "1.png,cat", "gone.png,cat", ",cat", "3.png,"])
    )
    got = data.load(root)
    assert sum(counts(got).values()) == 8
    assert got.facts.bad == (("gone.png", "not there"),)
    assert got.facts.passed_over["rows that come twice"] == 2
    assert got.facts.passed_over["rows without a path or a label"] == 2
    assert any("1 image listed twice with another label" in r for r in got.facts.remarks)


def test_class_folders_go_before_a_table_that_agrees_and_not_before_one_that_does_not(tmp_path):
    root = write_tree(tmp_path / "set", {"cat": 3, "dog": 3})
    rows = [f"{n}/{i}.png,{k}" for k, n in enumerate(("cat", "dog")) for i in range(3)]
    (root / "cat" / "0.png").rename(root / "cat" / "c0.png")
    for i in range(3):
        (root / "dog" / f"{i}.png").rename(root / "dog" / f"d{i}.png")
    rows = ["cat/c0.png,0", "cat/1.png,0", "cat/2.png,0", "dog/d0.png,1", "dog/d1.png,1", "dog/d2.png,1"]
    (root / "table.csv").write_text("\n".join(["path,label", *rows]))
    assert data.load(root).spec.class_names == ("cat", "dog")
    rows = ["cat/c0.png,a", "cat/1.png,b", "cat/2.png,b", "dog/d0.png,a", "dog/d1.png,b", "dog/d2.png,a"]
    (root / "table.csv").write_text("\n".join(["path,label", *rows]))
    assert data.load(root).spec.class_names == ("a", "b")


def test_a_table_in_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    root = tmp_path / "set"
    write_images(root, NAMES)
    table = pa.table({"path": [f"{i}.png" for i in range(8)], "label": NAMES, "size": [1.5] * 8})
    pq.write_table(table, root / "t.parquet")
    for source in (root, root / "t.parquet"):
        assert right(data.load(source))


# -- to measure a model by --------------------------------------------------------------------------


def test_images_to_measure_have_the_labels_of_the_models_classes(tmp_path):
    known = ("eel", "dog", "cat")
    root = write_tree(tmp_path / "flat", {"cat": 3, "fox": 1, "dog": 2})
    got = data.load_to_measure(root, known, 3, (8, 8))
    assert sorted(names_of(got, got.test)) == ["?", "cat", "cat", "cat", "dog", "dog"]
    assert [n for n in names_of(got, got.test) if n != "?"] == [n for n in seen(got, got.test) if n != "fox"]
    assert (len(got.train), got.spec.class_names, got.spec.test_count) == (0, known, 6)
    assert got.facts.missed == {"fox": 1}
    write_tree(tmp_path / "split", {"train/cat": 3, "val/dog": 2, "test/eel": 1})
    got = data.load_to_measure(tmp_path / "split", known, 1, (8, 8))
    assert (names_of(got, got.test), got.spec.shape) == (["eel"], (1, 8, 8))
    write_tree(tmp_path / "one", {"dog": 2})
    again = data.load_to_measure(tmp_path / "one", known, 3, (4, 4))
    assert names_of(again, again.test) == ["dog", "dog"]
    with pytest.raises(UserError, match="test and the model have no class in common"):
        data.load_to_measure(write_tree(tmp_path / "other", {"fox": 2}), known, 3, (8, 8))


def test_arrays_to_measure_by():
    images = np.stack([pixels(n, i) for i, n in enumerate(("cat", "dog", "dog"))])
    got = data.load_to_measure((images, ["cat", "dog", "dog"]), ("cat", "dog"), 3, (8, 8))
    assert got.test.labels.tolist() == [0, 1, 1]
