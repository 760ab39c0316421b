"""Arrays, IDX, Parquet and archives, from files and from Python: taken as what they are, and said so."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest
from own_sets import (
    arrays_of,
    error_of,
    idx_bytes,
    names_of,
    pixels,
    png,
    right,
    seen,
    write_idx,
    write_parquet,
    write_tree,
)
from PIL import Image

from hotlap import data
from hotlap.data.archived import Unpacked
from hotlap.data.options import Columns
from hotlap.data.recognise import recognise
from hotlap.files import silent

NAMES = ["cat", "dog", "eel", "dog", "cat", "eel", "cat", "dog"]
NUMBERS = np.array([0, 1, 2, 1, 0, 2, 0, 1])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HOTLAP_DATA", raising=False)


def numbers_right(dataset) -> bool:
    """Whether labels that are numbers fit the colours of `NAMES`."""
    classes = ("cat", "dog", "eel")
    return all(
        [classes[int(dataset.spec.class_names[k])] for k in s.labels] == seen(dataset, s)
        for s in (dataset.train, dataset.test, *dataset.held.values())
    )


@pytest.mark.parametrize(
    ("keys", "splits"),
    [
        (("x_train", "y_train", "x_test", "y_test"), {"train": 8, "test": 8}),
        (("train_images", "train_labels", "val_images", "val_labels"), {"train": 8, "val": 8}),
        (("X", "y"), {"train": 5, "val": 3}),
        (("images", "labels"), {"train": 5, "val": 3}),
        (("data", "targets"), {"train": 5, "val": 3}),
        (("arr_0", "arr_1"), {"train": 5, "val": 3}),
    ],
)
def test_npz_by_the_names_of_its_arrays(tmp_path, keys, splits):
    arrays = {k: (arrays_of(NAMES), NUMBERS)[i % 2] for i, k in enumerate(keys)}
    np.savez_compressed(tmp_path / "a.npz", extra=np.zeros(3), **arrays)
    got = data.load(tmp_path / "a.npz")
    assert numbers_right(got)
    assert {"train": len(got.train), got.test_split: len(got.test)} == splits
    assert got.facts.layout == "arrays in a.npz, taken as (N, height, width, channels)"


@pytest.mark.parametrize(
    "form", ["float 0-1", "float -1-1", "float 0-255", "uint16", "int64", "nchw", "rgba"]
)
def test_every_kind_of_numbers_comes_to_the_same_pixels(tmp_path, form):
    images = arrays_of(NAMES)
    made = {
        "float 0-1": lambda x: x / np.float32(255),
        "float -1-1": lambda x: x / 127.5 - 1,
        "float 0-255": lambda x: x.astype(np.float64),
        "uint16": lambda x: x.astype(np.uint16) * 257,
        "int64": lambda x: x.astype(np.int64),
        "nchw": lambda x: x.transpose(0, 3, 1, 2),
        "rgba": lambda x: np.concatenate([x, np.full((*x.shape[:3], 1), 255, np.uint8)], 3),
    }[form](images)
    np.savez(tmp_path / "a.npz", x=made, y=NUMBERS)
    np.savez(tmp_path / "b.npz", x=images, y=NUMBERS)
    got, want = data.load(tmp_path / "a.npz"), data.load(tmp_path / "b.npz")
    assert np.array_equal(got.train.images, want.train.images)
    assert got.facts.layout.endswith(
        {
            "float 0-1": "numbers from 0 to 1",
            "float -1-1": "numbers from -1 to 1",
            "float 0-255": "numbers from 0 to 255",
            "uint16": "numbers from 0 to 65535",
            "nchw": "taken as (N, channels, height, width)",
        }.get(form, "")
    )


def test_gray_arrays_have_one_channel(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.tile(NUMBERS[:, None, None], (1, 6, 5)).astype(np.uint8), y=NUMBERS)
    got = data.load(tmp_path / "a.npz")
    assert got.spec.shape == (1, 6, 5)
    assert [int(i[0, 0, 0]) for i in got.train.images] == [
        int(got.spec.class_names[k]) for k in got.train.labels
    ]


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS[:, None],
        NUMBERS.astype(np.float32),
        np.eye(3)[NUMBERS],
        np.array(["0", "1", "2"])[NUMBERS],
        np.array([b"0", b"1", b"2"])[NUMBERS],
        NUMBERS.astype(np.int8),
    ],
)
def test_labels_of_every_kind(tmp_path, labels):
    np.savez(tmp_path / "a.npz", x=arrays_of(NAMES), y=labels)
    assert numbers_right(data.load(tmp_path / "a.npz"))


def test_names_of_the_classes_in_the_file(tmp_path):
    np.savez(
        tmp_path / "a.npz", x=arrays_of(NAMES), y=NUMBERS, class_names=np.array(["cat", "dog", "eel", "none"])
    )
    got = data.load(tmp_path / "a.npz")
    assert right(got)
    assert got.spec.class_names == ("cat", "dog", "eel")
    np.savez(tmp_path / "a.npz", x=arrays_of(NAMES), y=NUMBERS, class_names=np.array(["cat", "dog"]))
    assert "have 2, there are names for 0 to 1" in error_of(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((4, 5)), "y": [0, 1, 0, 1]}, "has the shape (4, 5); images are (N, height, width)"),
        ({"x": np.zeros((4, 5, 5, 7)), "y": [0, 1, 0, 1]}, "with 1, 3 or 4 channels"),
        ({"x": np.full((4, 5, 5), 300.0), "y": [0, 1, 0, 1]}, "numbers from 300 to 300; give 0 to 255"),
        ({"x": np.full((4, 5, 5), np.nan), "y": [0, 1, 0, 1]}, "not finite"),
        ({"x": np.zeros((4, 5, 5)), "y": [0, 1, 0]}, "there are 4 images"),
        ({"x": np.zeros((4, 5, 5)), "y": [0, 0.5, 0, 1]}, "give whole numbers or text"),
        ({"x": np.zeros((4, 5, 5)), "y": np.ones((4, 3))}, "not a single one in each row"),
        (
            {"x": np.zeros((4, 5, 5)), "z": [0, 1, 0, 1]},
            "has no images with their labels among x (4, 5, 5), z (4,)",
        ),
        ({"x": np.zeros((4, 5, 5)), "images": np.zeros((4, 5, 5)), "y": [0, 1, 0, 1]}, "both x and images"),
        ({"x": np.zeros((4, 5, 5), complex), "y": [0, 1, 0, 1]}, "images must be numbers, not complex128"),
        (
            {"x": np.array([{}] * 4, object), "y": [0, 1, 0, 1]},
            "Python objects, which are pickles and are not read",
        ),
    ],
)
def test_arrays_that_are_no_images(tmp_path, arrays, says):
    np.savez(tmp_path / "a.npz", **arrays)
    assert says in error_of(tmp_path / "a.npz")


def test_npy_files_beside_each_other(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    np.save(folder / "x_train.npy", arrays_of(NAMES))
    np.save(folder / "y_train.npy", NUMBERS)
    np.save(folder / "embeddings.npy", np.zeros((8, 3)))
    for source in (folder, folder / "x_train.npy"):
        assert numbers_right(data.load(source))
    (folder / "y_train.npy").unlink()
    assert "has no images with their labels" in error_of(folder)


def write_splits(folder, *files, **arrays):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        np.savez(folder / file, **(arrays or {"images": arrays_of(NAMES), "labels": NUMBERS}))


@pytest.mark.parametrize(
    "files", [("train.npz", "test.npz"), ("my-test.npz", "my-train.npz"), ("train/a.npz", "test/a.npz")]
)
def test_npz_files_by_split(tmp_path, files):
    write_splits(tmp_path / "set", *files)
    other = "test" if "test" in files[0] else "train"
    write_splits(tmp_path / "set", files[0], x=arrays_of(NAMES[:4]), y=NUMBERS[:4])
    got = data.load(tmp_path / "set")
    assert numbers_right(got)
    assert {"train": len(got.train), got.test_split: len(got.test)} == {"train": 8, "test": 8} | {other: 4}
    said = ", ".join(sorted(files))
    assert got.facts.layout == f"arrays in {said}, taken as (N, height, width, channels)"


def test_npz_files_by_split_with_odd_ones(tmp_path):
    root = tmp_path / "set"
    names = np.array(["cat", "dog", "eel"])
    write_splits(root, "train.npz", images=arrays_of(NAMES), labels=NUMBERS, class_names=names)
    write_splits(root, "val.npz", images=arrays_of(["eel", "cat"]), labels=np.array([2, 0]))
    write_splits(root, "test.npz", images=arrays_of(["dog"]))
    write_splits(root, "weights.npz", w0=np.zeros(3))
    got = data.load(root)
    assert right(got)
    assert got.spec.class_names == ("cat", "dog", "eel")
    assert (len(got.train), len(got.test), dict(got.held)) == (8, 2, {})
    passed = [r for r in got.facts.remarks if r.startswith("passed over: ")]
    assert [r.split(" among ")[0] for r in passed] == [
        "passed over: test.npz has no images with their labels",
        "passed over: weights.npz has no images with their labels",
    ]
    write_splits(
        root, "val.npz", images=arrays_of(["fox"]), labels=np.array([0]), class_names=np.array(["fox"])
    )
    assert "val.npz names other classes than the arrays before it do" in error_of(root)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("train.npz", "more.npz"), "more.npz is of no split; call each file or folder by its split"),
        (
            ("train1.npz", "b/train.npz", "train-2.npz"),
            "has the train images twice, in b/train.npz:images and",
        ),
        (("val.npz", "test.npz"), "has no training images, only test, val"),
    ],
)
def test_npz_files_that_are_not_one_a_split(tmp_path, files, says):
    write_splits(tmp_path / "set", *files)
    (tmp_path / "set" / "train1.npz").unlink(missing_ok=True)
    assert says in error_of(tmp_path / "set")


def test_an_npz_file_that_says_another_split_than_its_name(tmp_path):
    write_splits(tmp_path / "set", "train.npz")
    write_splits(tmp_path / "set", "test.npz", x_train=arrays_of(NAMES), y_train=NUMBERS)
    assert "test.npz: x_train is of train; call each file or folder" in error_of(tmp_path / "set")


def test_npy_files_in_a_folder_for_each_split(tmp_path):
    for split, count in (("train", 8), ("test", 4)):
        (tmp_path / "set" / split).mkdir(parents=True)
        np.save(tmp_path / "set" / split / "images.npy", arrays_of(NAMES[:count]))
        np.save(tmp_path / "set" / split / "labels.npy", NUMBERS[:count])
    got = data.load(tmp_path / "set")
    assert numbers_right(got)
    assert (len(got.train), len(got.test), got.test_split) == (8, 4, "test")
    (tmp_path / "set" / "test").rename(tmp_path / "set" / "more")
    assert "more/ is of no split; call each file or folder by its split" in error_of(tmp_path / "set")


def test_npy_files_of_images_in_one_folder_and_of_labels_in_another(tmp_path):
    for split in ("train", "test"):
        for folder, array in (("images", arrays_of(NAMES)), ("labels", NUMBERS)):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "set" / folder / f"{split}_{folder}.npy", array)
    got = data.load(tmp_path / "set")
    assert numbers_right(got)
    assert (len(got.train), len(got.test)) == (8, 8)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path, packed):
    gray = np.tile(NUMBERS[:, None, None], (1, 6, 5))
    write_idx(tmp_path / "set", "train", gray, NUMBERS, packed)
    write_idx(tmp_path / "set", "t10k", gray[::-1], NUMBERS[::-1], packed)
    (tmp_path / "set" / "README").write_text("digits")
    first = next((tmp_path / "set").glob("train-images*"))
    for source in (tmp_path / "set", first):
        got = data.load(source)
        assert got.spec.shape == (1, 6, 5)
        assert (len(got.train), len(got.test), got.test_split) == (8, 8, "test")
        assert np.array_equal(got.train.images[:, 0, 0, 0], NUMBERS)
        assert np.array_equal(got.test.labels, NUMBERS[::-1])


def test_idx_files_that_are_not_whole(tmp_path):
    gray = np.tile(NUMBERS[:, None, None], (1, 6, 5))
    write_idx(tmp_path / "set", "train", gray, NUMBERS, False)
    images = tmp_path / "set" / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for raw, says in (
        (whole[:-1], "is truncated: its head says (8, 6, 5)"),
        (whole + b"x", "is longer than it says"),
        (whole[:3], "is not an IDX file"),
        (b"\x1f\x8bgarbage", "truncated or damaged"),
        (idx_bytes(gray)[:4] + b"\xff" * 12, "claims to hold"),
    ):
        images.write_bytes(raw)
        assert says in error_of(tmp_path / "set")
    (tmp_path / "set" / "train-labels-idx1-ubyte").unlink()
    assert "without its labels; put that file beside it" in error_of(tmp_path / "set")


def test_fashion_mnist_as_it_lies_on_this_machine():
    from pathlib import Path

    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip("no Fashion-MNIST on this machine")
    got = data.load(folder)
    assert (len(got.train), len(got.test), got.spec.shape) == (60_000, 10_000, (1, 28, 28))
    assert got.facts.counts == {"train": (6000,) * 10, "test": (1000,) * 10}


# -- Parquet ----------------------------------------------------------------------------------------


def rows(names, labels):
    return [(png(pixels(n, i)), label) for i, (n, label) in enumerate(zip(names, labels, strict=True))]


def test_parquet_in_shards_with_class_labels(tmp_path):
    order = ["eel", "cat", "dog", "none"]
    numbers = [order.index(n) for n in NAMES]
    folder = tmp_path / "set" / "data"
    write_parquet(folder / "train-00000-of-00002.parquet", rows(NAMES[:5], numbers[:5]), order)
    write_parquet(folder / "train-00001-of-00002.parquet", rows(NAMES[5:], numbers[5:]), order)
    write_parquet(folder / "test-00000-of-00001.parquet", rows(NAMES, numbers), order)
    got = data.load(tmp_path / "set")
    assert right(got)
    assert got.spec.class_names == ("eel", "cat", "dog")  # in the order that the files have
    assert (len(got.train), len(got.test), got.test_split) == (8, 8, "test")
    assert got.facts.layout == "3 Parquet files with images in 'image' and labels in 'label'"
    assert "1 class has no training image and is left out: none" in got.facts.remarks
    one = data.load(folder / "train-00000-of-00002.parquet")
    assert len(one.train) + len(one.test) == 5


def test_parquet_with_text_labels_rows_without_images_and_bad_ones(tmp_path):
    listed = [*rows(NAMES, NAMES), (None, "cat"), (b"", "dog"), (b"<html>", "dog")]
    write_parquet(tmp_path / "all.parquet", listed, None)
    got = data.load(tmp_path / "all.parquet")
    assert right(got)
    assert got.facts.bad_count == 3
    names = {name for name, _ in got.facts.bad}
    assert names == {"all.parquet[8]", "all.parquet[9]", "all.parquet[10]"}


def test_parquet_that_does_not_read(tmp_path):
    write_parquet(tmp_path / "all.parquet", rows(NAMES, NAMES), None)
    raw = (tmp_path / "all.parquet").read_bytes()
    (tmp_path / "all.parquet").write_bytes(raw[: len(raw) // 2])
    assert f"cannot read {tmp_path / 'all.parquet'}" in error_of(tmp_path / "all.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    import sys

    (tmp_path / "all.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert error_of(tmp_path / "all.parquet").endswith("not installed: pip install 'hotlap[parquet]'")


# -- archives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"])
def test_archives_of_class_folders(tmp_path, suffix):
    tree = write_tree(tmp_path / "set", {"train/cat": 3, "train/dog": 3, "val/dog": 2})
    path = tmp_path / f"set{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(tree.rglob("*.png")):
                archive.write(file, f"set/{file.relative_to(tree)}")
            archive.writestr("__MACOSX/set/train/cat/._0.png", b"x")
    else:
        with tarfile.open(
            path, f"w:{suffix.split('.')[-1].replace('tgz', 'gz').replace('tar', '')}"
        ) as archive:
            archive.add(tree, "set")
    said = []
    got = data.load(path, notify=said.append)
    assert right(got)
    assert (len(got.train), len(got.test)) == (6, 2)
    assert got.facts.layout == "class-per-folder with train/ and val/ in set/, in an archive"
    assert [p.name for p in (tmp_path / "cache" / "packed").iterdir()] == [
        p.name for p in (tmp_path / "cache" / "packed").glob("*.pack")
    ]
    said.clear()
    data.load(path, notify=said.append)
    assert said == []


def test_archives_of_other_kinds(tmp_path):
    file = io.BytesIO()
    np.savez(file, x=arrays_of(NAMES), y=NUMBERS)
    table = "\n".join(["path,label", *(f"images/{i}.png,{n}" for i, n in enumerate(NAMES))])
    with zipfile.ZipFile(tmp_path / "arrays.zip", "w") as archive:
        archive.writestr("a.npz", file.getvalue())
    with zipfile.ZipFile(tmp_path / "table.zip", "w") as archive:
        archive.writestr("labels.csv", table)
        for i, name in enumerate(NAMES):
            archive.writestr(f"images/{i}.png", png(pixels(name, i)))
    assert numbers_right(data.load(tmp_path / "arrays.zip"))
    assert right(data.load(tmp_path / "table.zip"))


def zipped(path, tree, within=""):
    """A zip (or a tar, by its name) of the files below `tree`, in a folder `within`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(f for f in tree.rglob("*") if f.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, f"{within}{file.relative_to(tree)}")
            archive.writestr("__MACOSX/x", b"x")
    else:
        with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
            for file in files:
                archive.add(file, f"{within}{file.relative_to(tree)}")
    return path


