"""Bad archives, hostile pickles, broken downloads, bad caches, full disks: one clear line, nothing left."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from tiny_cifar import (
    layout_of,
    left_in,
    random_splits,
    same,
    serving,
    tiny,
    with_archive,
    write_archive,
    write_folder,
)

from hotlap import data
from hotlap.data import download, unpickle
from hotlap.data.download import fetch
from hotlap.errors import UserError

CONTENT = np.random.default_rng(0).integers(0, 256, 600_000, dtype=np.uint8).tobytes()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HOTLAP_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")


def error_of(call, *args, **keywords) -> str:
    with pytest.raises(UserError) as error:
        call(*args, **keywords)
    text = str(error.value)
    assert "\n" not in text
    return text


# -- archives ------------------------------------------------------------------------------------


def hostile(kind: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo("cifar-10-batches-bin/extra")
    if kind == "parent":
        member.name = "cifar-10-batches-bin/../../outside"
    elif kind == "absolute":
        member.name = "/tmp/outside"
    else:
        member.type = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}[
            kind
        ]
        member.linkname = "/etc/passwd"
    return member


@pytest.mark.parametrize("kind", ["parent", "absolute", "symlink", "hardlink", "device"])
@pytest.mark.parametrize("first", [True, False])
def test_an_archive_with_a_hostile_member_is_refused(tmp_path, kind, first):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path / "made")
    (tmp_path / "data").mkdir()
    archive = tmp_path / "data" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        if first:
            tar.addfile(hostile(kind))
        tar.add(folder, folder.name)
        if not first:
            tar.addfile(hostile(kind))
    sets = {"cifar10": with_archive(cifar, "binary", archive)}
    text = error_of(data.load, "cifar10", data_dir=tmp_path / "data", sets=sets)
    assert text.startswith(f"{archive} has a member '{hostile(kind).name}' that ")
    assert left_in(tmp_path / "cache") == []
    assert left_in(tmp_path / "data") == [archive.name]


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/zeros")
        member.size = 40_000_000
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    sets = {"cifar10": with_archive(tiny(), "binary", archive)}
    assert "unpacks to over" in error_of(data.load, "cifar10", data_dir=tmp_path, sets=sets)


def test_an_archive_with_a_file_twice_is_refused(tmp_path):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path / "made")
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
        tar.add(folder / "test_batch.bin", f"{folder.name}/test_batch.bin")
    sets = {"cifar10": with_archive(cifar, "binary", archive)}
    assert "twice" in error_of(data.load, "cifar10", data_dir=tmp_path, sets=sets)


@pytest.mark.parametrize("kind", ["binary", "python"])
def test_a_truncated_archive_is_refused_by_its_size_and_by_its_content(tmp_path, kind):
    cifar = write_archive(tiny(shape=(3, 32, 32)), kind, random_splits(tiny(shape=(3, 32, 32)), 0), tmp_path)
    path = tmp_path / layout_of(cifar, kind).archive
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        text = error_of(data.load, "cifar10", data_dir=tmp_path, sets={"cifar10": cifar})
        assert "it is truncated; delete it and get it again" in text
        fooled = {"cifar10": with_archive(cifar, kind, path)}
        text = error_of(data.load, "cifar10", data_dir=tmp_path, sets=fooled)
        assert str(path) in text
        assert "truncated" in text or "lacks" in text
    path.write_bytes(whole + b"x")
    text = error_of(data.load, "cifar10", data_dir=tmp_path, sets={"cifar10": cifar})
    assert "it is not the official one" in text
    assert left_in(tmp_path / "cache") == []


def test_a_damaged_archive_is_found_by_gzips_own_checksum(tmp_path):
    cifar = write_archive(tiny(), "binary", random_splits(tiny(), 0), tmp_path)
    path = tmp_path / "cifar-10-binary.tar.gz"
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # in the stored crc: all members still read well
    path.write_bytes(raw)
    text = error_of(data.load, "cifar10", data_dir=tmp_path, sets={"cifar10": cifar})
    assert "truncated or damaged (CRC check failed" in text


# -- pickles -------------------------------------------------------------------------------------


class Evil:
    """A pickle of this calls `function` when it is read."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("function", [os.system, eval, exec, np.load])
