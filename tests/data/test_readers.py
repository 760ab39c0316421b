"""Arrays as files and pickles hold them: every kind of number, order and layout comes out as it went in."""

from __future__ import annotations

import gzip
import json
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hotlap.data import arrays as module
from hotlap.data import unpickle
from hotlap.data.arrays import Arrays, array_listing, class_labels
from hotlap.data.columns import LABELS, NoColumn, chosen, splits_of
from hotlap.data.decode import decode
from hotlap.data.idx import read_idx
from hotlap.data.tables import read_table
from hotlap.data.unpacking import limit_of
from hotlap.errors import UserError

IDX = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # LeCun's types


def idx(array: np.ndarray, kind: int) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


# -- IDX -------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(IDX)), array_shapes(max_dims=4, min_side=0, max_side=4), st.data())
def test_an_idx_file_of_every_type_comes_out_as_it_went_in(tmp_path_factory, kind, shape, data):
    array = data.draw(arrays(IDX[kind], shape))
    file = tmp_path_factory.getbasetemp() / "any-idx"
    for packed in (False, True):
        file.write_bytes(gzip.compress(idx(array, kind)) if packed else idx(array, kind))
        got = read_idx(file)
        assert got.dtype.itemsize == array.dtype.itemsize
        assert got.shape == array.shape
        assert got.tobytes() == array.tobytes()  # NaN too


WHOLE = idx(np.arange(6, dtype=">i2").reshape(2, 3), 11)
PACKED = gzip.compress(WHOLE, mtime=0)  # a test is called by it, the same in every process


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "is not an IDX file: it begins with nothing"),
        (WHOLE[:3], "is not an IDX file: it begins with 00 00 0b;"),
        (b"\1" + WHOLE[1:], "is not an IDX file: it begins with 01 00 0b 02;"),
        (b"\0\0\x0a" + WHOLE[3:], "is not an IDX file: it begins with 00 00 0a 02;"),
        (b"\0\0\x0b\0" + WHOLE[4:], "is not an IDX file: it begins with 00 00 0b 00;"),
        (b"\0\0\x0b\5" + WHOLE[4:], "is not an IDX file: it begins with 00 00 0b 05;"),
        (WHOLE[:11], "is truncated; get it again"),
        (WHOLE[:12], "is truncated: its head says (2, 3)"),
        (WHOLE[:-1], "is truncated: its head says (2, 3)"),
        (WHOLE + b"\0", "is longer than it says: its head says (2, 3)"),
        (PACKED[:-4], "is truncated or damaged"),
        (PACKED[:-8] + bytes(8), "is truncated or damaged (CRC check failed"),
    ],
)
def test_an_idx_file_that_is_not_whole_is_refused(tmp_path, raw, says):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(UserError) as caught:
        read_idx(tmp_path / "x")
    assert str(caught.value).startswith(f"{tmp_path / 'x'} {says}")


def test_an_idx_file_may_claim_as_much_as_images_unpack_to_and_no_more(tmp_path):
    head = struct.pack(">HBBI", 0, 8, 1, 0)
    for more, says in ((0, "is truncated: its head says"), (1, "claims to hold 1,073,743,425 bytes")):
        claim = limit_of(len(head)) + more
        (tmp_path / "x").write_bytes(head[:4] + struct.pack(">I", claim))
        with pytest.raises(UserError, match=says):
            read_idx(tmp_path / "x")


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"^cannot read .*: No such file or directory"):
        read_idx(tmp_path / "x")


# -- pickles of arrays -----------------------------------------------------------------------------


@given(
    arrays(np.uint8, array_shapes(max_dims=4, max_side=5)),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
    st.sampled_from("CF"),
)
def test_an_array_comes_out_of_every_pickle_as_numpy_reads_it(array, protocol, order):
    raw = pickle.dumps({"data": np.asarray(array, order=order), b"n": b"\xff\0", "l": [1, "b"]}, protocol)
    got = unpickle.loads(raw, "here")
    want = pickle.loads(raw)
    assert got["data"].dtype == np.uint8
    assert np.array_equal(got["data"], want["data"])
    assert got["data"].shape == array.shape
    assert (got["n"], got["l"]) == (b"\xff\0", [1, "b"])


def test_an_array_of_nothing_is_whole():
    raw = pickle.dumps({"data": np.zeros((0, 3072), np.uint8)}, 4)
    assert unpickle.loads(raw, "here")["data"].shape == (0, 3072)


