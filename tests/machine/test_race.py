"""What is fastest is found in little time, said once, and kept: nothing is measured on the second start."""

from __future__ import annotations

import json
import time
from functools import partial

import pytest
import torch

import hotlap
from hotlap.machine import choices, race, telling
from hotlap.machine.kernels import build, choice, frozen
from hotlap.runs.reporter import Reporter


class Clock:
    """Time that passes only while a call is timed: an entrant's seconds an image times its images."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(race.time, "perf_counter", lambda: self.now)

    def entrant(self, name: str, image_s: float):
        return lambda images: partial(self.run, name, images, image_s * images)

    def run(self, name: str, images: int, took: float) -> None:
        self.calls.append((name, images, torch.get_num_threads()))
        self.now += took


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def test_the_best_is_found_and_the_others_are_in_proportion(clock):
    entrants = {n: clock.entrant(n, s) for n, s in (("a", 1e-3), ("b", 1.2e-3), ("c", 3e-3))}
    took = race.race(entrants, (2, 16, 64), 10.0)
    assert took == pytest.approx({"a": 0.064, "b": 0.0768, "c": 0.192})
    assert {images for name, images, _ in clock.calls if name == "c"} == {2}, "far behind, yet tried on more"
    assert {images for name, images, _ in clock.calls if name == "b"} == {2, 16, 64}


def test_a_slow_one_costs_its_first_small_step_and_no_more(clock):
    took = race.race(
        {"fast": clock.entrant("fast", 1e-3), "slow": clock.entrant("slow", 0.2)}, (2, 16, 64), 3.0
    )
    assert [c[:2] for c in clock.calls if c[0] == "slow"] == [("slow", 2)]
    assert took["slow"] == pytest.approx(200 * took["fast"])


def test_what_a_first_call_makes_ready_does_not_count(clock):
    late = iter([0.2])

    def ready(images):
        return lambda: clock.run("ready", images, 1e-3 * images + next(late, 0.0))

    took = race.race({"other": clock.entrant("other", 1.1e-3), "ready": ready}, (2, 16, 64), 3.0)
    assert took == pytest.approx({"other": 0.0704, "ready": 0.064})


def test_the_budget_is_kept_and_who_had_no_turn_has_no_result(clock):
    entrants = {n: clock.entrant(n, 0.1) for n in "abcd"}
    took = race.race(entrants, (2, 16, 64), 0.7)
    assert list(took) == ["a", "b"]
    assert clock.now < 0.7 + 0.2  # a call that has begun is ended
    assert {images for _, images, _ in clock.calls} == {2}


def test_few_images_run_on_one_thread_and_more_on_all(clock):
    torch.set_num_threads(2)
    try:
        race.race({n: clock.entrant(n, 1e-4) for n in "ab"}, (2, 16), 1.0)
        assert {(images, threads) for _, images, threads in clock.calls} == {(2, 1), (16, 2)}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_busy_moment_does_not_decide(clock):
    late = iter([0.0, 5e-3])

    def busy(images):
        return lambda: clock.run("busy", images, 1e-3 * images + next(late, 0.0))

    took = race.race({"busy": busy, "other": clock.entrant("other", 1.3e-3)}, (2, 16), 1.0)
    assert took["busy"] < took["other"]


def test_a_tile_unit_does_not_lose_for_being_given_a_few_images(clock):
    """It takes thirty-two images at a time: four cost it as much (amx.cpp). The seconds are a Xeon's."""

    def tiles(images):
        return clock.entrant("tiles", 11.5e-3)(-(-images // 32))

    took = race.race({"tiles": tiles, "library": clock.entrant("library", 0.6e-3)}, choice.SIZES["cpu"], 0.5)
    assert took["tiles"] < took["library"]


def test_arithmetic_in_software_is_dropped_at_once(tmp_path, monkeypatch):
    taken = []

    def step(c, images):
        taken.append((c[0], images))
        return lambda: time.sleep(images * (0.1 if c[0] == "bf16" else 1e-4))

    monkeypatch.setattr(choices, "step", step)
    monkeypatch.setattr(choices, "cpu_features", lambda: ["avx2"])
    start = time.perf_counter()
    found = choices.measured_choices(tmp_path)
    assert time.perf_counter() - start < race.TOTAL_S
    assert min(found, key=found.get)[0] == "fp32"
    assert taken[0] == ("fp32", 2), "the likeliest comes first"
    assert {images for precision, images in taken if precision == "bf16"} == {2}


class Listener(Reporter):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_what_happens_once_is_said_once_and_not_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "cache"))
    fresh = {torch.bfloat16: build.library.__wrapped__, torch.float32: build.library_fp32.__wrapped__}
    monkeypatch.setattr(choice, "library_of", lambda dtype: fresh[dtype]())
    monkeypatch.setattr(choices, "SIZES", (1,))
    monkeypatch.setattr(choice, "SIZES", {"cpu": (4,)})
    told, clocks = [], []
    for i in range(2):
        listener = Listener()
        done = hotlap.train(
            "demo",
            data="patterns:200,50",
            epochs=1.0,
            batch_size=50,
            net__widths=[16, 16, 16],
            device="cpu",
            out=tmp_path / str(i),
            reporter=listener,
        )
        told.append([n for n in listener.notes if n in (telling.MEASURING, telling.BUILDING)])
        clocks.append(done.clocks)
    assert told[0].count(telling.MEASURING) == 1
    compiled = any(map(build.shutil.which, build.COMPILERS))
    assert told[0].count(telling.BUILDING) == compiled
    assert told[1] == []
    assert clocks[1]["compile"] < 0.1 < clocks[0]["compile"], "measured or built again, or on another clock"


def test_whether_our_own_pays_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path))
    pays = frozen.pays.__wrapped__(torch.float32, 1)
    assert isinstance(pays, bool)
    (kept,) = tmp_path.glob("frozen-*.json")
    assert json.loads(kept.read_text()) is pays
    kept.write_text(json.dumps(not pays))
    monkeypatch.setattr(frozen, "race", None)
    assert frozen.pays.__wrapped__(torch.float32, 1) is not pays