def test_a_hostile_pickle_runs_nothing(tmp_path, function, protocol):
    mark = tmp_path / "touched"
    argument = {os.system: f"touch {mark}"}.get(function, f"open({str(mark)!r}, 'w')")
    cifar = tiny()
    folder = write_folder(cifar, "python", random_splits(cifar, 0), tmp_path / "data")
    for name in ("data_batch_1", "batches.meta"):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(pickle.dumps({"data": Evil(function, argument)}, protocol))
        text = error_of(data.load, "cifar10", data_dir=tmp_path / "data", sets={"cifar10": cifar})
        assert text.startswith(f"{path} asks to run ")
        assert function.__name__ in text
        path.write_bytes(whole)
    assert not mark.exists()
    assert left_in(tmp_path / "cache") == []


class Reads:
    """A stand-in whose pickle is an array with a forged state."""

    def __init__(self, dtype: np.dtype, content: object, shape=(2, 3)) -> None:
        self.state = (1, shape, dtype, False, content)

    def __reduce__(self):
        function, arguments, _ = np.zeros(1).__reduce__()
        return function, arguments, self.state


@pytest.mark.parametrize(
    "forged",
    [
        Reads(np.dtype(object), b"123456"),
        Reads(np.dtype("<i8"), bytes(48)),
        Reads(np.dtype("u1"), b"12345"),
        Reads(np.dtype("u1"), "123456"),
        Reads(np.dtype("u1"), b"123456", shape=(-2, -3)),
        Reads(np.dtype("u1"), b"123456", shape="ab"),
    ],
)
def test_a_forged_array_is_refused(forged):
    text = error_of(unpickle.loads, pickle.dumps({"data": forged}, 2), "x")
    assert text.startswith("x holds an array that is not whole uint8")


@pytest.mark.parametrize("raw", [b"", b"\x80", b"hello", pickle.dumps([1]), b"\x80\x02(K\x01Q."])
def test_what_is_no_batch_is_refused(raw):
    assert error_of(unpickle.loads, raw, "somewhere").startswith("somewhere ")


# -- downloads -----------------------------------------------------------------------------------


def fetched(tmp_path, *urls, md5=None, said=None, **keywords):
    return fetch(
        tmp_path / "file.bin",
        urls,
        size=len(CONTENT),
        md5=md5 or hashlib.md5(CONTENT).hexdigest(),
        mend="put it there",
        notify=(said if said is not None else []).append,
        timeout_s=5,
        pause_s=0,
        **keywords,
    )


def only(tmp_path, *names: str) -> bool:
    return left_in(tmp_path) == sorted(names)


def test_a_download_arrives_and_is_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_NOTIFY_EVERY_S", 0.0)
    said = []
    with serving(CONTENT) as server:
        for _ in range(2):
            assert fetched(tmp_path, server.url, said=said).read_bytes() == CONTENT
        assert server.asked == [None]
    assert only(tmp_path, "file.bin")
    assert any("of 0.6 MB" in line and "MB/s" in line and "left" in line for line in said)


def test_a_cut_connection_is_resumed_where_it_broke_off(tmp_path):
    with serving(CONTENT, cuts=[200_000, 150_000]) as server:
        assert fetched(tmp_path, server.url).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=200000-", "bytes=350000-"]
    assert only(tmp_path, "file.bin")


def test_the_next_mirror_goes_on_from_there(tmp_path):
    with serving(CONTENT, cuts=[200_000, 0]) as first, serving(CONTENT) as second:
        assert fetched(tmp_path, first.url, second.url).read_bytes() == CONTENT
        assert second.asked == ["bytes=200000-"]


