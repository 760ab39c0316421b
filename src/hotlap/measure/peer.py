"""Another program in a benchmark: how it is run, and what it says of its own runs."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotlap.errors import UserError
from hotlap.files import RUN_MEND, why, write_error


@dataclass(frozen=True)
class Peer:
    """Another program.

    Args:
        name: in tables.
        command: shell words, run without a shell; `{seed}` in them is replaced.
        seconds, accuracy: regular expressions whose first group is read in what it prints, for a peer that
            ends without the JSON object; accuracy is in percent. Each match is a run.
    """

    name: str
    command: str
    seconds: str | None = None
    accuracy: str | None = None

    def words(self, seed: int) -> list[str]:
        """The command with its seed.

        Raises:
            UserError: it is no command.
        """
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise UserError(f"--peer {self.name}: {error} in {self.command!r}; quote it whole") from None
        if not words:
            raise UserError(f"--peer {self.name}: no command; give it as --peer {self.name}='python x.py'")
        return [word.replace("{seed}", str(seed)) for word in words]


@dataclass(frozen=True)
class Reading:
    """What a peer says of one run: percent, and seconds if it says them."""

    accuracy: float
    train_s: float | None = None
    eval_s: float | None = None


def check_expressions(peer: Peer) -> None:
    for option, text in (("--peer-seconds", peer.seconds), ("--peer-accuracy", peer.accuracy)):
        try:
            groups = re.compile(text or "()").groups
        except re.error as error:
            raise UserError(f"{option} {text!r}: {error}; give a regular expression") from None
        if not groups:
            raise UserError(f"{option} {text!r}: put the number in a group, as in 'accuracy ([0-9.]+)'")
    if peer.seconds and not peer.accuracy:
        raise UserError("--peer-seconds: give --peer-accuracy too, so that each run has both")


def execute(peer: Peer, seed: int, base: Path, threads: int | None) -> tuple[float, int]:
    """A peer's wall seconds and exit status; what it prints goes to `base`.out and `base`.err.

    Raises:
        UserError: it cannot be started, or its output not be written.
    """
    words, surroundings = peer.words(seed), dict(os.environ)
    if threads:
        surroundings["OMP_NUM_THREADS"] = str(threads)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        out, err = (base.with_name(f"{base.name}.{kind}").open("wb") for kind in ("out", "err"))
    except OSError as error:
        raise write_error(error, base, RUN_MEND) from error
    with out, err:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=surroundings
            )
        except OSError as error:
            raise UserError(
                f"--peer {peer.name}: cannot start {words[0]!r}: {why(error)}; check the command"
            ) from None
        try:
            status = process.wait()
        except BaseException:  # a signal: the peer must not go on alone
            process.kill()
            process.wait()
            raise
        return time.perf_counter() - start, status


def read_peer(peer: Peer, out: str, where: str) -> list[Reading]:
    """What a peer printed of its runs; empty if nothing of it can be read.

    Args:
        out: all of its stdout.
        where: what a mistake is said of.

    Raises:
        UserError: numbers that cannot be right, or as many seconds as accuracies are not there.
    """
    lines = [line for line in out.splitlines() if line.strip()]
    said = None
    with suppress(ValueError, IndexError):
        said = json.loads(lines[-1])
    if isinstance(said, dict) and "accuracy" in said:
        seconds_said = {k: said[k] for k in ("train_s", "eval_s") if said.get(k) is not None}
        raw = [{"accuracy": said["accuracy"], **seconds_said}]
    elif peer.accuracy:
        raw = [{"accuracy": m.group(1)} for m in re.finditer(peer.accuracy, out, re.MULTILINE)]
        if peer.seconds:
            seconds = [m.group(1) for m in re.finditer(peer.seconds, out, re.MULTILINE)]
            if len(seconds) != len(raw):
                raise UserError(
                    f"{where}: --peer-seconds is found {len(seconds)} times and --peer-accuracy {len(raw)};"
                    " they must be found equally often"
                )
            raw = [{**r, "train_s": s} for r, s in zip(raw, seconds, strict=True)]
    else:
        return []
    return [reading(r, where) for r in raw]


def reading(raw: dict[str, Any], where: str) -> Reading:
    """Numbers of what a peer said.

    Raises:
        UserError: they are none, or cannot be right.
    """
    numbers = {}
    for key, value in raw.items():
        try:
            numbers[key] = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            numbers[key] = math.nan
        possible = numbers[key] > 0 or (key == "eval_s" and numbers[key] == 0)
        if key != "accuracy" and not (possible and numbers[key] < math.inf):
            raise UserError(f"{where}: {key} {value!r} is no number of seconds")
    accuracy = numbers["accuracy"]
    if not 0 <= accuracy <= 100:
        raise UserError(f"{where}: accuracy {raw['accuracy']!r} is no percentage")
    if 0 < accuracy <= 1:
        raise UserError(f"{where}: accuracy {raw['accuracy']!r} looks like a share; give it in percent")
    return Reading(**numbers)