def test_keys_of_either_python_are_text_and_others_are_refused():
    assert unpickle.loads(pickle.dumps({b"caf\xe9": 1, "b": 2}), "x") == {"caf\u00e9": 1, "b": 2}
    with pytest.raises(UserError, match=r"^x has a int where a name belongs; get the file again$"):
        unpickle.loads(pickle.dumps({1: 2}), "x")
    with pytest.raises(UserError, match=r"^x holds a list, not a CIFAR batch"):
        unpickle.loads(pickle.dumps([1]), "x")


class Asks:
    """A pickle of this asks for a function and has it called with some arguments, and given a state."""

    def __init__(self, function, *arguments, state=None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("name", ["numpy\nndarray", "numpy.core.multiarray\n_reconstruct", "_codecs\nencode"])
def test_what_one_pickle_sets_on_what_it_is_handed_the_next_does_not_see(name):
    """By the opcode BUILD a pickle sets attributes of what stands there for a class or a function."""
    good = pickle.dumps({"data": np.arange(6, dtype=np.uint8)})
    evil = b"\x80\x02}U\x01dc" + name.encode() + b"\nN}X\x05\0\0\0shapeK\x05s\x86bs."
    for _ in range(2):
        handed = unpickle.loads(evil, "x")["d"]
        assert handed.shape == 5
        assert unpickle.loads(good, "x")["data"].tolist() == [0, 1, 2, 3, 4, 5]
    assert handed is not unpickle.loads(evil, "x")["d"]


@pytest.mark.parametrize("dtype", ["<u1", ">u1", "|u1", "=u1", "uint8", b"u1"])
def test_a_byte_has_no_order(dtype):
    array = np.arange(3, dtype=np.uint8)
    function, arguments, state = array.__reduce__()
    raw = pickle.dumps(
        {"data": Asks(function, *arguments, state=(*state[:2], Asks(np.dtype, dtype), *state[3:]))}
    )
    assert unpickle.loads(raw, "x")["data"].tolist() == [0, 1, 2]


# -- arrays as images ------------------------------------------------------------------------------


def pixels_of(*images: np.ndarray) -> tuple[list[np.ndarray], str]:
    """The images of a split for each of these arrays, as they are decoded, and what was taken for what."""
    splits = {
        name: Arrays(name, array, np.arange(len(array)) % 2)
        for name, array in zip(("train", "val", "test"), images, strict=False)
    }
    listing = array_listing(splits, None, "arrays", "x")
    return list(listing.payloads(range(len(listing.items)))), listing.layout


def test_16_bits_are_scaled_to_the_nearest_level():
    levels = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    (got,), said = pixels_of(levels)
    assert said.endswith("numbers from 0 to 65535")
    assert np.array_equal(got[:, :, 0], np.rint(levels[0] / 257))  # 65535 / 255, and no half comes up


@pytest.mark.parametrize(
    ("values", "dtype", "want", "says"),
    [
        ([[False, True]], bool, [0, 255], "of true and false"),
        ([[0, 1]], np.uint16, [0, 255], "numbers 0 and 1"),
        ([[0, 1]], np.int64, [0, 255], "numbers from 0 to 1"),
        ([[0.0, 0.5, 1.0]], np.float16, [0, 128, 255], "numbers from 0 to 1"),
        ([[-1, 0, 1]], np.int8, [0, 128, 255], "numbers from -1 to 1"),
        ([[-0.5, 0.5]], np.float32, [64, 191], "numbers from -1 to 1"),
        ([[0, 1.001]], np.float64, [0, 1], "numbers from 0 to 255"),
        ([[0, 254.5, 255]], np.float64, [0, 254, 255], "numbers from 0 to 255"),
        ([[0, 2]], np.uint32, [0, 2], "numbers from 0 to 255"),
        ([[0, 255]], np.int16, [0, 255], "numbers from 0 to 255"),
        ([[0, 256, 65535]], np.int32, [0, 1, 255], "numbers from 0 to 65535"),
    ],
)
def test_numbers_are_taken_for_what_their_range_and_type_say(values, dtype, want, says):
    (got,), said = pixels_of(np.array([values], dtype))
    assert got.dtype == np.uint8
    assert got[0, :, 0].tolist() == want
    assert said.endswith(says)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([[[-1.001]]]), "numbers from -1.001 to -1.001; give 0 to 255, 0 to 1 or -1 to 1"),
        (np.array([[[-1, 2]]]), "numbers from -1 to 2; give"),
        (np.array([[[0.0, 256.0]]]), "numbers from 0 to 256; give"),
        (np.array([[[0, 65536]]]), "numbers from 0 to 65536; give"),
        (np.array([[[0.0, np.inf]]]), "not finite"),
        (np.array([[["a"]]]), "images must be numbers, not <U1"),
    ],
)
def test_numbers_outside_are_refused(values, says):
    with pytest.raises(UserError, match=says):
        pixels_of(values)