TWO = {"cat": 3, "dog": 3}


@pytest.mark.parametrize(
    "files",
    [
        {"train.zip": "", "test.tar.gz": ""},
        {"train.zip": "train/", "test.zip": "test/"},
        {"train.tar": "pictures/", "test.tar": "a/b/"},
        {"a/our_train.zip": "x/", "a/our_test.tgz": ""},
        {"all.zip": ""},
    ],
)
def test_a_folder_of_archives(tmp_path, files):
    one, other = write_tree(tmp_path / "one", TWO), write_tree(tmp_path / "other", {"dog": 2, "cat": 1})
    for name, within in files.items():
        zipped(tmp_path / "set" / name, other if "test" in name else one, within)
    (tmp_path / "set" / "README.md").write_text("pictures")
    (tmp_path / "set" / "LICENSE").write_text("free")
    for _ in range(2):
        said = []
        got = data.load(tmp_path / "set", notify=said.append)
        assert right(got)
        assert got.spec.class_names == ("cat", "dog")
        assert {"train": len(got.train), got.test_split: len(got.test)} == (
            {"train": 6, "test": 3} if len(files) == 2 else {"train": 4, "val": 2}
        )
        kinds = "class-per-folder with train/ and test/" if len(files) == 2 else "class-per-folder in all/"
        assert got.facts.layout == f"{kinds}, in {', '.join(sorted(files))}"
        assert not any("left out" in line for line in said)
    assert [p.suffix for p in (tmp_path / "cache" / "packed").iterdir()] == [".pack"]
    unpacks = [line for line in said if line.startswith("unpacking")]
    assert unpacks == []
    zipped(tmp_path / "set" / next(iter(files)), write_tree(tmp_path / "more", {"cat": 9, "dog": 9}))
    assert len(data.load(tmp_path / "set").train) > 6