def test_the_next_run_goes_on_from_there(tmp_path):
    with serving(CONTENT, cuts=[200_000, 0]) as server:
        text = error_of(fetched, tmp_path, server.url)
    assert "(200,000 of 600,000 bytes are kept, a later run goes on from there); put it there" in text
    assert only(tmp_path, "file.bin.part")
    with serving(CONTENT) as server:
        assert fetched(tmp_path, server.url).read_bytes() == CONTENT
        assert server.asked == ["bytes=200000-"]
    assert only(tmp_path, "file.bin")


def test_a_server_without_ranges_sends_it_all_again(tmp_path):
    with serving(CONTENT, ranges=False, cuts=[200_000]) as server:
        assert fetched(tmp_path, server.url).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=200000-"]


def test_a_server_that_answers_with_another_range_is_given_up(tmp_path):
    with serving(CONTENT, cuts=[200_000]) as wrong, serving(CONTENT) as good:
        wrong.shift = 1
        assert fetched(tmp_path, wrong.url, good.url).read_bytes() == CONTENT
        assert good.asked == ["bytes=200000-"]


def test_a_part_that_is_too_long_or_wrong_is_dropped(tmp_path):
    part = tmp_path / "file.bin.part"
    for start, asked in ((bytes(700_000), [None]), (bytes(300_000), ["bytes=300000-", None])):
        part.write_bytes(start)
        with serving(CONTENT) as server:
            assert fetched(tmp_path, server.url).read_bytes() == CONTENT
            assert server.asked == asked
        (tmp_path / "file.bin").unlink()


def test_a_wrong_checksum_removes_the_file(tmp_path):
    wrong = bytes(len(CONTENT))
    with serving(wrong) as bad, serving(CONTENT) as good:
        text = error_of(fetched, tmp_path, bad.url)
        assert f"wrong checksum (md5 {hashlib.md5(wrong).hexdigest()}, expected " in text
        assert only(tmp_path)
        assert fetched(tmp_path, bad.url, good.url).read_bytes() == CONTENT
        assert good.asked == [None]


def test_another_file_and_an_error_page_are_not_downloaded(tmp_path):
    with serving(b"<html>sorry</html>") as page, serving(CONTENT) as refusing:
        refusing.status = 503
        text = error_of(fetched, tmp_path, page.url, refusing.url)
    assert "it offers 18 bytes, not 600000; 127.0.0.1" in text
    assert "HTTP Error 503" in text
    assert only(tmp_path)


def test_of_two_downloads_at_once_one_waits_for_the_other(tmp_path):
    said = []
    with serving(CONTENT) as server, ThreadPoolExecutor(2) as pool:
        gate = threading.Barrier(2)

        def work(_: int) -> bytes:
            gate.wait()
            return fetched(tmp_path, server.url, said=said).read_bytes()

        assert list(pool.map(work, range(2))) == [CONTENT, CONTENT]
        assert server.asked == [None]
    assert only(tmp_path, "file.bin")


# -- the cache -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header", "stranger"])
def test_a_damaged_cache_is_made_again_and_says_so(tmp_path, damage):
    cifar = tiny()
    splits = random_splits(cifar, 0)
    write_folder(cifar, "binary", splits, tmp_path / "data")
    where = {"data_dir": tmp_path / "data", "sets": {"cifar10": cifar}}
    pack = data.get("cifar10", **where)
    whole = pack.read_bytes()
    middle = whole.index(splits["train"].images.tobytes()) + 100
    pack.write_bytes(
        {
            "flip": whole[:middle] + bytes([whole[middle] ^ 16]) + whole[middle + 1 :],
            "cut": whole[:middle],
            "empty": b"",
            "header": whole[:30] + b"?" + whole[31:],
            "stranger": b"something else that is longer than the prefix of a pack",
        }[damage]
    )
    said = []
    assert same(data.load("cifar10", notify=said.append, **where).train, splits["train"])
    assert said[0].startswith(f"the packed cache {pack} is corrupt: ")
    assert pack.read_bytes() == whole
    assert only(tmp_path / "cache", f"packed/{pack.name}")


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    pack = data.get("patterns:3,2")
    pack.unlink()
    for leftover in (".tmp", ".lock"):
        pack.with_name(pack.name + leftover).write_bytes(b"half")
    data.get("patterns:3,2")
    assert only(tmp_path / "cache", f"packed/{pack.name}")