def test_one_rule_holds_for_all_splits_and_all_their_images(monkeypatch):
    monkeypatch.setattr(module, "_STRETCH", 2)
    first, later = np.full((5, 1, 1), 0.5), np.array([0.0, 1.0, 0.5, 0.5, -1.0]).reshape(5, 1, 1)
    got, said = pixels_of(first, later)
    assert said.endswith("numbers from -1 to 1")
    assert [int(p[0, 0, 0]) for p in got] == [191] * 5 + [128, 255, 191, 191, 0]
    got, said = pixels_of(first, np.array([0.5, 0.5, 0.5, 0.5, 200.0]).reshape(5, 1, 1))
    assert (int(got[0][0, 0, 0]), int(got[-1][0, 0, 0])) == (0, 200)
    bytes_too, said = pixels_of(np.full((1, 1, 1), 200, np.uint8), np.full((1, 1, 1), 1.0))
    assert [int(p[0, 0, 0]) for p in bytes_too] == [200, 1]


def test_clear_pixels_lie_on_white_as_in_a_file():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 4), dtype=np.uint8)
    image[0, :2, 3] = 0, 255
    from own_sets import png

    want = decode(png(image)).pixels
    for array in (image[None], image.transpose(2, 0, 1)[None]):
        (got,), _ = pixels_of(array)
        assert got.shape == want.shape
        assert np.abs(got.astype(int) - want).max() <= 1  # Pillow rounds each product
        assert got[0, :2].tolist() == [[255] * 3, image[0, 1, :3].tolist()]


@pytest.mark.parametrize(
    ("shape", "want", "said"),
    [
        ((2, 5, 6), (5, 6, 1), "N, height, width"),
        ((2, 5, 6, 1), (5, 6, 1), "N, height, width, channels"),
        ((2, 3, 6, 3), (3, 6, 3), "N, height, width, channels"),  # as most have it, where both fit
        ((2, 3, 5, 6), (5, 6, 3), "N, channels, height, width"),
        ((2, 1, 5, 6), (5, 6, 1), "N, channels, height, width"),
        ((2, 4, 5, 6), (5, 6, 3), "N, channels, height, width"),
    ],
)
def test_axes_are_told_by_their_lengths(shape, want, said):
    got, words = pixels_of(np.zeros(shape, np.uint8))
    assert [p.shape for p in got] == [want] * 2
    assert words == f"arrays, taken as ({said})"


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 6, 2), (2, 5, 3, 6), (2, 0, 5), (2, 5, 6, 3, 1)])
def test_axes_that_are_none_of_images_are_refused(shape):
    with pytest.raises(UserError, match=r"has the shape .*; images are \(N, height, width\)"):
        pixels_of(np.zeros(shape, np.uint8))


# -- labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "want"),
    [
        ([True, False, True], ["1", "0", "1"]),
        (np.array([[2], [0], [1]]), ["2", "0", "1"]),
        (np.array([2.0, -1.0, 0.0]), ["2", "-1", "0"]),
        (np.eye(3, dtype=bool)[[2, 0, 1]], ["2", "0", "1"]),
        ([["a"], ["b"], ["a"]], ["a", "b", "a"]),
        ([b"caf\xc3\xa9", b"\xff", b"x"], ["caf\u00e9", "\ufffd", "x"]),
        (np.array(["a", 7, b"c"], object), ["a", "7", "c"]),
        (["a\nb", "c", "d"], ["a\\nb", "c", "d"]),
    ],
)
def test_labels_are_named_by_what_they_are(labels, want):
    assert class_labels(labels, 3, "x", "here") == want


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 1], r"have the shape \(2,\), there are 3 images"),
        (5, r"have the shape \(\), there are 3 images"),
        ([[0, 1], [2], [1]], "are no array"),
        (np.array([[0, 1], [1, 1], [1, 0]]), "have 2 columns, but not a single one in each row"),
        (np.array([[0, 2], [1, 0], [1, 0]]), "have 2 columns, but not a single one in each row"),
        (np.array([[0, 0], [1, 0], [1, 0]]), "have 2 columns, but not a single one in each row"),
        ([0.0, np.nan, 1.0], "are of type float64; give whole numbers or text"),
        ([0.0, np.inf, 1.0], "are of type float64; give whole numbers or text"),
        ([0.0, 0.5, 1.0], "are of type float64; give whole numbers or text"),
        ([0j, 1j, 2j], "are of type complex128; give whole numbers or text"),
        (["a", "", "b"], "have '' among them; give whole numbers or text"),
        (np.array(["a", None, "b"], object), "have None among them; give whole numbers or text"),
    ],
)
def test_labels_that_are_none_are_refused(labels, says):
    with pytest.raises(UserError, match=f"^here: the labels of x {says}"):
        class_labels(labels, 3, "x", "here")