def test_an_archive_for_each_class_within_an_archive(tmp_path):
    for name in ("cat", "dog", "eel"):
        tree = write_tree(tmp_path / "trees" / name, {name: 4})
        suffix, within = (".zip", "eel/") if name == "eel" else (".tar", "")
        zipped(tmp_path / "tars" / f"{name}{suffix}", tree / name, within)
    whole = zipped(tmp_path / "all.zip", tmp_path / "tars")
    got = data.load(whole)
    assert right(got)
    assert got.facts.layout == "class-per-folder, in cat.tar, dog.tar, eel.zip, in an archive"
    assert not any("left out" in remark for remark in got.facts.remarks)  # there is no fourth class
    found = recognise(whole, Columns())
    with Unpacked(whole, found, tmp_path / "files", Columns(), silent) as listing:
        files = {str(p.relative_to(tmp_path / "files")) for p in (tmp_path / "files").rglob("*.*")}
        assert files == {item.name for item in listing.items}  # an archive goes when its files are there
    assert not (tmp_path / "files").exists()
    deeper = zipped(tmp_path / "deep" / "deeper.zip", tmp_path / "tars")
    assert right(data.load(deeper.parent))  # a folder with an archive with archives
    deepest = zipped(tmp_path / "deepest.zip", deeper.parent)
    assert error_of(deepest) == (
        f"{deepest}: deeper/cat.tar is an archive in archives in archives; unpack it and give the folder"
    )


