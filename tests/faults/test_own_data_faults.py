"""Hostile archives, and every kind of source with bytes changed at random: a set, or one clear line."""

from __future__ import annotations

import io
import json
import random
import stat
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from own_sets import arrays_of, error_of, idx_bytes, pixels, png, right, write_idx, write_tree

from hotlap import data
from hotlap.data import unpacking
from hotlap.errors import UserError

NAMES = ["cat", "dog", "dog", "cat", "cat", "dog"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HOTLAP_DATA", raising=False)


def good_members() -> dict[str, bytes]:
    return {f"{n}/{i}.png": png(pixels(n, i)) for i, n in enumerate(NAMES)}


def write_zip(path: Path, extra: list[tuple[zipfile.ZipInfo | str, bytes]] = ()) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in good_members().items():
            archive.writestr(name, raw)
        for info, raw in extra:
            archive.writestr(info, raw)


def write_tar(path: Path, extra: list[tarfile.TarInfo] = (), raw: bytes = b"") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in good_members().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info, io.BytesIO(raw))


def nothing_left(tmp_path) -> bool:
    """Whether nothing but the sources is left: not in the cache, and not beside it."""
    return [p for p in (tmp_path / "cache").rglob("*") if not p.is_dir()] == [] and not list(
        tmp_path.glob("**/evil*")
    )


@pytest.mark.parametrize(
    "name", ["../evil.png", "/tmp/evil.png", "a/../../evil.png", "..\\evil.png", "C:evil.png"]
)
def test_members_outside_the_folder_are_refused(tmp_path, name):
    write_zip(tmp_path / "a.zip", [(name, b"x")])
    write_tar(tmp_path / "a.tgz", [tarfile.TarInfo(name)])
    for file in ("a.zip", "a.tgz"):
        text = error_of(tmp_path / file)
        assert "points outside its folder; nothing was kept: delete it" in text
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "device", "fifo"])
def test_links_and_devices_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("evil")
    info.linkname = "/etc/passwd"
    info.type = {
        "symlink": tarfile.SYMTYPE,
        "hardlink": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
        "fifo": tarfile.FIFOTYPE,
    }[kind]
    write_tar(tmp_path / "a.tar.gz", [info])
    assert "'evil' that is a link or a device" in error_of(tmp_path / "a.tar.gz")
    mode = {"symlink": stat.S_IFLNK, "device": stat.S_IFCHR, "fifo": stat.S_IFIFO}.get(kind, stat.S_IFSOCK)
    member = zipfile.ZipInfo("evil")
    member.external_attr = (mode | 0o644) << 16
    write_zip(tmp_path / "a.zip", [(member, b"/etc/passwd")])
    assert "'evil' that is a link or a device" in error_of(tmp_path / "a.zip")
    assert nothing_left(tmp_path)


def test_a_name_that_comes_twice_or_is_a_file_and_a_folder(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_zip(tmp_path / "a.zip", [("cat/0.png", b"x")])
    assert "'cat/0.png' that comes twice" in error_of(tmp_path / "a.zip")
    write_zip(tmp_path / "b.zip", [("cat/0.png/more.png", b"x")])
    assert "both as a file and a folder" in error_of(tmp_path / "b.zip")


def test_bombs_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "limit_of", lambda size: 1_000_000)
    write_zip(tmp_path / "a.zip", [("zeros.png", bytes(2_000_000))])
    big = tarfile.TarInfo("zeros.png")
    big.size = 2_000_000
    write_tar(tmp_path / "a.tgz", [big], bytes(2_000_000))
    for file in ("a.zip", "a.tgz"):
        assert "unpacks to over 1,000,000 bytes" in error_of(tmp_path / file)
    monkeypatch.setattr(unpacking, "_MOST_FILES", 5)
    write_zip(tmp_path / "b.zip")
    assert "holds more than 5 files" in error_of(tmp_path / "b.zip")
    assert nothing_left(tmp_path)
    assert unpacking.limit_of.__name__ == "<lambda>"


@pytest.mark.parametrize("folder", [False, True])
def test_archives_in_archives_are_bounded_as_one(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(unpacking, "limit_of", lambda size: 1_000_000)
    held = tmp_path / "held"
    held.mkdir()
    for name in ("cat", "dog", "eel"):
        write_zip(held / f"{name}.zip", [("zeros.png", bytes(400_000))])
    source = held
    if not folder:
        source = tmp_path / "a.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in sorted(held.iterdir()):
                archive.write(path, path.name)
    assert f"{source}/eel.zip unpacks to over 1,000,000 bytes" in error_of(source)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("name", "says"), [("../../evil.png", "points outside"), ("evil", "a link or a device")]
)
def test_what_is_refused_in_an_archive_is_refused_in_one_within(tmp_path, name, says):
    info = tarfile.TarInfo(name)
    if name == "evil":
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    write_tar(tmp_path / "inner.tgz", [info])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "inner.tgz", "pics/inner.tgz")
    text = error_of(tmp_path / "a.zip")
    assert text.startswith(f"{tmp_path}/a.zip/pics/inner.tgz has a member")
    assert says in text
    assert nothing_left(tmp_path)


