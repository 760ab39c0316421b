"""Every test gets a cache of the test session, never the user's own; the command line; the marks' skips."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import interpreted
from interpreted import pytest_runtest_protocol  # noqa: F401, a hook

settings.register_profile("fixed", derandomize=True, deadline=None)  # the same examples every time
settings.load_profile("fixed")

# `make test` has a process for each core (pytest-xdist), so each gets one thread: more would only wait for
# each other. Read when torch is imported; a test that is about threads sets them itself.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["COLUMNS"] = "100"  # what is written to a terminal is wrapped here, whoever runs the tests

# What makes a training run as small as it gets: a subprocess then spends its time importing torch. The
# arithmetic is given, so that nothing depends on which one a machine measures as fastest.
PLAIN = (
    *("--threads", "1", "--set", "numerics.precision=fp32"),
    *("--set", "numerics.memory_format=channels_last", "--set", "numerics.compile=off"),
)
TINY = (
    *("demo", "--data", "patterns:200,50", "--epochs", "2", "--set", "batch_size=50"),
    *("--set", "net.widths=[8,8,8]", *PLAIN),
)


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    out: str
    err: str


def pytest_configure(config: pytest.Config) -> None:
    """One cache for the session, before any test module is imported, and all processes of pytest-xdist.

    So packs are made once, kernels are compiled once, and the machine is measured at most once.
    """
    if not hasattr(config, "workerinput"):
        cache = tempfile.mkdtemp(prefix="hotlap-tests-")
        config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
        os.environ["HOTLAP_CACHE"] = cache
    if path := os.environ.get(interpreted.KEPT_IN):
        config.pluginmanager.register(interpreted.Keeper(config, Path(path)))


def run_main(words: tuple[Any, ...]) -> int:
    """The command line in this process; leaves no more behind than a process that ends."""
    from hotlap.cli.main import main

    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    try:
        return main([str(w) for w in words])
    except SystemExit as end:  # argparse's --help and --version
        return int(end.code or 0)
    finally:
        if threads:
            torch.set_num_threads(threads)


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch) -> Callable[..., Done]:
    """`cli("recipes", "list")` in this process, in an empty folder, without the user's data."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("HOTLAP_DATA", raising=False)

    def run(*words: Any) -> Done:
        capsys.readouterr()
        status = run_main(words)
        return Done(status, *capsys.readouterr())

    return run


def command(*words: Any) -> list[str]:
    """The command as a user types it, with the script of this environment if it is installed."""
    script = Path(sysconfig.get_path("scripts")) / "hotlap"
    code = "import sys; from hotlap.cli.main import main; sys.exit(main())"
    start = [str(script)] if script.is_file() else [sys.executable, "-c", code]
    return [*start, *map(str, words)]


def surroundings() -> dict[str, str]:
    """The environment of a subprocess: one thread, and not the user's data."""
    kept = {k: v for k, v in os.environ.items() if k != "HOTLAP_DATA"}
    return {**kept, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def spawn() -> Callable[..., subprocess.Popen[str]]:
    """`spawn("train", ...)`: the command in a process of its own, with its output piped."""

    def start(*words: Any, **keywords: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
        return subprocess.Popen(command(*words), text=True, env=surroundings(), **pipes)

    return start


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a tiny finished run. Not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert run_main(("train", *TINY, "--out", folder)) == 0
    return folder


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory) -> Path:
    """The folder of a tiny run that was stopped after its first step. Not to be changed; copy it."""
    from contextlib import nullcontext

    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hotlap.runs.execute.stop_requests", lambda: nullcontext([2]))
        assert run_main(("train", *TINY, "--out", folder)) == 130
    return folder


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, with what the files hold."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))
    }


def but_guessing(errors: str) -> str:
    """What a run says on stderr, beside that so short a one is no better than guessing."""
    return "".join(x for x in errors.splitlines(keepends=True) if "% is no better than guessing" not in x)


def one_line(text: str) -> str:
    """The text, which must be exactly one line, without traceback."""
    assert text.count("\n") == 1, text
    assert text.endswith("\n")
    return text.rstrip("\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skips = {"gpu": no_gpu, "cifar": no_cifar}
    for mark, reason in skips.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        missing = reason() if marked else None
        for item in marked:
            if missing:
                item.add_marker(pytest.mark.skip(reason=missing))


def no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no CUDA device on this machine"


def no_cifar() -> str | None:
    from hotlap.data.cifar import SETS, locate

    root = os.environ.get("HOTLAP_DATA", "")
    if not root:
        return "HOTLAP_DATA is not set: no CIFAR-10 to test with"
    found = locate(SETS["cifar10"], Path(root).expanduser())
    return None if found else "HOTLAP_DATA holds no CIFAR-10"
