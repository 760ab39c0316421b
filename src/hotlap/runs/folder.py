"""A run's folder: its name, what is in it from the start, and the run it was."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hotlap.data.dataset import Dataset
from hotlap.engine.program import Program
from hotlap.errors import UserError
from hotlap.files import RUN_MEND, slug, write_atomic, write_error
from hotlap.machine.facts import machine_facts
from hotlap.machine.numerics import Numerics
from hotlap.machine.processor import processors
from hotlap.recipes import find
from hotlap.runs.checkpoint import STATE
from hotlap.runs.reporter import Row
from hotlap.runs.run import Run
from hotlap.spec import DataSpec

SUMMARY = "summary.json"


def default_folder(recipe: str, data: str, seed: int) -> Path:
    """`runs/RECIPE-DATA-sSEED-TIME`, not there yet."""
    name = f"{recipe}-{data}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    base = Path("runs") / slug(name)
    folder, n = base, 1
    while folder.exists():
        n += 1
        folder = base.with_name(f"{base.name}-{n}")
    return folder


def check_free(run: Run) -> None:
    """Whether a run may start in its folder: there is none yet, or nothing in it.

    Raises:
        UserError: something is there.
    """
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"{run.folder}: is a file; choose another --out")
    if run.folder.exists() and any(run.folder.iterdir()):
        raise UserError(f"{run.folder}: is not empty; choose another --out, or resume it: {run.resume_line}")


def check_room(folder: Path, program: Program) -> None:
    """Whether the disk has room for what the run will write: its state, twice while it is replaced.

    Raises:
        UserError: it has not.
    """
    needed = 2 * sum(t.numel() * t.element_size() for t in program.state().values())
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return
    if free < needed:
        raise UserError(
            f"{folder}: the run will write {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free;"
            f" {RUN_MEND}"
        )


def only_begun(folder: Path) -> bool:
    """Whether a run was stopped before its first saved state: what was done till then is done again."""
    return not any((folder / name).exists() for name in (STATE, SUMMARY))


def write_start(run: Run, program: Program) -> None:
    """The resolved recipe, and what `reopen` needs beside it."""
    backend = program.backend
    environment = {
        "data": run.data,
        "loading": dict(run.loading),
        "minutes": run.minutes,
        "data_dir": str(run.data_dir.expanduser().absolute()) if run.data_dir else None,
        "seed": run.seed,
        "eval_every": run.eval_every,
        "device": str(backend.device),
        "precision": backend.precision,
        "memory_format": backend.memory_format,
        "compile": "on" if backend.compile else "off",
        "kernels": backend.kernels,
        "why": backend.why,
        "machine": machine_facts(),
        "spec": asdict(program.dataset.spec),
        **described(program.dataset),
        "base": run.recipe.base,
        "command": run.command,
    }
    names = list(program.dataset.spec.class_names)
    write_atomic(
        run.folder / "classes.json", (json.dumps(names, ensure_ascii=False, indent=0) + "\n").encode()
    )
    write_atomic(run.folder / "recipe.toml", run.recipe.text().encode())
    write_atomic(run.folder / "environment.json", (json.dumps(environment, indent=1) + "\n").encode())


def described(dataset: Dataset) -> dict[str, Any]:
    """What of a data set a run's folder keeps for its report, beside the spec."""
    held = {name: len(split) for name, split in dataset.held.items()}
    return {
        "origin": dataset.origin,
        "test_split": dataset.test_split,
        "splits": {"train": len(dataset.train), dataset.test_split: len(dataset.test), **held},
        "facts": dataset.facts.as_json() if dataset.facts else None,
    }


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """What the run came to."""
    write_atomic(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())


def write_rows(folder: Path, rows: list[Row]) -> None:
    """The run's history, in place of what was there."""
    write_atomic(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def append_row(folder: Path, row: Row) -> None:
    """Add an epoch to the run's history."""
    path = folder / "metrics.jsonl"
    try:
        with path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
    except OSError as error:
        raise write_error(error, path, RUN_MEND) from error


def spec_of(folder: Path) -> DataSpec | None:
    """What the images of the run in a folder are; None if there is no run.

    Raises:
        UserError: what is there does not read.
    """
    path = folder / "environment.json"
    try:
        return DataSpec.from_json(json.loads(path.read_text(encoding="utf-8"))["spec"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); start the run again") from None


def reopen(folder: Path) -> Run:
    """The run in a folder, with the data, seed, device and arithmetic it was started with.

    Raises:
        UserError: if the folder holds no run.
    """
    path = folder / "environment.json"
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
        recipe = find(str(folder / "recipe.toml"))
        numerics = Numerics(
            **{k: environment[k] for k in ("precision", "memory_format", "compile", "kernels")}
        )
        data_dir = environment["data_dir"]
        return Run(
            recipe,
            environment["data"],
            environment["seed"],
            folder,
            environment["device"],
            Path(data_dir) if data_dir else None,
            min(environment["machine"]["threads"], processors()),  # it may go on on a smaller machine
            environment["eval_every"],
            numerics,
            environment.get("command", ""),
            environment.get("loading", {}),
            environment.get("minutes"),
        )
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no run there (environment.json is missing); give a run's folder"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); start the run again") from None
