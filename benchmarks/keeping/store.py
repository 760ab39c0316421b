"""Records taken in, and every page that is made from them: what stands on the disk, and what should."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hotlap.files import write_atomic
from keeping import pages, places, results
from keeping.kinds import Given, discover
from keeping.record import README, RECIPES, ROOT, SUMMARY, Record, all_records
from keeping.text import document

HANDBOOK = "docs/handbook"


def keep(name: str, folders: Sequence[Path], given: Given, root: Path = ROOT) -> Record:
    """Take into records/NAME what hotlap left in `folders`, in place of what was there.

    Raises:
        SystemExit: no kind of record is like that, or something is missing.
    """
    for kind in discover().values():
        if all(kind.takes(folder) for folder in folders):
            break
    else:
        raise SystemExit(f"{folders[0]}: none of what hotlap measures; give its folder, or its JSON file")
    facts, files = kind.collect(folders, given)
    folder = root / "records" / name
    if folder.exists():
        shutil.rmtree(folder)
    for path, text in {**files, SUMMARY: document(facts)}.items():
        write_atomic(folder / path, text.encode())
    write_atomic(folder / SUMMARY, pages.summary_of(Record(folder), kind).encode())
    return Record(folder)


def written(root: Path = ROOT) -> dict[Path, str]:
    """Every page that is made from records, by its path, as it should be."""
    kinds, records = discover(), all_records(root / "records")
    made = {}
    for record in records:
        kind = kinds[record["kind"]]
        made[record.folder / SUMMARY] = pages.summary_of(record, kind)
        made[record.folder / README] = pages.readme(record, kind)
    made[root / "records" / README] = pages.index(records, kinds)
    made[root / "docs" / "results.md"] = results.results(records, kinds)
    by_name = {record.name: record for record in records}
    for path in quoting(root):
        up = "../" * (len(path.relative_to(root).parts) - 1)
        made[path] = places.fill(path.read_text(encoding="utf-8"), by_name, up)
    return made


def quoting(root: Path = ROOT) -> list[Path]:
    """The pages that people write, in which records are quoted."""
    return [root / README, *sorted((root / "docs").glob("using.md")), *sorted((root / HANDBOOK).glob("*.md"))]


def stale(root: Path = ROOT, found: Mapping[Path, str] | None = None) -> list[Path]:
    """The pages that are not what records make of them (`found`, if that is known)."""
    pairs = (written(root) if found is None else found).items()
    return [path for path, text in pairs if not path.exists() or path.read_text(encoding="utf-8") != text]


def unnamed(root: Path = ROOT) -> list[Path]:
    """Recipes that no record names any more."""
    folder = root / "records"
    said = "".join((record.folder / SUMMARY).read_text(encoding="utf-8") for record in all_records(folder))
    return [path for path in sorted((folder / RECIPES).glob("*.toml")) if f'"{path.name}"' not in said]


def write(root: Path = ROOT) -> list[Path]:
    """Write every page that has changed."""
    for path in unnamed(root):
        path.unlink()
    found = written(root)
    changed = stale(root, found)
    for path in changed:
        write_atomic(path, found[path].encode())
    return changed