def test_numbers_stand_for_names_where_there_are_any():
    assert class_labels([2, 0], 2, "x", "here", ["a", "b", "c\n"]) == ["c\\n", "a"]
    for wrong in (3, -1):
        with pytest.raises(UserError, match=f"have {wrong}, there are names for 0 to 2"):
            class_labels([0, wrong], 2, "x", "here", ["a", "b", "c"])


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["\n", "  \r\n\r\n", "\ufeff\n", "\n;;\n"])
def test_lines_before_the_names_of_the_columns_may_be_blank(tmp_path, blank):
    (tmp_path / "a.csv").write_text(f"{blank}path;label\n\na, b.png;cat\n ; \nc.png;dog\n")
    assert read_table(tmp_path / "a.csv", None, None).rows == [("a, b.png", "cat", ""), ("c.png", "dog", "")]


def test_a_wrong_split_is_said_of_its_table(tmp_path):
    (tmp_path / "a.csv").write_text("path,label,split\na.png,cat,train\nb.png,dog,holdout\n")
    with pytest.raises(
        UserError, match=f"^{tmp_path}/a.csv has the split 'holdout'; write train, val or test"
    ):
        read_table(tmp_path / "a.csv", None, None)


def hub_table(path, labels, names):
    """A Parquet table of paths whose labels are numbers, named in the schema as the hub does."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"path": [f"{i}.png" for i in range(len(labels))], "label": labels})
    features = {"label": {"_type": "ClassLabel", **names}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(about), path)


@pytest.mark.parametrize(
    ("names", "want"),
    [
        ({"names": ["eel", "cat"]}, ["eel", "cat", "2", "-1", ""]),
        ({"names": {"0": "eel", "1": "cat"}}, ["eel", "cat", "2", "-1", ""]),
        ({"names": {"10": "dog", "9": "cat", "2": "eel"}}, ["eel", "cat", "dog", "-1", ""]),  # by number
        ({"feature": {"names": ["eel", "cat"]}}, ["eel", "cat", "2", "-1", ""]),
        ({"names": ["eel", ""]}, ["0", "1", "2", "-1", ""]),
        ({"names": ["eel", 7]}, ["0", "1", "2", "-1", ""]),
        ({"names": []}, ["0", "1", "2", "-1", ""]),
        ({"names": "eel"}, ["0", "1", "2", "-1", ""]),
        ({}, ["0", "1", "2", "-1", ""]),
    ],
)
def test_numbers_in_a_parquet_table_stand_for_the_names_in_its_schema(tmp_path, names, want):
    hub_table(tmp_path / "t.parquet", [0, 1, 2, -1, None], names)
    rows = read_table(tmp_path / "t.parquet", None, None).rows
    assert [label for _, label, _ in rows] == want


def test_a_column_is_chosen_by_the_likeliest_of_its_names():
    assert chosen(["x", "Target", "class_name"], LABELS, None, "labels", "t") == (
        "class_name",
        "labels are those of the column 'class_name', not of Target",
    )
    assert chosen(["x", "Class Name"], LABELS, None, "labels", "t") == ("Class Name", "")
    assert chosen(["x", "label"], LABELS, "x", "labels", "t") == ("x", "")
    assert chosen(["x"], LABELS, None, "labels", "t", needed=False) == ("", "")
    assert chosen(["y", "target"], LABELS, None, "labels", "t", needed=False) == ("target", "")
    with pytest.raises(
        NoColumn, match=r"^t has no column of labels among x; name it with --label-column, or"
    ):
        chosen(["x"], LABELS, None, "labels", "t")
    with pytest.raises(UserError, match=r"^t has no column 'lable' among label, x; did you mean 'label'"):
        chosen(["label", "x"], LABELS, "lable", "labels", "t")


def test_a_column_of_splits_names_them_in_each_row_or_is_none():
    assert splits_of(["Train", "dev", "t10k", "train"], "t") == ["train", "val", "test", "train"]
    assert splits_of(["a", "b"], "t") is None
    assert splits_of([0, 1], "t") is None
    assert splits_of([["train"], ["a", "b"]], "t") is None  # a Parquet column of lists
    assert splits_of([], "t") is None
    for odd, shown in (("", "''"), (None, "'None'"), ("holdout", "'holdout'")):
        with pytest.raises(UserError, match=f"^t has the split {shown}; write train, val or test"):
            splits_of(["train", odd], "t")
