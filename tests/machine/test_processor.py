"""What is known of a processor and of the C library where the operating system is not Linux with glibc."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from hotlap.errors import UserError
from hotlap.machine.allocator import tune_allocator
from hotlap.machine.processor import check_threads, cpu_name, processors


def test_a_processor_is_named_by_linux_or_by_what_python_knows(monkeypatch):
    text = "processor\t: 0\nmodel name\t: Some Processor: 2 GHz \nmodel name\t: another\n"
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert cpu_name() == "Some Processor: 2 GHz"
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(Path, "read_text", lambda self: "processor\t: 0\n")  # as on many ARM machines
    assert cpu_name() == "arm"

    def missing(self):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert cpu_name() == "arm"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert cpu_name() == "arm64"


def test_processors_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert processors() == 8
    check_threads(None)
    check_threads(8)
    for threads in (0, 9):
        with pytest.raises(
            UserError, match=f"^--threads {threads}: there are 8 processors to run on; give 1 t"
        ):
            check_threads(threads)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors() == 1
    with pytest.raises(UserError, match=r"^--workers 2: there are 1 processors to run on; give 1$"):
        check_threads(2, "--workers")


def test_an_allocator_is_told_only_where_it_can_be(monkeypatch):
    told = []

    def library(answer: int):
        return lambda _: SimpleNamespace(mallopt=lambda *what: (told.append(what), answer)[1])

    monkeypatch.setattr(ctypes, "CDLL", library(1))
    assert tune_allocator() == "freed memory is kept (mallopt)"
    assert told == [(-4, 0), (-1, -1), (-2, 64 << 20)]  # <malloc.h>: no maps, no trimming, much on top
    monkeypatch.setattr(ctypes, "CDLL", library(0))
    assert tune_allocator() == "default allocator (mallopt refused)"
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())  # as musl's
    assert tune_allocator() == "default allocator (no mallopt in this C library)"
