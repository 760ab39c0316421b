"""Tests marked `interpreted` run in a process of their own, with Triton's interpreter, where there is no GPU.

Triton decides when it is imported whether kernels are interpreted, for the whole process: imported before
without, as by torch.compile, it can no longer, and what comes after is not what a user's process does. So all
of a session's marked tests run in one pytest process, and each is reported here as if it had run here.

`TRITON_INTERPRET=1 pytest tests/kernels/test_gpu_kernels.py` runs them in place, as for a debugger.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

KEPT_IN = "HOTLAP_TESTS_REPORTS"  # names the file that the inner process keeps its reports in
LINES = 40  # of what the inner process wrote last, where it did not come to a report
FOUND = pytest.StashKey[dict[str, list[pytest.TestReport]]]()


def in_place() -> bool:
    """Whether the marked tests run in this process: it interprets from its start, or has a GPU."""
    import torch

    return os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not item.get_closest_marker("interpreted") or in_place():
        return None
    if FOUND not in item.session.stash:
        item.session.stash[FOUND] = run_apart(item.session)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in item.session.stash[FOUND][item.nodeid]:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    item.session._setupstate.teardown_exact(nextitem)  # what the test before left for this one
    return True


def run_apart(session: pytest.Session) -> dict[str, list[pytest.TestReport]]:
    """The reports of all marked tests of the session, by test."""
    config, items = session.config, [i for i in session.items if i.get_closest_marker("interpreted")]
    words = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider"]
    with TemporaryDirectory() as folder:
        kept = Path(folder) / "reports"
        kept.touch()
        surroundings = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        done = subprocess.run(
            [*words, *(i.nodeid for i in items)],
            cwd=config.rootpath,
            env={**surroundings, "TRITON_INTERPRET": "1", KEPT_IN: str(kept)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
    found: dict[str, list[pytest.TestReport]] = {i.nodeid: [] for i in items}
    for row in rows:
        report = config.hook.pytest_report_from_serializable(config=config, data=row)
        found[report.nodeid].append(report)
    said = "\n".join(done.stdout.splitlines()[-LINES:])
    for item in items:
        if [r.when for r in found[item.nodeid]][-1:] != ["teardown"]:
            text = f"the process that interprets Triton ended with status {done.returncode}:\n{said}"
            what: dict[str, Any] = {"keywords": {}, "outcome": "failed", "longrepr": text, "when": "call"}
            found[item.nodeid].append(pytest.TestReport(item.nodeid, item.location, **what))
    return found


class Keeper:
    """Writes every report of the inner process down."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.config, self.path = config, path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
