"""Kinds of record, one file each, found by looking."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeping.record import Record

Files = dict[str, str]


@dataclass(frozen=True)
class Given:
    """What is told of a record beside the folders it is made of.

    Args:
        commands: what was typed, where the folders do not say it.
        note: what one has to know to read its figures.
        timed: which of the folders had the machine to themselves.
    """

    commands: tuple[str, ...] = ()
    note: str = ""
    timed: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Kind:
    """One kind of measurement.

    Args:
        name: as a record's summary has it.
        title: of its section in docs/results.md.
        takes: whether a folder or file that hotlap left is of this kind.
        collect: of such folders, the facts for the summary and the other files, by name.
        figures: what those files come to.
        what: a record in a sentence.
        said: its figures in sentences.
        section: Markdown below the title, of all records of this kind.
        draw: draws a record's pages and pictures into a folder, and says which; None where there are none.
    """

    name: str
    title: str
    takes: Callable[[Path], bool]
    collect: Callable[[Sequence[Path], Given], tuple[dict[str, Any], Files]]
    figures: Callable[[Record], Any]
    what: Callable[[Record], str]
    said: Callable[[Record], list[str]]
    section: Callable[[Sequence[Record]], list[str]]
    draw: Callable[[Record, Path], list[Path]] | None = None


def discover() -> dict[str, Kind]:
    """Every kind by name."""
    found: list[Kind] = [
        importlib.import_module(f"{__name__}.{info.name}").KIND for info in pkgutil.iter_modules(__path__)
    ]
    return {kind.name: kind for kind in found}


def head(kind: str, given: Given, commands: Sequence[str], machine: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that every summary begins with. Where the machine's Python lay is no part of them."""
    told = {k: v for k, v in machine.items() if k != "executable"}
    return {"kind": kind, "commands": [*given.commands] or [*commands], "note": given.note, "machine": told}
