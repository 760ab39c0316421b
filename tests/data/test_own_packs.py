"""Packs of one's own images: what changed is noticed and no more decoded, bad files, sizes, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_sets import arrays_of, error_of, pixels, png, right, seen, write_tree
from PIL import Image

from hotlap import data
from hotlap.data import decoding, packed
from hotlap.data.fit import fit
from hotlap.data.packed import open_pack
from hotlap.data.sizing import BUDGET, SIDES, choose_size, sample


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HOTLAP_DATA", raising=False)


@pytest.fixture
def decodes(monkeypatch) -> list[object]:
    """Every image that is decoded into a pack, as it is."""
    done: list[object] = []
    make = decoding.decode_some
    monkeypatch.setattr(decoding, "decode_some", lambda how, some: (done.extend(some), make(how, some))[1])
    return done


def pack_of(tmp_path) -> Path:
    (path,) = (tmp_path / "cache" / "packed").glob("*.pack")
    return path


# -- what changed -----------------------------------------------------------------------------------


def test_only_what_is_new_or_changed_is_decoded(tmp_path, decodes):
    root = write_tree(tmp_path / "set", {"train/cat": 30, "train/dog": 30, "val/dog": 5, "val/cat": 5})

    def load(expected: int) -> data.Dataset:
        decodes.clear()
        got = data.load(root)
        assert len(decodes) == expected
        assert right(got)
        return got

    first = load(70)
    assert (first.facts.decoded, first.facts.reused) == (70, 0)
    load(0)
    for i in range(20):
        (root / "train" / "dog" / f"new{i}.png").write_bytes(png(pixels("dog", 100 + i)))
    more = load(20)
    assert (more.facts.decoded, more.facts.reused, len(more.train)) == (20, 70, 80)
    assert {i.tobytes() for i in first.train.images} < {i.tobytes() for i in more.train.images}
    (root / "train" / "cat" / "3.png").write_bytes(png(pixels("cat", 200)))
    changed = load(1)
    assert 200 in changed.train.images[:, 0, 0, 2]
    (root / "train" / "cat" / "3.png").unlink()
    assert len(load(0).train) == 79
    os.rename(root / "train" / "cat" / "4.png", root / "train" / "dog" / "cat4.png")
    decodes.clear()
    moved = data.load(root)
    assert len(decodes) == 1
    assert moved.facts.counts["train"] == (28, 51)


def test_what_was_decoded_otherwise_is_not_taken_over(tmp_path, decodes, monkeypatch):
    root = write_tree(tmp_path / "set", {"cat": 6, "dog": 6})
    data.load(root, size=8)
    decodes.clear()
    data.load(root, size=16)
    assert len(decodes) == 12
    assert len(list((tmp_path / "cache" / "packed").glob("*.pack"))) == 2
    decodes.clear()
    from hotlap.data import own

    monkeypatch.setattr(own, "_version", lambda: "another decoder")
    data.load(root, size=16)
    assert len(decodes) == 12


def test_a_damaged_pack_is_not_taken_over(tmp_path, decodes):
    root = write_tree(tmp_path / "set", {"cat": 6, "dog": 6})
    data.load(root)
    pack = pack_of(tmp_path)
    raw = bytearray(pack.read_bytes())
    raw[70] ^= 1  # in the first image
    pack.write_bytes(raw)
    (root / "cat" / "new.png").write_bytes(png(pixels("cat", 9)))
    decodes.clear()
    assert right(data.load(root))
    assert len(decodes) == 13


def test_reading_on_all_cores_comes_to_the_same(tmp_path, monkeypatch):
    root = write_tree(tmp_path / "set", {"train/cat": 100, "train/dog": 130, "val/cat": 20})
    (root / "train" / "cat" / "50.png").write_bytes(b"?")
    one = data.load(root)
    monkeypatch.setattr(decoding, "FEW", 10)
    monkeypatch.setattr(decoding, "_TOGETHER", 7)
    monkeypatch.setattr(decoding, "processors", lambda: 3)
    told = []
    many = data.load(root, cache_dir=tmp_path / "other", progress=lambda *a: told.append(a))
    assert np.array_equal(one.train.images, many.train.images)
    assert np.array_equal(one.train.labels, many.train.labels)
    assert one.facts.bad == many.facts.bad == (("train/cat/50.png", "not an image"),)
    assert told[-1][:2] == (250, 250)


def test_a_process_that_is_killed_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    root = write_tree(tmp_path / "set", {"cat": 20, "dog": 20})
    monkeypatch.setattr(decoding, "FEW", 10)
    monkeypatch.setattr(decoding, "processors", lambda: 2)
    monkeypatch.setattr(decoding, "decode_some", killed)
    assert "a process that decodes images was killed" in error_of(root)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def killed(*_: object) -> None:
    os.kill(os.getpid(), 9)


# -- names ------------------------------------------------------------------------------------------


def named_right(dataset: data.Dataset, root: Path) -> bool:
    """Whether the name of each image is that of the file it was decoded from."""
    splits = [dataset.train, dataset.test, *dataset.held.values()]
    return all(
        np.array_equal(image, np.asarray(Image.open(root / split.names[i])))
        for split in splits
        for i, image in enumerate(split.images)
    )


def test_each_image_keeps_its_name(tmp_path, decodes):
    root = write_tree(tmp_path / "set", {"cat": 30, "dog": 30, "\u732b \U0001f63a": 4})
    (root / "cat" / "5.png").write_bytes(b"")  # those after it have other numbers
    for expected in (64, 0):
        decodes.clear()
        got = data.load(root)
        assert len(decodes) == expected
        assert (len(got.train.names), len(got.test.names)) == (len(got.train), len(got.test))
        assert named_right(got, root)
        names = {s.names[i] for s in (got.train, got.test) for i in range(len(s))}
        assert len(names) == 63
        assert "\u732b \U0001f63a/3.png" in names
    (root / "cat" / "0.png").rename(root / "cat" / "new.png")
    assert named_right(data.load(root), root)
    held = data.hold_out(data.load(root), 7)
    assert named_right(held, root)


def test_a_pack_without_names_is_made_again_without_decoding(tmp_path, decodes, monkeypatch):
    from hotlap.data import own, packing

    root = write_tree(tmp_path / "set", {"cat": 6, "dog": 6})
    with monkeypatch.context() as before:
        section = packing.PackStream.section
        before.setattr(own, "_RULES", own._RULES - 1)
        before.setattr(
            packing.PackStream,
            "section",
            lambda self, name, *rest: iter(()) if "name" in name else section(self, name, *rest),
        )
        assert data.load(root).train.names is None
    decodes.clear()
    said = []
    got = data.load(root, notify=said.append)
    assert "stale: its source has changed" in said[0]
    assert decodes == []
    assert named_right(got, root)


def test_names_of_arrays_say_where_and_sets_with_a_name_have_none():
    names = ["cat", "dog"] * 5
    pair = (arrays_of(names), names)
    got = data.load((pair, pair))
    assert [got.train.names[i] for i in (0, 9)] == ["train images[0]", "train images[9]"]
    assert data.load("patterns:30,20").test.names is None


# -- bad files --------------------------------------------------------------------------------------


def test_bad_files_are_named_and_left_out(tmp_path):
    root = write_tree(tmp_path / "set", {"train/cat": 5, "train/dog": 5, "val/cat": 2, "val/dog": 2})
    (root / "train/cat/1.png").write_bytes(b"")
    (root / "train/dog/2.png").write_bytes(png(pixels("dog", 1))[:60])
    (root / "val/dog/1.png").write_bytes(b"<!doctype html><html>sorry</html>")
    for _ in range(2):  # decoded, then from the cache
        said = []
        got = data.load(root, notify=said.append)
        assert right(got)
        assert (len(got.train), len(got.test), got.spec.train_count, got.spec.test_count) == (8, 3, 8, 3)
        assert dict(got.facts.bad).keys() == {"train/cat/1.png", "train/dog/2.png", "val/dog/1.png"}
        assert dict(got.facts.bad)["train/cat/1.png"] == "empty"
        assert dict(got.facts.bad)["val/dog/1.png"] == "a web page, not an image"
        assert said[-1].startswith("3 images do not read and are left out: train/cat/1.png (empty), ")


def test_strict_stops_and_names_the_first_and_how_many(tmp_path):
    root = write_tree(tmp_path / "set", {"cat": 5, "dog": 5})
    assert right(data.load(root, strict=True))
    (root / "cat/1.png").write_bytes(b"")
    (root / "cat/2.png").write_bytes(b"")
    text = error_of(root, strict=True)
    assert text.startswith("cat/1.png (empty), and 1 more do not read; ")
    data.load(root)
    assert error_of(root, strict=True) == text  # from the cache


def test_nothing_that_reads(tmp_path):
    root = write_tree(tmp_path / "set", {"train/cat": 2, "train/dog": 2, "val/cat": 1})
    (root / "val/cat/0.png").write_bytes(b"")
    assert "no val image reads; 1 image does not read and is left out: val/cat/0.png (empty)" in error_of(
        root
    )
    for path in root.glob("train/*/*"):
        path.write_bytes(b"")
    assert "no train image reads" in error_of(root)
    write_tree(root, {"train/cat": 2, "val/cat": 1})
    assert "one class only, 'cat'" in error_of(root)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


# -- sizes and channels -----------------------------------------------------------------------------


def test_the_size_follows_the_rule_that_is_stated():
    assert choose_size([(28, 28)] * 9, 60_000)[0] == (28, 28)
    assert choose_size([(48, 96)] * 9, 100)[0] == (48, 96)
    assert choose_size([(97, 97)] * 9, 100)[0] == (96, 96)
    assert choose_size([(20, 20), (21, 20)], 100)[0] == (32, 32)
    assert choose_size([(300, 400), (500, 375), (350, 350)], 1_000)[0] == (224, 224)
    for count in (1_000, 5_000, 10_000, 50_000, 200_000, 10**7):
        (side, _), why = choose_size([(300, 400), (500, 375)], count)
        larger = [s for s in SIDES if s > side]
        assert side == 32 or count * side * side <= BUDGET
        assert not larger or count * larger[0] ** 2 > BUDGET
        assert f"{count:,} training images with a median short side of 337.5 px" in why


def test_a_sample_is_even_and_has_both_ends():
    assert sample(5) == [0, 1, 2, 3, 4]
    places = sample(100_000)
    assert (len(places), places[0], places[-1]) == (1000, 0, 99_999)
    assert max(np.diff(places)) - min(np.diff(places)) <= 1


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_images_are_brought_to_the_size_asked_for(tmp_path, how):
    root = tmp_path / "set"
    rng = np.random.default_rng(0)
    kept = {}
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            image = rng.integers(0, 256, (30 + i, 50, 3), dtype=np.uint8)
            kept[f"{name}/{i}.png"] = image
            (root / name / f"{i}.png").write_bytes(png(image))
    got = data.load(root, size=(24, 16), fit=how)
    assert got.spec.shape == (3, 24, 16)
    want = {fit(image, (24, 16), how).tobytes() for image in kept.values()}
    assert {i.tobytes() for i in [*got.train.images, *got.test.images]} == want
    assert got.facts.size_rule == "as asked for"


def test_one_channel_if_all_are_gray_and_three_if_one_is_not(tmp_path, decodes):
    root = tmp_path / "set"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(60):
            Image.new("L", (8, 8), i).save(root / name / f"{i:02}.png")
    assert data.load(root).spec.shape == (1, 8, 8)
    # one that the sample of 32 does not show
    Image.new("RGB", (8, 8), (250, 10, 10)).save(root / "dog" / "55.png")
    said = []
    got = data.load(root, notify=said.append)
    assert got.spec.shape == (3, 8, 8)
    assert "cat" in seen(got, got.train) + seen(got, got.test)  # the red one, in its colour
    assert any("an image in colour among gray ones" in line for line in said)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 0}, "--size 0: give the pixels of a side"),
        ({"size": (5, 0)}, "--size (5, 0)"),
        ({"size": 10**6}, "--size 1000000"),
        ({"fit": "crpo"}, "--fit crpo: no such way; did you mean 'crop'?"),
    ],
)
def test_sizes_and_fits_that_are_none(tmp_path, options, says):
    assert says in error_of(tmp_path, **options)


# -- check, get, clean, facts -----------------------------------------------------------------------


def test_check_and_get_of_a_path(tmp_path):
    root = write_tree(tmp_path / "set", {"cat": 5, "dog": 6})
    report = data.check(root)
    assert (report.cache_state, report.ok, report.train_count, report.test_count) == ("missing", True, 9, 2)
    assert (report.train_per_class, report.layout) == ((4, 5), "class-per-folder")
    pack = data.get(root)
    assert pack.is_file()
    assert data.check(str(root)).cache_state == "good"
    stat = (root / "cat" / "0.png").stat()
    (root / "cat" / "0.png").write_bytes(png(pixels("cat", 77)))
    os.utime(root / "cat" / "0.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if (root / "cat" / "0.png").stat().st_size == stat.st_size:
        assert data.check(root).cache_state == "stale: it differs from its source"
    os.utime(root / "cat" / "0.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert data.check(root).cache_state == "stale: its source has changed"


def test_clean_removes_packs_of_paths_that_are_gone(tmp_path):
    import shutil

    root = write_tree(tmp_path / "set", {"cat": 5, "dog": 6})
    pack = data.get(root)
    left = pack.with_name("other.pack.files") / "half"
    left.mkdir(parents=True)
    (left / "0.png").write_bytes(b"1234")
    assert [(r.reason, r.size) for r in data.clean()] == [("half unpacked", 4)]
    assert pack.exists()
    assert not left.exists()
    shutil.rmtree(root)
    assert [r.path for r in data.clean()] == [pack]


def test_facts_go_to_json_and_back(tmp_path):
    import json

    root = write_tree(tmp_path / "set", {"train/cat": 5, "train/dog": 6, "val/fox": 1, "val/cat": 1})
    (root / "train/cat/1.png").write_bytes(b"")
    facts = data.load(root).facts
    assert data.Facts.from_json(json.loads(json.dumps(facts.as_json()))) == facts
    assert facts.rate > 0


def test_named_sets_have_no_facts():
    got = data.load("patterns:30,20")
    assert (got.facts, got.held, got.test_split) == (None, {}, "test")


def test_an_archive_is_not_unpacked_where_another_process_unpacks_it(tmp_path, monkeypatch):
    import zipfile

    from hotlap.data import own
    from hotlap.files import locked

    root = write_tree(tmp_path / "set", {"cat": 5, "dog": 6})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, file.relative_to(root))
    held = []
    monkeypatch.setattr(own, "locked", lambda pack, notify: (held.append(pack), locked(pack, notify))[1])
    survey = data.survey(tmp_path / "a.zip")
    assert survey.images == 11
    assert data.check(tmp_path / "a.zip").train_count == 9
    assert len(held) == 2
    held.clear()
    data.survey(root)
    assert held == []


# -- large packs ------------------------------------------------------------------------------------


def test_a_large_pack_is_checked_by_a_sample_that_is_said(tmp_path, monkeypatch):
    root = write_tree(tmp_path / "set", {"train/cat": 40, "train/dog": 40, "val/cat": 2}, side=32)
    pack = data.get(root)
    monkeypatch.setattr(packed, "_WHOLE_BYTES", 1000)
    said = []
    fingerprint = packed.open_arrays(pack)[0]["fingerprint"]
    open_pack(pack, fingerprint, said.append)
    assert said == []  # one part each
    monkeypatch.setattr(packed, "_CHUNK_BYTES", 3072)
    monkeypatch.setattr(packed, "_SAMPLED_CHUNKS", 8)
    (root / "train/cat/0.png").touch()
    data.get(root)
    fingerprint = packed.open_arrays(pack)[0]["fingerprint"]
    said.clear()
    open_pack(pack, fingerprint, said.append)
    assert len(said) == 1
    assert "were checked" in said[0]
    raw = bytearray(pack.read_bytes())
    raw[64] ^= 1  # the first part is always among them
    pack.write_bytes(raw)
    with pytest.raises(packed.BadPack, match="wrong checksum of train images"):
        open_pack(pack, fingerprint)


STREAMED = """
import sys
from pathlib import Path
import numpy as np
from hotlap import data

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

images = np.lib.format.open_memmap(sys.argv[1], mode="r")
before = most = anonymous()
def look(*_):
    global most
    most = max(most, anonymous())
for _ in range(2):
    got = data.load(Path(sys.argv[1]), progress=look)
    look()
size = got.train.images.nbytes + got.test.images.nbytes
print(size / 2**20, most - before)
"""


def test_a_set_larger_than_the_memory_it_takes(tmp_path):
    count = 24_000
    images = np.lib.format.open_memmap(
        tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(count, 64, 64, 3)
    )
    images[:, 0, 0, 0] = np.arange(count) % 251
    images.flush()
    np.save(tmp_path / "y.npy", np.arange(count) % 3)
    done = subprocess.run(
        [sys.executable, "-c", STREAMED, str(tmp_path / "x.npy")], capture_output=True, text=True, check=True
    )
    size, most = map(float, done.stdout.split())
    assert size > 280
    assert most < 100  # of it, 40 MB are what a thread a part reads to check it


def test_a_pair_of_arrays_in_memory_is_not_written(tmp_path):
    data.load((arrays_of(["cat", "dog", "cat", "dog"]), [0, 1, 0, 1]))
    assert not (tmp_path / "cache").exists()
