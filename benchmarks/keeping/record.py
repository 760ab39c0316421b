"""A record: a folder of records/ with `summary.json`, what it was made of, and a README made from both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from hotlap.files import slug

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "records"
SUMMARY = "summary.json"
README = "README.md"
RECIPES = "recipes"  # of records/: every resolved recipe that a record was made with, each once


@dataclass(frozen=True)
class Record:
    """The record in `folder`.

    Its summary says what it is (`kind`), how it was made (`commands`), a `note` or an empty string, the
    `machine`, and in `figures` what the rest of the folder comes to.
    """

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def summary(self) -> dict[str, Any]:
        return self.json(SUMMARY)

    def __getitem__(self, key: str) -> Any:
        return self.summary[key]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The objects in a file of JSON lines."""
        return [json.loads(t) for t in (self.folder / name).read_text(encoding="utf-8").splitlines()]

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))

    def recipe(self, file: str) -> str:
        """A resolved recipe that the summary names."""
        return (self.folder.parent / RECIPES / file).read_text(encoding="utf-8")


def all_records(root: Path = RECORDS) -> list[Record]:
    """Every record, by name."""
    return [Record(path.parent) for path in sorted(root.glob(f"*/{SUMMARY}"))]


def recipe_file(text: str) -> str:
    """What a resolved recipe's file is called: its name, and six digits of what it says."""
    name = next(t for t in text.splitlines() if t.startswith("name = ")).partition(" = ")[2].strip('"')
    return f"{slug(name)}-{sha256(text.encode()).hexdigest()[:6]}.toml"


def machine(facts: Mapping[str, Any]) -> str:
    """The machine in words: `2 cores of AMD EPYC (AVX512-BF16), torch 2.13.0`."""
    return f"{facts['cores']} cores of {processor(facts)}, torch {facts['torch'].partition('+')[0]}"


def processor(facts: Mapping[str, Any]) -> str:
    """`AMD EPYC (AVX512-BF16)`: what it is called, and which of its instructions matter most; or the GPU."""
    if facts.get("gpus"):
        return str(facts["gpus"][0])
    name = facts["cpu"].replace("(R)", "").removesuffix(" Processor")
    names = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "avx512f": "AVX-512", "avx2": "AVX2"}
    best = next((said for key, said in names.items() if key in facts["cpu_features"]), "")
    held = f"held to {facts['imitates'].partition(' ')[0]}" if "imitates" in facts else best
    return f"{name} ({held})" if held else name


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table without the columns that are empty throughout."""
    lines = [tuple(head), *map(tuple, rows)]
    filled = [i for i in range(len(lines[0])) if any(row[i] for row in lines[1:])]
    made = [f"| {' | '.join(row[i] for i in filled)} |" for row in lines]
    return [made[0], "|---" * len(filled) + "|", *made[1:]]
