"""Features are computed once an image, whatever it is called and in whatever order it comes."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from hotlap.data.cleaning import clean
from hotlap.transfer.features import FeatureStore, digest, features_of
from hotlap.transfer.trunk import Speed, choose


class Trunk:
    """Counts the images it looks at; its features are three plain numbers of each."""

    def __init__(self):
        self.seen = 0

    def features(self, x):
        self.seen += len(x)
        return torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0], x[:, :, :, -1].sum((1, 2))], 1)


MEAN, STD = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)


def get(trunk, pixels, tmp_path, name="a", mirror=True, ticks=None):
    store = FeatureStore("/photos", name, tmp_path)
    tick = (lambda done, total: ticks.append((done, total))) if ticks is not None else (lambda *_: None)
    return features_of(trunk, pixels, store, mean=MEAN, std=STD, mirror=mirror, tick=tick)


def test_both_views_are_what_the_trunk_makes_of_normalised_pixels(tmp_path):
    pixels = images(3)
    found = get(Trunk(), pixels, tmp_path).values
    x = (
        torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - torch.tensor(MEAN)[:, None, None]
    ) / torch.tensor(STD)[:, None, None]
    wanted = torch.stack([Trunk().features(x), Trunk().features(x.flip(3))], 1)
    assert torch.allclose(found, wanted, rtol=1e-3)  # kept in half precision


def test_what_is_kept_is_not_computed_again_whatever_its_order(tmp_path):
    trunk, pixels, ticks = Trunk(), images(40), []
    first = get(trunk, pixels, tmp_path, ticks=ticks)
    assert (first.computed, first.kept, trunk.seen) == (40, 0, 80)
    assert ticks[-1] == (40, 40)
    again = get(trunk, pixels[::-1].copy(), tmp_path)
    assert (again.computed, again.kept, trunk.seen) == (0, 40, 80)
    assert torch.equal(again.values, first.values.flip(0))
    more = np.concatenate([images(5, seed=1), pixels[10:]])
    grown = get(trunk, more, tmp_path)
    assert (grown.computed, grown.kept, trunk.seen) == (5, 30, 90)


class Stopped(Trunk):
    """Stops, in one way or another, when it has looked at so many images."""

    def __init__(self, after, stop):
        super().__init__()
        self.after, self.stop = after, stop

    def features(self, x):
        if self.seen >= self.after:
            self.stop()
        return super().features(x)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_was_computed_is_kept_when_it_is_interrupted(tmp_path, error):
    def stop():
        raise error

    pixels = images(100)
    with pytest.raises(error):
        get(Stopped(64, stop), pixels, tmp_path, mirror=False)
    trunk = Trunk()
    rest = get(trunk, pixels, tmp_path, mirror=False)
    assert (rest.computed, rest.kept, trunk.seen) == (36, 64, 36)
    whole = get(Trunk(), pixels, tmp_path / "whole", mirror=False)
    assert torch.equal(rest.values, whole.values)
    with pytest.raises(error):  # before anything is done: what is there stays
        get(Stopped(0, stop), images(40, seed=1), tmp_path, mirror=False)
    assert get(Trunk(), pixels, tmp_path, mirror=False).computed == 0


def test_what_was_computed_is_kept_every_few_seconds_against_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr("hotlap.transfer.features.KEPT_EVERY_S", 0.0)
    monkeypatch.setattr("hotlap.transfer.features.WRITING", 1e9)
    pixels = images(100)
    child = os.fork()
    if child == 0:
        get(Stopped(96, lambda: os.kill(os.getpid(), signal.SIGKILL)), pixels, tmp_path, mirror=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert get(Trunk(), pixels, tmp_path, mirror=False).computed == 4


def test_writing_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    writes, clock = [], [0.0]
    monkeypatch.setattr("hotlap.transfer.features.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(FeatureStore, "write", lambda self, held: writes.append((clock[0], len(held))))

    def slowly():
        clock[0] += 4.0  # seconds a batch

    get(Stopped(0, slowly), images(32 * 10), tmp_path, mirror=False)
    assert writes == [(12.0, 96), (24.0, 192), (36.0, 288), (40.0, 320)]
    writes.clear()

    def write(self, held):
        writes.append(len(held))
        clock[0] += 1.0

    monkeypatch.setattr(FeatureStore, "write", write)
    get(Stopped(0, slowly), images(32 * 10, seed=1), tmp_path, mirror=False)
    assert writes == [96, 288, 320]  # a second every 20


def test_another_trunk_or_another_number_of_views_is_another_store(tmp_path):
    trunk, pixels = Trunk(), images(4)
    get(trunk, pixels, tmp_path, "lite0, mirror")
    get(trunk, pixels, tmp_path, "lite2, mirror")
    assert trunk.seen == 16
    plain = get(trunk, pixels, tmp_path, "lite0, plain", mirror=False)
    assert plain.values.shape == (4, 1, 3)


def test_the_same_picture_twice_is_looked_at_once(tmp_path):
    trunk = Trunk()
    pixels = np.repeat(images(1), 5, axis=0)
    assert get(trunk, pixels, tmp_path).values.shape == (5, 2, 3)
    assert trunk.seen == 2


@pytest.mark.parametrize("damage", [b"", b"no tensors", None])
def test_a_damaged_store_is_made_again(tmp_path, damage):
    trunk, pixels = Trunk(), images(3)
    get(trunk, pixels, tmp_path)
    path = FeatureStore("/photos", "a", tmp_path).path
    path.write_bytes(path.read_bytes()[:50] if damage is None else damage)
    assert get(trunk, pixels, tmp_path).computed == 3
    assert get(trunk, pixels, tmp_path).computed == 0


def test_a_digest_is_of_pixels_and_shape():
    a = images(1)[0]
    assert digest(a) == digest(a.copy())
    assert digest(a) != digest(a.reshape(5, 6, 3))
    b = a.copy()
    b[0, 0, 0] ^= 1
    assert digest(a) != digest(b)


def test_the_largest_trunk_that_there_is_time_for():
    speeds = {"lite0": Speed("bf16", 100.0), "lite1": Speed("bf16", 60.0), "lite2": Speed("bf16", 40.0)}
    assert choose(800, 25.0, speeds) == "lite2"
    assert choose(1200, 25.0, speeds) == "lite1"
    assert choose(2000, 25.0, speeds) == "lite0"
    assert choose(10**6, 25.0, speeds) == "lite0"  # nothing fits: the smallest
    assert choose(800, 25.0, {"lite1": Speed("fp32", 60.0)}) == "lite1"


def test_features_of_images_that_are_gone_are_cleaned_away(tmp_path):
    (tmp_path / "photos").mkdir()
    for origin in (tmp_path / "photos", tmp_path / "gone"):
        features_of(
            Trunk(),
            images(3),
            FeatureStore(str(origin), "t", tmp_path / "c"),
            mean=MEAN,
            std=STD,
            mirror=False,
        )
    (removed,) = clean(tmp_path / "c")
    assert removed.reason == f"its source {tmp_path / 'gone'} is gone"
    assert FeatureStore(str(tmp_path / "photos"), "t", tmp_path / "c").read()
    assert not FeatureStore(str(tmp_path / "gone"), "t", tmp_path / "c").read()