def test_of_two_first_uses_at_once_one_packs(tmp_path, monkeypatch):
    from hotlap.data import patterns

    calls, gate, make = [], threading.Barrier(3), patterns.make_patterns
    monkeypatch.setattr(patterns, "make_patterns", lambda *a: (calls.append(a), make(*a))[1])

    def work(_: int):
        gate.wait()
        return data.load("patterns:20,10")

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(work, range(3))
    assert calls == [(20, 10, 0)]
    assert all(same(other.train, first.train) for other in others)
    assert len(left_in(tmp_path / "cache")) == 1


def test_a_cache_that_cannot_be_a_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "file"))
    text = error_of(data.load, "patterns:3,2")
    assert text.startswith(f"cannot write {tmp_path / 'file'}")
    assert "HOTLAP_CACHE" in text


# -- a full disk ---------------------------------------------------------------------------------


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_while_packing_leaves_nothing(tmp_path, monkeypatch):
    cifar = tiny()
    write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path / "data")
    monkeypatch.setattr(os, "fsync", full)
    text = error_of(data.load, "cifar10", data_dir=tmp_path / "data", sets={"cifar10": cifar})
    assert text.startswith(f"cannot write {tmp_path / 'cache' / 'packed' / 'cifar10-'}")
    assert "No space left on device; free space there, or set HOTLAP_CACHE" in text
    assert left_in(tmp_path / "cache") == []


def test_a_full_disk_while_downloading_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    with serving(CONTENT) as server:
        text = error_of(fetched, tmp_path, server.url, server.url)
        assert server.asked == [None], "a full disk is no reason to ask again"
    assert text.startswith(f"cannot write {tmp_path / 'file.bin.part'}: No space left")
    assert only(tmp_path)


LIMITED = """
import resource, sys, hashlib, pathlib
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from hotlap import data
from hotlap.data.download import fetch
from hotlap.errors import UserError
try:
    if sys.argv[1:]:
        fetch(pathlib.Path(sys.argv[2]), [sys.argv[1]], size=600_000, md5="", mend="")
    else:
        data.load("patterns:100,50")
except UserError as err:
    print(err)
"""


@pytest.mark.parametrize("what", ["pack", "download"])
def test_a_write_that_really_fails_half_way_leaves_nothing(tmp_path, what):
    target = tmp_path / "cache" / "file.bin"
    with serving(CONTENT) as server:
        arguments = [server.url, str(target)] if what == "download" else []
        command = [sys.executable, "-c", LIMITED, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith(f"cannot write {tmp_path / 'cache'}")
    assert "File too large; free space there, or set HOTLAP_CACHE" in done.stdout
    assert left_in(tmp_path / "cache") == []


def test_a_failed_rebuild_keeps_the_old_pack(tmp_path, monkeypatch):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path / "data")
    where = {"data_dir": tmp_path / "data", "sets": {"cifar10": cifar}}
    pack = data.get("cifar10", **where)
    whole = pack.read_bytes()
    stat = (folder / "test_batch.bin").stat()
    os.utime(folder / "test_batch.bin", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    monkeypatch.setattr(os, "fsync", full)
    error_of(data.load, "cifar10", **where)
    assert pack.read_bytes() == whole
    assert only(tmp_path / "cache", f"packed/{pack.name}")


def test_a_source_that_fails_leaves_nothing(tmp_path):
    cifar = tiny()
    folder = write_folder(cifar, "binary", random_splits(cifar, 0), tmp_path / "data")
    (folder / "test_batch.bin").write_bytes(b"short")
    error_of(data.load, "cifar10", data_dir=tmp_path / "data", sets={"cifar10": cifar})
    error_of(
        data.load, "cifar10", data_dir=tmp_path / "data", sets={"cifar10": replace(cifar, label_bytes=2)}
    )
    assert left_in(tmp_path / "cache") == []
