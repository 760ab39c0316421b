"""A cache that cannot be kept, a disk without room, and what of the cache nobody needs any more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import pytest

from conftest import TINY, one_line, surroundings
from hotlap import data
from hotlap.data.packed import write_pack
from hotlap.errors import UserError
from hotlap.files import temporary_cache, user_cache, writable_or_temporary

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def no_cache_variables(monkeypatch):
    monkeypatch.delenv("HOTLAP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for memory in (writable_or_temporary, temporary_cache):
        memory.cache_clear()
    yield monkeypatch
    for memory in (writable_or_temporary, temporary_cache):
        memory.cache_clear()


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_a_cache_that_cannot_be_made_is_a_temporary_folder_and_said_once(
    no_cache_variables, tmp_path, variable
):
    (tmp_path / "file").write_text("in the way")
    no_cache_variables.setenv(variable, str(tmp_path / "file" / "home"))
    with pytest.warns(UserWarning, match="cannot be made .* set HOTLAP_CACHE to one that stays") as said:
        folders = {user_cache() for _ in range(3)}
    assert len(said) == 1
    (folder,) = folders
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700  # nobody else puts a library there


def test_a_folder_that_was_named_is_never_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HOTLAP_CACHE", str(tmp_path / "file" / "cache"))
    assert user_cache() == tmp_path / "file" / "cache"
    with pytest.raises(UserError, match="set HOTLAP_CACHE"):
        data.load("patterns:20,10")


def test_a_run_goes_on_without_a_cache_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "tmp").mkdir()
    changed = {"HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "tmp")}
    kept = {k: v for k, v in surroundings().items() if k not in ("HOTLAP_CACHE", "XDG_CACHE_HOME")}
    code = "from hotlap import data; print(len(data.load('patterns:20,10').train))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **changed}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "20\n"
    assert done.stderr.count("cannot be made") == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_disk_without_room_is_said_before_the_first_step(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 1000, 1000))
    done = cli("train", *TINY, "--out", tmp_path / "run")
    assert done.status == 2
    text = one_line(done.err.splitlines(keepends=True)[-1])
    assert text.startswith(f"hotlap: {tmp_path / 'run'}: the run will write ")
    assert text.endswith("MB and 0 MB are free; free space there, or choose another folder")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10**9))
    assert cli("train", *TINY, "--out", tmp_path / "run").status == 0


def test_clean_removes_what_has_no_source_and_says_what_it_frees(cli, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("HOTLAP_CACHE", str(cache))
    made = data.get("patterns:20,10")
    gone, here = (made.with_name(f"{n}.pack") for n in ("gone", "here"))
    for path, origin in ((gone, tmp_path / "gone"), (here, tmp_path)):
        write_pack(path, replace(data.load("patterns:20,10"), origin=str(origin)), "{}")
    half, broken = made.with_name("half.pack.tmp"), made.with_name("broken.pack")
    half.write_bytes(b"x" * 2_000_000)
    broken.write_bytes(b"not a pack")
    dry = cli("data", "clean", "--dry-run")
    assert dry.status == 0
    assert dry.out.splitlines()[-1].startswith("would free 2.")
    assert gone.exists()
    done = cli("data", "clean")
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == "half.pack.tmp: half written, 2.0 MB"
    assert any(line == f"gone.pack: its source {tmp_path}/gone is gone, 0.1 MB" for line in lines)
    assert any(line.startswith("broken.pack: does not read") for line in lines)
    assert lines[-1].startswith("freed 2.")
    assert sorted(p.name for p in made.parent.iterdir()) == sorted([made.name, "here.pack"])
    assert cli("data", "clean").out == "nothing to remove\n"
