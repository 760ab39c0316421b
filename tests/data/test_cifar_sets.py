"""The official layouts, decoded: every image and label comes out as it went in, or an error does."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cifar import layout_of, random_splits, same, tiny, write_archive, write_folder

from hotlap.data.cifar import SETS, decode, locate
from hotlap.errors import UserError

NAMES = st.sampled_from(["cifar10", "cifar100"])
KINDS = st.sampled_from(["binary", "python"])
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))


def decoded(cifar, root):
    found = locate(cifar, root)
    assert found is not None
    return decode(cifar, found)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    name=NAMES,
    kind=KINDS,
    style=st.sampled_from(["py2", "p2", "p5", "fortran"]),
    shape=SHAPES,
    per_file=st.integers(1, 4),
    test=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_a_folder_round_trips(name, kind, style, shape, per_file, test, seed):
    cifar = tiny(name, per_file, test, shape)
    splits = random_splits(cifar, seed)
    with tempfile.TemporaryDirectory() as root:
        write_folder(cifar, kind, splits, Path(root), style)
        got = decoded(cifar, Path(root))
    assert same(got.train, splits["train"])
    assert same(got.test, splits["test"])
    assert got.class_names == cifar.class_names


@settings(max_examples=15, deadline=None, derandomize=True)
@given(name=NAMES, kind=KINDS, seed=st.integers(0, 2**32))
def test_an_archive_round_trips(name, kind, seed):
    cifar = tiny(name)
    splits = random_splits(cifar, seed)
    with tempfile.TemporaryDirectory() as root:
        cifar = write_archive(cifar, kind, splits, Path(root))
        assert len(list(Path(root).iterdir())) == 1
        got = decoded(cifar, Path(root))
        assert len(list(Path(root).iterdir())) == 1, "something was extracted"
    assert same(got.train, splits["train"])
    assert same(got.test, splits["test"])


def test_the_folder_itself_may_be_given(tmp_path):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path)
    found = locate(cifar, folder)
    assert found is not None
    assert found.path == folder
    assert (found.layout, found.is_archive) == (layout_of(cifar, "binary"), False)


def test_a_folder_goes_before_an_archive_and_binary_before_python(tmp_path):
    cifar = tiny()
    splits = random_splits(cifar, 0)
    cifar = write_archive(cifar, "binary", splits, tmp_path)
    assert locate(cifar, tmp_path).is_archive
    write_folder(cifar, "python", splits, tmp_path)
    assert locate(cifar, tmp_path).layout.kind == "python"
    write_folder(cifar, "binary", splits, tmp_path)
    assert locate(cifar, tmp_path).path.name == "cifar-10-batches-bin"


def test_nothing_there_is_nothing_found(tmp_path):
    assert locate(tiny(), tmp_path) is None


def test_class_names_come_from_the_folder_or_else_the_usual_ones_hold(tmp_path):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path)
    names = folder / "batches.meta.txt"
    names.write_text("\n".join("abcdefghij"))
    assert decoded(cifar, tmp_path).class_names == tuple("abcdefghij")
    names.unlink()
    assert decoded(cifar, tmp_path).class_names == cifar.class_names
    names.write_text("a\nb\n")
    with pytest.raises(UserError, match=r"batches\.meta\.txt has 2 class names, CIFAR-10 has 10"):
        decoded(cifar, tmp_path)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(name=NAMES, kind=KINDS, image=st.integers(0, 2), label=st.integers(0, 155))
def test_a_label_out_of_range_is_found(name, kind, image, label):
    cifar = tiny(name)
    splits = random_splits(cifar, 0)
    splits["train"].labels[image] = label = len(cifar.class_names) + label
    with tempfile.TemporaryDirectory() as root:
        folder = write_folder(cifar, kind, splits, Path(root))
        with pytest.raises(UserError, match=f"has label {label} at image {image}") as error:
            decoded(cifar, Path(root))
        assert str(folder / layout_of(cifar, kind).parts[0].file) in str(error.value)


def test_a_negative_label_is_found(tmp_path):
    cifar = tiny()
    splits = random_splits(cifar, 0)
    splits["test"].labels[1] = -1
    write_folder(cifar, "python", splits, tmp_path)
    with pytest.raises(UserError, match="has label -1 at image 1"):
        decoded(cifar, tmp_path)


@pytest.mark.parametrize("label", [10**30, -(10**30)])
def test_a_label_beyond_any_is_found_where_it_stands(tmp_path, label):
    cifar = tiny()
    folder = write_folder(cifar, "python", random_splits(cifar, 0), tmp_path)
    pixels = np.zeros((3, cifar.image_bytes), np.uint8)
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": pixels, "labels": [9, 0, label]}))
    with pytest.raises(UserError, match=f"data_batch_1 has label {label} at image 2, CIFAR-10 has 0 to 9"):
        decoded(cifar, tmp_path)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(kind=KINDS, data=st.data())
def test_a_truncated_file_is_found_wherever_it_ends(kind, data):
    cifar = tiny()
    with tempfile.TemporaryDirectory() as root:
        folder = write_folder(cifar, kind, random_splits(cifar, 0), Path(root))
        path = folder / layout_of(cifar, kind).parts[1].file
        raw = path.read_bytes()
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
        with pytest.raises(UserError, match=path.name):
            decoded(cifar, Path(root))


def test_a_file_that_is_too_long_is_found(tmp_path):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path)
    with (folder / "test_batch.bin").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"test_batch\.bin has .* it is not CIFAR-10"):
        decoded(cifar, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path)
    (folder / "data_batch_2.bin").unlink()
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(UserError, match=r"lacks data_batch_2\.bin, data_batch_4\.bin; get CIFAR-10 again"):
        decoded(cifar, tmp_path)


def test_a_batch_with_a_wrong_count_of_labels_is_found(tmp_path):
    cifar = tiny()
    folder = write_folder(cifar, "python", random_splits(cifar, 0), tmp_path)
    pixels = np.zeros((3, cifar.image_bytes), np.uint8)
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1]}))
    with pytest.raises(UserError, match="data_batch_1 lacks its 3 labels"):
        decoded(cifar, tmp_path)


BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
RELEASES = {  # as https://www.cs.toronto.edu/~kriz/cifar.html and the archives there have them
    ("cifar10", "binary"): (
        *("cifar-10-batches-bin", (*(f"{name}.bin" for name in BATCHES), "test_batch.bin")),
        *("batches.meta.txt", "cifar-10-binary.tar.gz", 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),
    ),
    ("cifar10", "python"): (
        *("cifar-10-batches-py", (*BATCHES, "test_batch")),
        *("batches.meta", "cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"),
    ),
    ("cifar100", "binary"): (
        *("cifar-100-binary", ("train.bin", "test.bin")),
        *("fine_label_names.txt", "cifar-100-binary.tar.gz", 168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),
    ),
    ("cifar100", "python"): (
        *("cifar-100-python", ("train", "test")),
        *("meta", "cifar-100-python.tar.gz", 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"),
    ),
}


def test_releases_are_as_they_were_published():
    for name, cifar in SETS.items():
        assert (cifar.name, cifar.title) == (name, name.upper().replace("CIFAR", "CIFAR-"))
        for layout in cifar.layouts:
            files = tuple(part.file for part in layout.parts)
            about = (layout.folder, files, layout.names_file, layout.archive)
            assert (*about, layout.archive_bytes, layout.archive_md5) == RELEASES[name, layout.kind]
            assert all(layout.archive in mirror for mirror in layout.mirrors)
        assert [layout.kind for layout in cifar.layouts] == ["binary", "python"]
        assert cifar.layouts[1].mirrors[-1].startswith("https://www.cs.toronto.edu/~kriz/")
    keys = {c.name: (c.label_bytes, c.label_key, c.names_key) for c in SETS.values()}
    assert keys == {
        "cifar10": (1, "labels", "label_names"),
        "cifar100": (2, "fine_labels", "fine_label_names"),
    }


def test_the_official_facts():
    for name, classes in (("cifar10", 10), ("cifar100", 100)):
        cifar = SETS[name]
        assert len(set(cifar.class_names)) == classes
        assert list(cifar.class_names) == sorted(cifar.class_names)
        for layout in cifar.layouts:
            for split, count in (("train", 50_000), ("test", 10_000)):
                assert sum(part.count for part in layout.parts if part.split == split) == count
    assert SETS["cifar10"].layouts[0].parts[0].count * (1 + SETS["cifar10"].image_bytes) == 30_730_000
