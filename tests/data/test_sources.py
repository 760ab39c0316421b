"""Sources by name: where they are looked for, what they are called, and the cache behind them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_cifar import left_in, random_splits, same, serving, tiny, with_archive, write_archive, write_folder

from hotlap import data
from hotlap.data import named
from hotlap.errors import UserError

_REAL = os.environ.get("HOTLAP_DATA")  # read before the fixture below hides it


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HOTLAP_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def placed(tmp_path):
    """A tiny CIFAR-10 in a folder: (sets, folder, splits)."""
    cifar = tiny()
    splits = random_splits(cifar, 0)
    write_folder(cifar, "binary", splits, tmp_path / "data")
    return {"cifar10": cifar}, tmp_path / "data", splits


def error_of(source, **keywords) -> str:
    with pytest.raises(UserError) as error:
        data.load(source, **keywords)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_set_in_the_given_folder(placed, tmp_path):
    sets, folder, splits = placed
    said = []
    for _ in range(2):
        got = data.load("cifar10", data_dir=folder, notify=said.append, sets=sets)
        assert same(got.train, splits["train"])
        assert same(got.test, splits["test"])
        assert got.name == "cifar10"
        assert got.origin == str(folder / "cifar-10-batches-bin")
    assert len(said) == 1
    assert said[0].startswith("packing ")
    assert len(left_in(tmp_path / "cache")) == 1


def test_a_set_under_hotlap_data(placed, monkeypatch):
    sets, folder, splits = placed
    monkeypatch.setenv("HOTLAP_DATA", str(folder))
    assert same(data.load("cifar10", sets=sets).test, splits["test"])


def test_a_set_among_the_downloads_of_the_cache(tmp_path):
    cifar, downloads = tiny(), tmp_path / "cache" / "downloads"
    splits = random_splits(cifar, 0)
    downloads.mkdir(parents=True)
    sets = {"cifar10": write_archive(cifar, "python", splits, downloads)}
    assert same(data.load("cifar10", download=False, sets=sets).test, splits["test"])


def test_an_explicit_folder_is_never_passed_over(placed, tmp_path, monkeypatch):
    sets, folder, _ = placed
    monkeypatch.setenv("HOTLAP_DATA", str(folder))
    gone, empty = tmp_path / "gone", tmp_path / "empty"
    empty.mkdir()
    with serving(b"x") as server:
        layouts = tuple(replace(n, mirrors=(server.url,)) for n in sets["cifar10"].layouts)
        sets = {"cifar10": replace(sets["cifar10"], layouts=layouts)}
        assert f"{gone} does not exist" in error_of("cifar10", data_dir=gone, sets=sets)
        text = error_of("cifar10", data_dir=empty, sets=sets)
        assert server.asked == []
    assert f"cifar10 is not in {empty};" in text
    assert "put one of cifar-10-batches-bin/, cifar-10-batches-py/, cifar-10-binary.tar.gz" in text


def test_a_data_folder_that_is_a_file_or_unset(placed, tmp_path, monkeypatch):
    sets, _, _ = placed
    file = tmp_path / "file"
    file.write_text("")
    assert f"{file} is not a folder" in error_of("cifar10", data_dir=file, sets=sets)
    monkeypatch.setenv("HOTLAP_DATA", str(tmp_path / "gone"))
    assert f"HOTLAP_DATA {tmp_path / 'gone'} does not exist" in error_of("cifar10", sets=sets)


def test_offline_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOTLAP_DATA", str(tmp_path / "data"))
    looked = f"cifar10 is not in {tmp_path / 'data'} or {tmp_path / 'cache' / 'downloads'}"
    text = error_of("cifar10", download=False)
    assert looked in text
    assert "cifar-10-python.tar.gz there, or run `hotlap data get cifar10`" in text
    with serving(b"") as server:
        url = server.url  # nothing listens there once the server is closed
    layouts = tuple(replace(n, mirrors=(url,)) for n in tiny().layouts)
    text = error_of("cifar10", sets={"cifar10": replace(tiny(), layouts=layouts)})
    assert text.startswith("cannot download cifar-10-binary.tar.gz: 127.0.0.1")
    assert looked in text
    assert left_in(tmp_path) == []


def test_get_downloads_verifies_and_packs(tmp_path):
    splits = random_splits(tiny(), 3)
    cifar = write_archive(tiny(), "python", splits, tmp_path)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with serving(archive.read_bytes()) as server:
        sets = {"cifar10": with_archive(cifar, "python", archive, (server.url,))}
        pack = data.get("cifar10", sets=sets)
        assert pack.is_file()
        assert data.get("cifar10", sets=sets) == pack
        assert server.asked == [None]
    assert same(data.load("cifar10", sets=sets, download=False).train, splits["train"])
    assert left_in(tmp_path / "cache") == ["downloads/cifar-10-python.tar.gz", f"packed/{pack.name}"]
    assert data.check("cifar10", sets=sets).official is True


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("cifra10", "among cifar10, cifar100, patterns; did you mean 'cifar10'?"),
        ("nothing-like-it", "no data source 'nothing-like-it' among cifar10, cifar100, patterns"),
        ("", "no data source ''"),
        ("cifar10:5", "takes nothing after it"),
        ("patterns:", "patterns:TRAIN,TEST"),
        ("patterns:10", "patterns:TRAIN,TEST"),
        ("patterns:0,10", "counts from 1 up"),
        ("patterns:-5,10", "patterns:TRAIN,TEST"),
        ("patterns:1,2,3,4", "patterns:TRAIN,TEST"),
    ],
)
def test_a_source_that_is_not_one(source, says):
    assert says in error_of(source)


def test_patterns_are_made_once_for_each_size_and_seed(tmp_path):
    said = []
    first = data.load("patterns:30,20,7", notify=said.append)
    again = data.load("patterns:30,20,7", notify=said.append)
    assert (len(first.train), len(first.test), first.origin) == (30, 20, "procedural, seed 7")
    assert first.train.images.shape == (30, 32, 32, 3)
    assert same(again.train, first.train)
    assert len(said) == 1
    other = data.load("patterns:30,20,8")
    assert not np.array_equal(other.train.images, first.train.images)
    assert data.load("patterns:30,20").origin == "procedural, seed 0"
    assert len(left_in(tmp_path / "cache")) == 3


def test_a_changed_generator_makes_the_patterns_again(monkeypatch):
    said = []
    data.load("patterns:3,2", notify=said.append)
    monkeypatch.setattr(named, "_generator_version", lambda: "another")
    data.load("patterns:3,2", notify=said.append)
    assert any("is stale: its source has changed; making it again" in line for line in said)


def test_a_changed_source_is_packed_again(placed):
    sets, folder, splits = placed
    data.load("cifar10", data_dir=folder, sets=sets)
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"
    stat, raw = path.stat(), bytearray(path.read_bytes())
    raw[1] ^= 255  # the first pixel of the first image; the size stays
    path.write_bytes(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    said = []
    got = data.load("cifar10", data_dir=folder, notify=said.append, sets=sets)
    assert got.test.images[0, 0, 0, 0] == splits["test"].images[0, 0, 0, 0] ^ 255
    assert "is stale: its source has changed" in said[0]


def test_two_folders_do_not_share_a_cache(placed, tmp_path):
    sets, folder, splits = placed
    other = random_splits(sets["cifar10"], 9)
    write_folder(sets["cifar10"], "binary", other, tmp_path / "other")
    assert same(data.load("cifar10", data_dir=folder, sets=sets).train, splits["train"])
    assert same(data.load("cifar10", data_dir=tmp_path / "other", sets=sets).train, other["train"])
    said = []
    data.load("cifar10", data_dir=folder, notify=said.append, sets=sets)
    assert said == []


def test_check_reads_the_source_and_the_cache(placed, tmp_path):
    sets, folder, splits = placed
    report = data.check("cifar10", data_dir=folder, sets=sets)
    assert (report.cache_state, report.ok, report.official) == ("missing", True, None)
    assert (report.train_count, report.test_count) == (15, 4)
    assert report.train_per_class == tuple(np.bincount(splits["train"].labels, minlength=10))
    assert not (tmp_path / "cache").exists(), "check wrote something"
    pack = data.get("cifar10", data_dir=folder, sets=sets)
    assert data.check("cifar10", data_dir=folder, sets=sets).cache_state == "good"
    raw = bytearray(pack.read_bytes())
    raw[-400] ^= 1  # in the training labels
    pack.write_bytes(raw)
    report = data.check("cifar10", data_dir=folder, sets=sets)
    assert report.cache_state.startswith("corrupt: ")
    assert not report.ok
    assert pack.read_bytes() == raw


def test_check_sees_a_source_that_changed_behind_its_time_stamp(placed):
    sets, folder, _ = placed
    data.get("cifar10", data_dir=folder, sets=sets)
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"
    stat, raw = path.stat(), bytearray(path.read_bytes())
    raw[1] ^= 255
    path.write_bytes(raw)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = data.check("cifar10", data_dir=folder, sets=sets)
    assert (report.cache_state, report.ok) == ("stale: it differs from its source", False)


def test_check_of_an_archive_that_is_not_the_official_one(tmp_path):
    cifar = write_archive(tiny(), "binary", random_splits(tiny(), 0), tmp_path)
    layouts = tuple(replace(n, archive_md5="0" * 32) for n in cifar.layouts)
    sets = {"cifar10": replace(cifar, layouts=layouts)}
    assert data.check("cifar10", data_dir=tmp_path, sets=sets).official is False


def test_available_says_what_is_where(placed, tmp_path, monkeypatch):
    sets, folder, _ = placed
    infos = {info.name: info for info in data.available(data_dir=folder, sets=sets)}
    assert set(infos) == {"cifar10", "patterns"}
    assert infos["cifar10"].found
    assert infos["cifar10"].where == str(folder / "cifar-10-batches-bin")
    assert infos["patterns"].found
    assert [info.found for info in data.available()] == [False, False, True]
    monkeypatch.setenv("HOTLAP_DATA", str(tmp_path / "gone"))
    assert "does not exist" in data.available()[0].where


def test_the_data_layer_does_not_import_torch(tmp_path):
    code = "import sys, hotlap.data as d; d.load('patterns:3,2'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.cifar
def test_the_real_cifar10():
    if not _REAL:
        pytest.skip("HOTLAP_DATA is not set: the real CIFAR-10 is not checked")
    root = Path(_REAL)
    pack = data.get("cifar10", data_dir=root)
    got = data.load("cifar10", data_dir=root)
    assert (len(got.train), len(got.test)) == (50_000, 10_000)
    assert np.bincount(got.train.labels).tolist() == [5_000] * 10
    assert np.bincount(got.test.labels).tolist() == [1_000] * 10
    np.testing.assert_allclose(got.spec.mean, np.multiply(255, (0.49140, 0.48216, 0.44653)), rtol=1e-4)
    np.testing.assert_allclose(got.spec.std, np.multiply(255, (0.24703, 0.24349, 0.26159)), rtol=1e-4)
    began = time.perf_counter()
    data.load("cifar10", data_dir=root)
    took_s = time.perf_counter() - began
    pack.unlink()  # 185 MB that pytest would keep
    assert took_s < 2.0, "a start from the cache takes under 0.1 s on an idle machine"
