"""Write the ladder's tables into the handbook, from a record.

    hotlap ladder page --out runs/ladder --json > records/ladder-cpu/ladder.json
    cp runs/ladder/ladder.svg docs/handbook/pictures/ladder.svg
    python benchmarks/handbook.py [records/ladder-cpu/ladder.json]

In docs/handbook/*.md, what stands between `<!-- ladder: RUNG RUNG ... -->` and `<!-- end -->` is replaced by
a table of those rungs.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from hotlap.recipes import BUILTIN

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- ladder: ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = ("rung", "epochs", "images/s", "waiting", "seconds here", "bought here", "accuracy here")
COLUMNS = (*COLUMNS, "Page: seconds", "bought", "accuracy")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"


def table(names: list[str], rungs: dict[str, dict], source: str) -> str:
    rows = []
    for name in names:
        r = rungs[name]
        p, published = r["projection"], r["published"]
        bought = "" if r["bought_s"] is None else f"{r['bought_s']:,.0f} ({100 * r['bought_share']:.0f}%)"
        runs = "" if len(r["runs"]) < 2 else f" (n={len(r['runs'])})"
        cells = (
            f"`{name}`",
            f"{r['epochs']:g}",
            f"{p['images_per_s']:,.0f}",
            f"{100 * p['wait_share']:.0f}%",
            f"~{r['seconds']:,.0f}",
            bought,
            "" if r["accuracy"] is None else f"{r['accuracy']:.2f}{runs}",
            f"{published['seconds']:g}",
            "" if r["published_bought_s"] is None else f"{r['published_bought_s']:g}",
            f"{published['accuracy']:g}",
        )
        rows.append(f"| {' | '.join(cells)} |\n")
    note = f"\n`hotlap ladder page`, {source}; written by `python benchmarks/handbook.py`.\n"
    return "\n" + HEAD + "".join(rows) + note + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    record = ROOT / "records" / "ladder-cpu" / "ladder.json"
    parser.add_argument("record", nargs="?", type=Path, default=record)
    path = parser.parse_args().record.resolve()
    rungs = {r["name"]: r for r in json.loads(path.read_text())["rungs"]}
    assert set(rungs) <= set(BUILTIN), "the record has a rung that is no recipe"
    source = f"[{path.parent.name}](../../records/{path.parent.name}/)"
    for page in sorted((ROOT / "docs" / "handbook").glob("*.md")):
        old = page.read_text()
        new = PLACE.sub(lambda m: m[1] + table(m[2].split(), rungs, source) + m[3], old)
        if new != old:
            page.write_text(new)
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
