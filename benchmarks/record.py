"""Keep what was measured as a record, and write every page that quotes records.

    python benchmarks/record.py NAME FOLDER [FOLDER ...] [--timed FOLDER ...] [--note TEXT] [--command TEXT]
    python benchmarks/record.py
    python benchmarks/record.py --draw NAME [--out DIR]

The first takes into records/NAME what hotlap left: runs' folders of one recipe, a folder of `hotlap bench`,
folders of `hotlap profile` or `hotlap explain`, of benchmarks/search/search.py, or a JSON file of `hotlap
ladder --json` or a script of benchmarks/; beside runs' folders, what `muon_port.py --watch` printed. A run
that missed its target counts like any other; seconds are quoted only of those named after --timed, which had
the machine to themselves. Then, as the second does, it writes each record's README and summary,
records/README.md, docs/results.md, and the places of README.md, docs/using.md and docs/handbook that figures
stand in (keeping/places.py). The third draws a record's pages and pictures again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from keeping import store
from keeping.kinds import Given, discover
from keeping.record import RECORDS, ROOT, Record


def draw(name: str, out: Path | None) -> list[Path]:
    """The pages and pictures of a record, drawn again."""
    record = Record(RECORDS / name)
    if not record.folder.is_dir():
        raise SystemExit(f"no record called {name!r}; `ls records`")
    kind = discover()[record["kind"]]
    if kind.draw is None:
        raise SystemExit(f"{name}: has no pages but its README and its part of docs/results.md")
    return kind.draw(record, out or Path("runs") / f"drawn-{name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="of the record")
    parser.add_argument("folders", nargs="*", type=Path, help="what it is made of")
    parser.add_argument("--timed", nargs="*", type=Path, default=[], help="had the machine to themselves")
    parser.add_argument("--note", default="", help="what one has to know to read its figures")
    parser.add_argument("--command", action="append", default=[], help="what was typed; repeatable")
    parser.add_argument("--draw", metavar="NAME", help="draw this record's pages again")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where (default: runs/drawn-NAME)")
    args = parser.parse_args()
    if args.draw:
        changed = draw(args.draw, args.out)
    elif args.name and not args.folders:
        parser.error("give the folders that the record is made of")
    else:
        if args.name:
            given = Given(tuple(args.command), args.note.rstrip("."), tuple(args.timed))
            store.keep(args.name, args.folders, given)
        changed = store.write()
    for path in changed:
        print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    main()
