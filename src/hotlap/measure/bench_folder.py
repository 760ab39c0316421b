"""A benchmark's folder: what it is of, and its runs, each there as soon as it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hotlap.errors import UserError
from hotlap.files import RUN_MEND, read_error, why, write_atomic, write_error
from hotlap.measure.standings import Timed


@dataclass(frozen=True)
class Sitting:
    """What a benchmark is of, and what it is measured on.

    Args:
        contenders: by name, a recipe's resolved text or a peer's command.
        data: the set that all train on.
        seed: of the first round.
        device: as `cpu`.
        command: what was typed.
        peaks: FLOP/s of the machine's fastest convolution, by arithmetic.
        facts: the machine, as `machine_facts` has it.
    """

    contenders: Mapping[str, str]
    data: str
    seed: int
    device: str
    command: str
    peaks: Mapping[str, float]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class BenchFolder:
    """The folder at `path`, which need not be there yet."""

    path: Path

    @property
    def facts_path(self) -> Path:
        return self.path / "bench.json"

    @property
    def runs_path(self) -> Path:
        return self.path / "runs.jsonl"

    def start(self, key: dict[str, Any], facts: dict[str, Any]) -> None:
        """Write what the benchmark is of (`key`, as `peaks_held` compares it) and what was measured first."""
        write_atomic(self.facts_path, (json.dumps({**key, **facts}, indent=1) + "\n").encode())

    def peaks_held(self, key: dict[str, Any]) -> dict[str, float] | None:
        """The machine's peaks that were measured when this very benchmark was started; None if none was.

        Raises:
            UserError: the folder holds something else, or a benchmark that differs in what `key` says.
        """
        path = self.facts_path
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: is a file; choose another --out")
        if not path.exists():
            if self.path.exists() and any(self.path.iterdir()):
                raise UserError(f"{self.path}: is not empty and holds no benchmark; choose another --out")
            return None
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            old, peaks = held["contenders"], dict(held["peaks"])
            names = [c["name"] for c in old]
        except OSError as error:
            raise read_error(error, path) from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: damaged; choose another --out") from None
        where = {
            "machine": "on another machine",
            "device": "on another device",
            "data": "on other data",
            "seed": f"from seed {held.get('seed')} on",
        }
        for name, what in where.items():
            if held.get(name) != key[name]:
                raise UserError(f"{self.path}: was measured {what}; choose another --out")
        if names != [c["name"] for c in key["contenders"]]:
            raise UserError(f"{self.path}: is of {', '.join(names)}; choose another --out")
        words = {"text": "recipe", "seconds": "--peer-seconds", "accuracy": "--peer-accuracy"}
        for before, now in zip(old, key["contenders"], strict=True):
            for changed in (k for k in now if before.get(k) != now[k]):
                raise UserError(
                    f"{self.path}: {now['name']} had another {words.get(changed, changed)} there;"
                    " choose another --out"
                )
        return peaks

    def runs(self) -> list[Timed]:
        """The runs so far, in the order in which they were done.

        Raises:
            UserError: the file of runs is damaged.
        """
        try:
            text = self.runs_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise read_error(error, self.runs_path) from None
        whole, _, torn = text.rpartition("\n")
        if torn:  # a process that was killed left half a line: that run is done again
            write_atomic(self.runs_path, (whole + "\n" if whole else "").encode())
        try:
            return [Timed(**json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.runs_path}: damaged ({why(error)}); choose another --out") from None

    def append(self, runs: Sequence[Timed]) -> None:
        """Add the runs of a launch, on the disk when this returns."""
        lines = "".join(json.dumps(asdict(run)) + "\n" for run in runs)
        try:
            with self.runs_path.open("a", encoding="utf-8") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(error, self.runs_path, RUN_MEND) from error
