"""`check` of images of one's own: what is planted is found by name, and nothing else."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import image_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from conftest import one_line, snapshot
from hotlap import data
from hotlap.data import duplicates, sheets, sight
from hotlap.data.checked import CheckReport
from hotlap.data.near import near_pairs
from hotlap.data.sheets import evenly, file_names
from hotlap.errors import UserError


def scene(seed: int, side: int = 96) -> Image.Image:
    """Coloured blobs and bars, other ones for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((side, side), Image.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize((side, side), Image.BICUBIC)
    return Image.blend(coarse, fine, 0.4)


def jpeg(image: Image.Image, quality: int = 80) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """train/ and val/ with classes a and b of 12 and 4 scenes, each another. Copy it to change it."""
    root = tmp_path_factory.mktemp("scenes") / "set"
    for place in range(32):
        split, name = ("train", "val")[place // 24], "ab"[place % 2]
        (root / split / name).mkdir(parents=True, exist_ok=True)
        scene(place).save(root / split / name / f"{place}.png")
    return root


@pytest.fixture
def root(scenes, tmp_path) -> Path:
    return Path(shutil.copytree(scenes, tmp_path / "set"))


def found(report: CheckReport) -> dict[frozenset[str], tuple[bool, bool, bool]]:
    """The duplicates: names; whether exact, a leak, a conflict."""
    return {frozenset(m.name for m in g.images): (g.exact, g.leak, g.conflict) for g in report.duplicates}


@pytest.fixture
def no_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    sight.hasher.cache_clear()
    yield
    monkeypatch.undo()
    sight.hasher.cache_clear()


# -- duplicates ------------------------------------------------------------------------------------


def test_scenes_that_differ_are_no_duplicates(root):
    report = data.check(root)
    assert (found(report), report.leaked, report.findings) == ({}, {"val": 0}, [])
    assert (report.distance, report.images) == (10, {"train": 24, "val": 8})


def test_what_is_planted_is_found_and_nothing_else(root):
    train, val = root / "train", root / "val"
    shutil.copy(train / "a" / "0.png", train / "a" / "copy.png")
    Image.open(train / "b" / "1.png").save(train / "b" / "same.bmp")  # other bytes, the same pixels
    (train / "a" / "small.jpg").write_bytes(jpeg(scene(2).resize((61, 61))))
    shutil.copy(train / "b" / "3.png", val / "b" / "leak.png")
    (val / "a" / "leak.jpg").write_bytes(jpeg(ImageEnhance.Brightness(scene(4)).enhance(1.2), 40))
    shutil.copy(train / "b" / "5.png", train / "a" / "conflict.png")
    (val / "b" / "both.webp").write_bytes(image_files.encoded(scene(6), "WEBP", quality=70))
    report = data.check(root)
    assert found(report) == {
        frozenset({"train/a/0.png", "train/a/copy.png"}): (True, False, False),
        frozenset({"train/b/1.png", "train/b/same.bmp"}): (True, False, False),
        frozenset({"train/a/2.png", "train/a/small.jpg"}): (False, False, False),
        frozenset({"train/b/3.png", "val/b/leak.png"}): (True, True, False),
        frozenset({"train/a/4.png", "val/a/leak.jpg"}): (False, True, False),
        frozenset({"train/b/5.png", "train/a/conflict.png"}): (True, False, True),
        frozenset({"train/a/6.png", "val/b/both.webp"}): (False, True, True),
    }
    assert report.leaked == {"val": 3}
    assert report.ok, "findings are no errors"
    assert "3 val images also in train" in report.findings


def test_an_image_in_val_and_test_but_not_in_train_is_no_leak_from_train(root, cli):
    (root / "test" / "a").mkdir(parents=True)
    for place in (24, 70):
        scene(place).save(root / "test" / "a" / f"{place}.png")
    report = data.check(root)
    assert list(found(report).values()) == [(True, True, False)]
    assert report.leaked == {"val": 0, "test": 0}
    assert "1 group, 2 images, in other splits than train" in " ".join(cli("data", "check", root).out.split())


def test_identical_images_of_a_group_stand_side_by_side(root):
    train = root / "train" / "a"
    (train / "1-near.jpg").write_bytes(jpeg(scene(0)))
    shutil.copy(train / "0.png", train / "2-copy.png")
    (group,) = data.check(root).duplicates
    assert [(m.name, m.picture) for m in group.images] == [
        ("train/a/0.png", 0),
        ("train/a/2-copy.png", 0),
        ("train/a/1-near.jpg", 1),
    ]
    assert not group.exact


def test_plain_images_are_duplicates_only_if_they_are_identical(root):
    for k in range(12):
        flat = np.full((40 + k, 40, 3), (20 * k, 90, 250 - 20 * k), np.uint8)
        noise = np.random.default_rng(k).integers(0, 3, flat.shape, np.uint8)
        Image.fromarray(flat + noise * (k % 2)).save(root / "train" / "a" / f"flat{k}.png")
    shutil.copy(root / "train" / "a" / "flat3.png", root / "val" / "a" / "flat.png")
    report = data.check(root)
    assert found(report) == {frozenset({"train/a/flat3.png", "val/a/flat.png"}): (True, True, False)}
    assert report.plain == 13


def test_two_views_of_a_scene_are_found_in_the_patterns_and_no_two_scenes_are_taken_for_one():
    """Half the training images there show the scene of another, with other exposure and grain."""
    pytest.importorskip("imagehash")
    report = data.check("patterns:500,200")
    sizes = [len(g.images) for g in report.duplicates]
    assert set(sizes) == {2}
    assert 220 < len(sizes) <= 250
    assert not report.leaks
    assert not report.conflicts


def test_drawings_of_one_kind_must_be_more_alike_than_they_are_anyway(tmp_path):
    """Strokes through five points, shaken a little: 60 of a class look alike, and one of all comes twice."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for label in range(5):
        corners = rng.uniform(4, 24, (5, 2))
        for _ in range(60):
            drawing = Image.new("L", (28, 28))
            points = [tuple(p) for p in corners + rng.normal(0, 1.5, (5, 2))]
            ImageDraw.Draw(drawing).line(points, 255, 3, "curve")
            images.append(np.asarray(drawing))
            labels.append(label)
    images.append((images[7] * 0.8).astype(np.uint8))
    np.savez(tmp_path / "drawings.npz", images=np.array(images), labels=[*labels, 0])
    report = data.check(tmp_path / "drawings.npz")
    assert frozenset({"images[7]", "images[300]"}) in found(report)
    assert len(report.duplicates) <= 2
    assert report.correlation > 0.9


def test_without_the_extra_only_identical_images_are_found_and_a_line_says_so(root, no_extra, cli):
    train = root / "train" / "a"
    shutil.copy(train / "0.png", train / "copy.png")
    (train / "near.jpg").write_bytes(jpeg(scene(2)))
    report = data.check(root)
    assert found(report) == {frozenset({"train/a/0.png", "train/a/copy.png"}): (True, False, False)}
    assert (report.distance, report.plain) == (None, 0)
    assert "pip install 'hotlap[duplicates]'" in cli("data", "check", root).out


@pytest.mark.parametrize(("looks", "distance"), [(15, 10), (9, 4), (2, -1)])
def test_too_many_pairs_to_look_at_lower_the_distance(monkeypatch, looks, distance):
    """Of 15 pairs within 10 bits, 9 are within 4 and 3 are equal."""
    monkeypatch.setattr(duplicates, "_LOOKS", looks)
    hashes = np.array([0, 0, 0, 0b1111, 0b111111111, 1 << 40], np.uint64)
    i, j, within = duplicates._candidates(hashes)
    assert within == distance
    assert len(i) == len(j) == {15: 15, 9: 9, 2: 0}[looks]


def clustered(draw_from: list[int], seeds: list[tuple[int, list[int]]]) -> np.ndarray:
    """64-bit words: each a cluster's centre with some bits the other way."""
    out = [draw_from[k % len(draw_from)] ^ sum({1 << b for b in bits}) for k, bits in seeds]
    return np.array(out, np.uint64)


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 63), max_size=9)), max_size=40),
    st.integers(0, 11),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_near_pairs_are_those_of_comparing_each_with_each(centres, seeds, most, together):
    hashes = clustered(centres, seeds)
    want = {(i, j): int(hashes[i] ^ hashes[j]).bit_count() for j in range(len(hashes)) for i in range(j)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hotlap.data.near._TOGETHER", together)
        got = [tuple(map(int, p)) for pairs in near_pairs(hashes, most) for p in zip(*pairs, strict=True)]
    assert len(got) == len({(i, j) for i, j, _ in got}), "a pair came twice"
    assert {(i, j): bits for i, j, bits in got} == {p: bits for p, bits in want.items() if bits <= most}


# -- what the images are ---------------------------------------------------------------------------


def test_sizes_modes_formats_and_what_does_not_read(root):
    train = root / "train" / "a"
    scene(50).convert("L").save(train / "gray.png")
    scene(51).convert("P").resize((30, 200)).save(train / "palette.gif")
    scene(52).convert("CMYK").save(train / "cmyk.jpg")
    scene(53).convert("RGBA").save(train / "alpha.png")
    wide = np.random.default_rng(0).integers(0, 65536, (90, 300), np.uint16)
    Image.fromarray(wide).save(train / "deep.png")
    (train / "deeper.png").write_bytes(image_files.png(np.full((20, 20, 3), 9000, np.uint16), 2, 16))
    scene(54).convert("1").save(train / "bits.png")
    (train / "turned.jpg").write_bytes(
        image_files.encoded(scene(55).crop((0, 0, 96, 40)), "JPEG", exif=image_files.exif(6))
    )
    (train / "cut.jpg").write_bytes(jpeg(scene(56))[:900])
    (root / "val" / "b" / "page.png").write_bytes(b"<html><body>404</body></html>")
    (train / "notes.txt").write_text("x")
    (train / ".hidden.png").write_text("x")
    report = data.check(root)
    assert report.corrupt == (
        ("train/a/cut.jpg", "truncated"),
        ("val/b/page.png", "a web page, not an image"),
    )
    assert report.modes == {
        "RGB": 33, "L": 1, "P": 1, "CMYK": 1, "RGBA": 1, "L 16-bit": 1, "RGB 16-bit": 1, "1-bit": 1
    }  # fmt: skip
    assert report.formats == {"PNG": 37, "JPEG": 2, "GIF": 1}
    assert report.treated == {"16 bits scaled to 8": 2, "turned as EXIF says": 1}
    assert report.passed_over == {"not images": 1, "hidden": 1}
    sizes = report.sizes
    assert (sizes.width, sizes.height) == ((20, 96.0, 300), (20, 96.0, 200))
    assert sizes.smallest == ("train/a/deeper.png", 20, 20)
    assert sizes.largest == ("train/a/deep.png", 300, 90)
    assert "2 images not read" in report.findings


def test_an_image_in_colour_after_many_gray_ones_is_counted_once(tmp_path):
    for place in range(70):
        (tmp_path / "ab"[place % 2]).mkdir(exist_ok=True)
        image = scene(place, 24)
        image = image if place == 60 else image.convert("L")
        image.save(tmp_path / "ab"[place % 2] / f"{place}.png")
    report = data.check(tmp_path)
    assert report.modes == {"L": 69, "RGB": 1}
    assert sum(report.images.values()) == 70
    assert len(report.mean) == 3


def test_classes_uneven_alone_and_in_one_split_only(root, cli):
    (root / "train" / "lone").mkdir()
    (root / "val" / "new").mkdir()
    scene(60).save(root / "train" / "lone" / "x.png")
    scene(61).save(root / "val" / "new" / "y.png")
    report = data.check(root)
    assert report.class_names == ("a", "b", "lone")
    assert report.counts == {"train": (12, 12, 1), "val": (4, 4, 0)}
    assert (report.single, report.absent, report.missed) == (("lone",), {"val": ("lone",)}, {"new": 1})
    assert report.imbalance == 12
    assert report.images == {"train": 25, "val": 9}
    for line in ("1 class without a val image", "1 class without a train image", "from 1 to 12 images"):
        assert line in " ".join(cli("data", "check", root).out.split())


def test_a_class_written_in_other_case_is_no_conflict(root):
    (root / "val" / "b").rename(root / "val" / "B")
    shutil.copy(root / "train" / "b" / "1.png", root / "val" / "B" / "again.png")
    assert list(found(data.check(root)).values()) == [(True, True, False)]


def test_what_hotlap_puts_aside_to_measure_on_may_hold_a_copy_too(root):
    shutil.rmtree(root / "val")
    for place in range(0, 24, 2):  # each image of class a comes twice
        shutil.copy(root / "train" / "a" / f"{place}.png", root / "train" / "a" / f"{place}-again.png")
    report = data.check(root)
    assert report.made == 0.2
    assert len(report.duplicates) == 12
    assert report.leaked["val"] > 0


# -- contact sheets --------------------------------------------------------------------------------


def test_a_sheet_of_each_class(root, tmp_path):
    before = snapshot(root)
    report = data.check(root, sheets=tmp_path / "out" / "sheets")
    assert [p.name for p in report.sheets] == ["a.png", "b.png"]
    made = {p.name: p.read_bytes() for p in (tmp_path / "out" / "sheets").iterdir()}
    assert sorted(made) == ["a.png", "b.png"]
    with Image.open(report.sheets[0]) as sheet:
        assert sheet.width > 8 * 90
        colours = np.asarray(sheet)
    assert (colours[-60:] != 255).any(), "the last row is empty"
    data.check(root, sheets=tmp_path / "out" / "sheets")  # over those that are there
    assert {p.name: p.read_bytes() for p in (tmp_path / "out" / "sheets").iterdir()} == made
    assert snapshot(root) == before


def test_sheets_of_classes_with_names_that_are_paths_stay_in_their_folder(tmp_path):
    names = ["../x", "..", "A", "a", "a/b", "/etc/x", "é 日本", "y" * 300, ".", "-rf"]
    labels = np.array([n for n in names for _ in range(5)])
    np.savez(tmp_path / "set.npz", x=np.stack([np.asarray(scene(k, 16)) for k in range(50)]), y=labels)
    report = data.check(tmp_path / "set.npz", sheets=tmp_path / "sheets")
    made = list((tmp_path / "sheets").iterdir())
    assert len(made) == len(report.sheets) == 10
    assert {p.parent for p in report.sheets} == {tmp_path / "sheets"}
    assert sorted(tmp_path.iterdir()) == [tmp_path / "set.npz", tmp_path / "sheets"]
    assert len({p.name.casefold() for p in made}) == 10
    assert not any(p.name.startswith((".", "-")) for p in made)
    for path in made:
        Image.open(path).load()


@given(st.lists(st.text(max_size=6), max_size=12))
def test_file_names_of_sheets_never_meet(names):
    made = file_names(names)
    assert len({n.casefold() for n in made}) == len(names)
    assert not any("/" in n or "\0" in n or n.startswith(".") for n in made)


@given(st.integers(0, 5000), st.integers(1, 60))
def test_images_of_a_sheet_are_picked_evenly(count, most):
    picked = evenly(count, most)
    assert picked == evenly(count, most)
    assert len(picked) == min(count, most)
    assert picked == sorted(set(picked))
    assert all(0 <= p < count for p in picked)
    if count > most:
        assert max(np.diff([0, *picked, count])) <= 2 * -(-count // most)


def test_a_name_that_no_font_can_write_is_written_in_numbers(monkeypatch):
    assert sheets._font("plain", 20)[1] == "plain"
    monkeypatch.setattr(sheets, "_fonts", lambda: ["there-is-no-such-font.ttf"])
    assert sheets._font("n\u00e9 \u65e5", 20)[1] == r"n\xe9 \u65e5"


def test_sheets_are_not_written_into_the_data_or_over_what_is_not_theirs(root, tmp_path, cli):
    before = snapshot(root)
    for where in (root, root / "sheets"):
        done = cli("data", "check", root, "--sheets", where)
        assert (done.status, "lies in the data" in one_line(done.err)) == (2, True)
    assert snapshot(root) == before
    out = tmp_path / "mine"
    out.mkdir()
    scene(0).save(out / "b.png")
    mine = snapshot(out)
    with pytest.raises(UserError, match=r"b\.png is no contact sheet"):
        data.check(root, sheets=out)
    assert snapshot(out) == mine
    with pytest.raises(UserError, match="is a file"):
        data.check(root, sheets=out / "b.png")


def test_sheets_of_an_archive(root, tmp_path):
    shutil.make_archive(str(tmp_path / "set"), "zip", root)
    report = data.check(tmp_path / "set.zip", sheets=tmp_path / "sheets")
    assert len(report.sheets) == 2
    assert report.layout.endswith("in an archive")


# -- as typed --------------------------------------------------------------------------------------


def test_what_is_said_and_json_with_all_of_it(root, tmp_path, cli):
    for place in range(8):
        (root / "train" / "a" / f"bad{place}.png").write_bytes(b"no")
        shutil.copy(root / "train" / "b" / "1.png", root / "val" / "a" / f"again{place}.png")
    words = ("data", "check", root, "--sheets", tmp_path / "sheets")
    done = cli(*words)
    assert done.status == 0
    said = " ".join(done.out.split())
    for part in (
        "24 train, 16 val",
        "not read 8 images",
        "train/a/bad0.png: not an image",
        "and 3 more, all of them in --json",
        "leaks 8 of 16 val images also in train",
        "train/b/1.png (b) = val/a/again0.png (a)",
        "sheets 2 in ",
        "verdict sound; 8 images not read; 8 val images also in train",
    ):
        assert part in said
    assert max(map(len, done.out.splitlines())) <= 160
    value = json.loads(cli(*words, "--json").out, parse_constant=pytest.fail)
    assert len(value["corrupt"]) == 8
    (group,) = value["duplicates"]
    assert len(group["images"]) == 9
    assert (group["leak"], group["conflict"], group["exact"]) == (True, True, True)
    assert value["sheets"] == [str(tmp_path / "sheets" / n) for n in ("a.png", "b.png")]
    missing = [key for key in value if key not in CheckReport.__doc__]
    assert missing == []
