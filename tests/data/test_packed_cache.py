"""The packed cache gives back exactly what went in; statistics are exact."""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cifar import left_in, same

from hotlap.data import packed
from hotlap.data.dataset import Dataset, Split
from hotlap.data.moments import data_spec
from hotlap.data.packed import BadPack, open_pack, write_pack
from hotlap.files import locked

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))


def random_dataset(shape, test_count, seed) -> Dataset:
    rng = np.random.default_rng(seed)
    train = Split(rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 3, shape[0]))
    test_images = rng.integers(0, 256, (test_count, *shape[1:]), dtype=np.uint8)
    spec = data_spec(train.images, ("a", "b", "ç"), test_count=test_count)
    return Dataset("some", spec, train, Split(test_images, rng.integers(0, 3, test_count)), "here")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=SHAPES,
    test_count=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    chunk=st.sampled_from([7, 1 << 23]),
)
def test_a_pack_round_trips(shape, test_count, seed, chunk):
    dataset = random_dataset(shape, test_count, seed)
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "_CHUNK_BYTES", chunk)
        path = Path(root) / "x.pack"
        write_pack(path, dataset, "print")
        got = open_pack(path, "print")
        assert left_in(Path(root)) == ["x.pack"]
        assert same(got.train, dataset.train)
        assert same(got.test, dataset.test)
        assert (got.name, got.spec, got.origin) == (dataset.name, dataset.spec, dataset.origin)
        assert not got.train.images.flags.writeable
        assert not got.train.labels.flags.writeable


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A data set, and the bytes of its pack."""
    dataset = random_dataset((5, 4, 4, 3), 3, 1)
    path = tmp_path_factory.mktemp("small") / "x.pack"
    write_pack(path, dataset, "print")
    return dataset, path.read_bytes()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_one_flipped_bit_is_found_or_harmless(small, data):
    dataset, whole = small
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "x.pack"
        raw = bytearray(whole)
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(raw)
        try:
            got = open_pack(path, "print")
        except BadPack:
            return
    # It was in the padding between two sections.
    assert same(got.train, dataset.train)
    assert same(got.test, dataset.test)
    assert got.spec == dataset.spec


def test_every_section_is_guarded(small, tmp_path):
    dataset, whole = small
    path = tmp_path / "x.pack"
    for array in (dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels):
        at = whole.index(array.tobytes())
        for where in (at, at + array.nbytes - 1):
            path.write_bytes(whole[:where] + bytes([whole[where] ^ 4]) + whole[where + 1 :])
            with pytest.raises(BadPack, match="corrupt: wrong checksum"):
                open_pack(path, "print")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_file_cut_or_lengthened_anywhere_is_found(small, data):
    _, raw = small
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "x.pack"
        shorter, longer = st.integers(0, len(raw) - 1), st.integers(len(raw) + 1, len(raw) + 9)
        size = data.draw(shorter | longer)
        path.write_bytes((raw + bytes(9))[:size])
        with pytest.raises(BadPack, match="corrupt"):
            open_pack(path, "print")


def test_another_source_or_version_is_stale(tmp_path, monkeypatch):
    path = tmp_path / "x.pack"
    write_pack(path, random_dataset((5, 4, 4, 3), 3, 1), "print")
    with pytest.raises(BadPack, match="stale: its source has changed"):
        open_pack(path, "another")
    monkeypatch.setattr(packed, "VERSION", packed.VERSION + 1)
    with pytest.raises(BadPack, match="stale: format version"):
        open_pack(path, "print")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 1100), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    low=st.integers(0, 255),
    span=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_mean_and_std_are_those_of_the_whole(shape, low, span, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(low, min(low + span, 256), shape).astype(np.uint8)
    spec = data_spec(images, ("a", "b"), test_count=7)
    whole = images.astype(np.float64)
    np.testing.assert_allclose(spec.mean, whole.mean((0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(spec.std, whole.std((0, 1, 2)), rtol=1e-12, atol=1e-12)
    assert spec.shape == (shape[3], shape[1], shape[2])
    assert (spec.train_count, spec.test_count, spec.class_names) == (shape[0], 7, ("a", "b"))


def test_a_flat_channel_has_no_spread():
    images = np.full((700, 5, 5, 2), 201, np.uint8)
    spec = data_spec(images, ("a",), test_count=1)
    assert spec.mean == (201.0, 201.0)
    assert spec.std == (0.0, 0.0)


def test_a_lock_keeps_others_out_and_leaves_nothing(tmp_path):
    target, inside, most = tmp_path / "deep" / "x", [], []

    def work(_: int) -> None:
        with locked(target):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(200)))
    assert len(most) == 200
    assert max(most) == 1
    assert left_in(tmp_path) == []


def test_a_lock_that_was_waited_for_keeps_the_next_one_out(tmp_path):
    # The first holder removes the lock's file at the end; whoever waited on it must not keep the removed one.
    target = tmp_path / "x"
    waiting, second_in, second_out, third_in = (threading.Event() for _ in range(4))

    def second() -> None:
        with locked(target, lambda _: waiting.set()):
            second_in.set()
            second_out.wait(10)

    def third() -> None:
        with locked(target):
            third_in.set()

    threads = [threading.Thread(target=second), threading.Thread(target=third)]
    with locked(target):
        threads[0].start()
        assert waiting.wait(10)
    assert second_in.wait(10)
    threads[1].start()
    assert not third_in.wait(0.2)
    second_out.set()
    assert third_in.wait(10)
    for thread in threads:
        thread.join()
    assert left_in(tmp_path) == []