def test_a_damaged_archive_within_an_archive(tmp_path):
    write_tar(tmp_path / "inner.tgz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner.tgz", (tmp_path / "inner.tgz").read_bytes()[:200])
    assert f"{tmp_path}/a.zip/inner.tgz is truncated or damaged" in error_of(tmp_path / "a.zip")
    assert nothing_left(tmp_path)


def test_what_is_damaged_in_an_archive_is_said(tmp_path):
    write_tar(tmp_path / "a.tgz")
    raw = bytearray((tmp_path / "a.tgz").read_bytes())
    (tmp_path / "cut.tgz").write_bytes(raw[: len(raw) // 2])
    raw[-6] ^= 1  # in the stored checksum: all members still read well
    (tmp_path / "a.tgz").write_bytes(raw)
    assert "a.tgz is truncated or damaged (CRC check failed" in error_of(tmp_path / "a.tgz")
    assert "cut.tgz is truncated or damaged (Compressed file ended" in error_of(tmp_path / "cut.tgz")
    (tmp_path / "b.tar").write_bytes(b"no archive at all")
    assert "b.tar is truncated or damaged (" in error_of(tmp_path / "b.tar")
    write_zip(tmp_path / "c.zip")
    raw = bytearray((tmp_path / "c.zip").read_bytes())
    raw[raw.index(b"PK\x01\x02") - 3] ^= 1  # in the last member's pixels
    (tmp_path / "c.zip").write_bytes(raw)
    assert "c.zip is truncated or damaged (" in error_of(tmp_path / "c.zip")
    assert nothing_left(tmp_path)


def test_a_tar_whose_name_would_fill_the_memory(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    assert "truncated or damaged (a name too long)" in error_of(tmp_path / "a.tar")


def test_an_npz_bomb_and_a_head_that_lies(tmp_path):
    head = np.lib.format.magic(1, 0) + struct.pack("<H", 118)
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (900000, 1000, 1000), }"
    lying = head + text.ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", lying)
        archive.writestr("y.npy", lying)
    assert "cannot read the arrays in" in error_of(tmp_path / "a.npz")


def test_an_encrypted_zip(tmp_path):
    write_zip(tmp_path / "a.zip")
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    assert "is encrypted; unpack it and give the folder" in error_of(tmp_path / "a.zip")


def test_paths_of_a_table_in_an_archive_stay_inside(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(pixels("eel", 0)))
    ways = [str(secret), "~/x.png", *("../" * depth + "secret.png" for depth in range(1, 6))]
    table = "\n".join(["path,label", *(f"{n}/{i}.png,{n}{i % 2}" for i, n in enumerate(NAMES))])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, raw in good_members().items():
            archive.writestr(f"images/{name}", raw)
        archive.writestr("images/t.csv", "\n".join([table, *(f"{way},x" for way in ways)]))
    got = data.load(tmp_path / "a.zip")
    assert got.facts.bad_count == len(ways)
    assert "x" not in got.spec.class_names


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    import errno
    import os

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_zip(tmp_path / "a.zip")
    write_tree(tmp_path / "set", {"cat": 5, "dog": 5})
    monkeypatch.setattr(os, "fsync", full)
    for source in ("a.zip", "set"):
        assert "No space left on device; free space there, or set HOTLAP_CACHE" in error_of(tmp_path / source)
        assert nothing_left(tmp_path)


# -- changed at random --------------------------------------------------------------------------------


def mutated(raw: bytes, draw: random.Random) -> bytes:
    """The bytes with some changed, cut, doubled or put in; more often near the start, where heads are."""
    out = bytearray(raw)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = int(len(out) * draw.random() ** draw.choice((1, 3))) if out else 0
        kind = draw.randrange(5)
        if kind == 0 and out:
            out[min(at, len(out) - 1)] = draw.randrange(256)
        elif kind == 1:
            del out[at : at + draw.choice((1, 4, 100))]
        elif kind == 2:
            out[at:at] = bytes(draw.randrange(256) for _ in range(draw.choice((1, 4))))
        elif kind == 3:
            out[at:at] = out[at : at + draw.choice((4, 50))]
        elif out:
            out[min(at, len(out) - 1)] ^= 1 << draw.randrange(8)
    return bytes(out)


def sources(root: Path) -> dict[str, Path]:
    """One of each kind: what is loaded, and the file of it that is changed."""
    root.mkdir()
    gray = np.tile(np.arange(6)[:, None, None], (1, 5, 4)).astype(np.uint8)
    numbers = np.array([0, 1, 1, 0, 0, 1])
    for i, name in enumerate(NAMES):
        (root / f"{i}.png").write_bytes(png(pixels(name, i)))
    splits = ["train", "train", "train", "train", "val", "test"]
    rows = [f'{i}.png,"{n}",{s}' for i, (n, s) in enumerate(zip(NAMES, splits, strict=True))]
    (root / "t.csv").write_text("\n".join(["path,label,split", *rows]))
    lines = [
        {"path": f"{i}.png", "label": n, "split": s}
        for i, (n, s) in enumerate(zip(NAMES, splits, strict=True))
    ]
    (root / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    np.savez_compressed(root / "a.npz", x_train=arrays_of(NAMES), y_train=numbers)
    np.save(root / "x.npy", arrays_of(NAMES))
    np.save(root / "y.npy", numbers)
    write_idx(root, "train", gray, numbers, True)
    (root / "plain").mkdir()
    write_idx(root / "plain", "train", gray, numbers, False)
    write_zip(root / "a.zip")
    write_tar(root / "a.tgz")
    with tarfile.open(root / "a.tar", "w") as archive:
        for name, content in good_members().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return {
        "csv": root / "t.csv",
        "jsonl": root / "t.jsonl",
        "npz": root / "a.npz",
        "npy": root / "x.npy",
        "npy labels": root / "y.npy",
        "idx.gz": root / "train-images-idx3-ubyte.gz",
        "idx": root / "plain" / "train-images-idx3-ubyte",
        "idx labels": root / "plain" / "train-labels-idx1-ubyte",
        "zip": root / "a.zip",
        "tgz": root / "a.tgz",
        "tar": root / "a.tar",
    }


def outcome(source: Path, cache: Path) -> tuple[str, data.Dataset | None]:
    """What loading comes to: the line of its error, or the set. Anything else is raised."""
    try:
        return "", data.load(source, cache_dir=cache)
    except UserError as err:
        return str(err), None


@pytest.mark.parametrize(
    "kind", ["csv", "jsonl", "npz", "npy", "npy labels", "idx.gz", "idx", "idx labels", "zip", "tgz", "tar"]
)
def test_bytes_changed_at_random_come_to_a_set_or_to_one_line(tmp_path, kind):
    path = sources(tmp_path / "set")[kind]
    source = path.with_name("x.npy") if kind == "npy labels" else path
    whole = path.read_bytes()
    before = sorted(p.name for p in tmp_path.rglob("*"))
    draw = random.Random(kind)
    loaded = 0
    for i in range(120):
        path.write_bytes(mutated(whole, draw))
        said, got = outcome(source, tmp_path / "made" / str(i))
        assert "\n" not in said
        if got is not None:
            assert len(got.train) > 0
            assert got.train.labels.min() >= 0
            loaded += 1
    path.write_bytes(whole)
    data.load(source, cache_dir=tmp_path / "made" / "last")
    left = [p for p in (tmp_path / "made").rglob("*") if p.is_file() and p.suffix != ".pack"]
    assert left == []
    assert sorted(p.name for p in tmp_path.rglob("*") if "made" not in p.parts) == before
    assert loaded < 120, "some changes must be found"


def test_parquet_changed_at_random(tmp_path):
    from own_sets import write_parquet

    path = tmp_path / "train.parquet"
    write_parquet(path, [(png(pixels(n, i)), n) for i, n in enumerate(NAMES)], None)
    whole, draw = path.read_bytes(), random.Random(0)
    for i in range(100):
        path.write_bytes(mutated(whole, draw))
        assert "\n" not in outcome(path, tmp_path / "made" / str(i))[0]


def test_an_idx_head_is_read_as_it_is_written():
    assert idx_bytes(np.zeros((2, 3, 4), np.uint8))[:16] == bytes(
        [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]
    )


def test_good_archives_are_right(tmp_path):
    write_zip(tmp_path / "a.zip")
    write_tar(tmp_path / "a.tgz")
    assert right(data.load(tmp_path / "a.zip"))
    assert right(data.load(tmp_path / "a.tgz"))