def test_a_table_beside_the_archive_of_its_images(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i, name in enumerate(NAMES):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(png(pixels(name, i)))
    table = "\n".join(["image,label", *(f"{i}.png,{n}" for i, n in enumerate(NAMES))])
    zipped(tmp_path / "set" / "images.zip", tmp_path / "pictures")
    (tmp_path / "set" / "labels.csv").write_text(table)
    for source in (tmp_path / "set", zipped(tmp_path / "whole.zip", tmp_path / "set")):
        got = data.load(source)
        assert right(got)
        assert got.facts.layout.startswith("images named by labels.csv, in images.zip")
    assert right(data.load(tmp_path / "set", labels="label", images="image"))
    (tmp_path / "set" / "labels.csv").write_text(table.replace("image,label", "image,name"))
    assert error_of(tmp_path / "set").startswith(
        f"{tmp_path / 'set'}/labels.csv has no column of labels among"
    )


def test_archives_beside_images_or_of_one_name_or_of_nothing(tmp_path):
    tree = write_tree(tmp_path / "set", TWO)
    zipped(tree / "all.zip", write_tree(tmp_path / "other", {"eel": 4, "fox": 4}))
    assert data.load(tree).spec.class_names == ("cat", "dog")
    for name in ("train.zip", "train.tar"):
        zipped(tmp_path / "twice" / name, tree)
    assert "has train.tar and train.zip, archives of one name; give the one that is meant" in error_of(
        tmp_path / "twice"
    )
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.doc").write_text("words")
    zipped(tmp_path / "mixed" / "words.zip", tmp_path / "words")
    assert f"{tmp_path / 'mixed'} holds no images but 1 .doc" in error_of(tmp_path / "mixed")
    (tmp_path / "mixed" / "b.doc").write_text("words")
    assert f"give the archive itself: {tmp_path / 'mixed' / 'words.zip'}" in error_of(tmp_path / "mixed")
    assert list((tmp_path / "cache").rglob("*.files")) == []


# -- from Python ------------------------------------------------------------------------------------


def test_a_pair_of_arrays_and_pairs_of_them():
    x = arrays_of(NAMES)
    for source, splits in (
        ((x, NUMBERS), ["val"]),
        ([x, NUMBERS.tolist()], ["val"]),
        (((x, NUMBERS), (x, NUMBERS)), ["test"]),
        (((x, NUMBERS), (x, NUMBERS), (x, NUMBERS)), ["val", "test"]),
    ):
        got = data.load(source)
        assert numbers_right(got)
        assert [got.test_split, *got.held] == splits
        assert got.facts.layout.startswith("arrays, taken as")


def test_a_pair_of_tensors():
    import torch

    got = data.load((torch.from_numpy(arrays_of(NAMES)).permute(0, 3, 1, 2), torch.from_numpy(NUMBERS)))
    assert numbers_right(got)


def test_images_one_by_one():
    images = [Image.fromarray(pixels(n, i)) for i, n in enumerate(NAMES)]
    images[0] = images[0].convert("RGBA")
    images[1] = images[1].resize((20, 30))
    pairs = [*zip(images, NAMES, strict=True)]
    for source in (pairs, iter(pairs), (pair for pair in pairs)):
        got = data.load(source, size=8, fit="stretch")
        assert right(got)
        assert len(got.train) + len(got.test) == 8
    two = data.load([(images[0], "cat"), (images[4], "cat"), (images[1], "dog"), (images[3], "dog")], size=8)
    assert sorted(names_of(two, two.train)) == ["cat", "dog"]


def test_a_data_set_with_names_for_its_numbers_that_never_says_stop():
    class Endless:
        classes = ["cat", "dog", "eel"]  # noqa: RUF012

        def __len__(self):
            return len(NAMES)

        def __getitem__(self, i):
            return Image.fromarray(pixels(NAMES[i % 8], i)), int(NUMBERS[i % 8])

    got = data.load(Endless())
    assert right(got)
    assert got.spec.class_names == ("cat", "dog", "eel")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (5, "data is a int; give a name, a path"),
        ({"a": 1}, "data is a dict"),
        ([], "memory holds no images"),
        ([1, 2], "element 0 is no pair (image, label)"),
        ([("x", 1)], "image 0 is a str; give a PIL image"),
        ([(np.zeros((3, 4, 5), np.uint8), 1)], "image 0 is ndarray (3, 4, 5) of uint8"),
        ([(np.zeros((4, 4), np.uint8), [1])], "a label is neither a whole number nor text"),
        ((np.zeros((4, 5, 5)), [0, 1]), "there are 4 images"),
    ],
)
def test_what_python_holds_and_is_no_data(source, says):
    assert says in error_of(source)
