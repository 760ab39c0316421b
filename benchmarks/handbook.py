"""Write the ladder's tables into the handbook, from records, and draw its nets.

    hotlap ladder page --out runs/ladder --json > records/ladder-cpu/ladder.json
    cp runs/ladder/ladder.svg docs/handbook/pictures/ladder.svg
    hotlap ladder 'page/0[1-5]*' --set 'net.widths=[2,2,2,2]' --seconds 6 --json \\
        > records/ladder-loading-cpu/ladder.json
    python benchmarks/handbook.py

In docs/handbook/*.md, what stands between `<!-- ladder RECORD: RUNG RUNG ... -->` and `<!-- end -->` is
replaced by a table of those rungs from records/RECORD/ladder.json, and between `<!-- net RUNG RUNG ... -->`
and `<!-- end -->` by pictures of their nets, in colour where one differs from that of the rung before it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from hotlap import draw_net

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- ladder (\S+): ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
NETS = re.compile(r"(<!-- net ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = ("rung", "epochs", "images/s", "waiting", "seconds here", "bought here", "accuracy here")
COLUMNS = (*COLUMNS, "Page: seconds", "bought", "accuracy")


def table(record: str, names: list[str]) -> str:
    """The rungs called `names` of a record as a Markdown table, without columns that are empty throughout."""
    found = json.loads((ROOT / "records" / record / "ladder.json").read_text())
    rungs = {r["name"]: r for r in found["rungs"]}
    rows = [COLUMNS, *(row(rungs[name]) for name in names)]
    filled = [i for i in range(len(COLUMNS)) if any(r[i] for r in rows[1:])]
    lines = [f"| {' | '.join(r[i] for i in filled)} |" for r in rows]
    lines.insert(1, "|---" * len(filled) + "|")
    command = (ROOT / "records" / record / "command.txt").read_text().partition(" --json")[0] + "`"
    source = f"{command} on {found['machine']['cores']} cores of {found['machine']['cpu']}"
    note = f"{source}; [{record}](../../records/{record}/), written by `python benchmarks/handbook.py`."
    return "\n" + "\n".join(lines) + f"\n\n{note}\n\n"


def row(rung: dict) -> tuple[str, ...]:
    p, published = rung["projection"], rung["published"]
    share = "" if rung["bought_s"] is None else f" ({round(100 * rung['bought_share'])}%)"
    return (
        f"`{rung['name']}`",
        f"{rung['epochs']:g}",
        f"{p['images_per_s']:,.0f}",
        f"{100 * p['wait_share']:.0f}%",
        f"~{rung['seconds']:,.0f}",
        "" if rung["bought_s"] is None else f"{rung['bought_s']:,.0f}{share}",
        "" if rung["accuracy"] is None else f"{rung['accuracy']:.2f} (n={len(rung['runs'])})",
        f"{published['seconds']:g}",
        "" if rung["published_bought_s"] is None else f"{rung['published_bought_s']:g}",
        f"{published['accuracy']:g}",
    )


def picture(name: str) -> str:
    """The file of a net's picture, in docs/handbook/."""
    return f"pictures/net-{name.replace('/', '-')}.svg"


def pictures(names: list[str]) -> str:
    """Pictures of recipes' nets, in Markdown."""
    return "\n" + "".join(f"![The net of {name}]({picture(name)})\n\n" for name in names)


def draw(text: str, folder: Path) -> None:
    """Draw the nets that a chapter shows into `folder`, where they are not there as they are."""
    for name in (name for m in NETS.finditer(text) for name in m[2].split()):
        file, svg = folder / picture(name), draw_net(name).svg
        if not file.exists() or file.read_text() != svg:
            file.parent.mkdir(exist_ok=True)
            file.write_text(svg)
            print(f"drew {file}")


def main() -> None:
    for page in sorted((ROOT / "docs" / "handbook").glob("*.md")):
        old = page.read_text()
        new = PLACE.sub(lambda m: m[1] + table(m[2], m[3].split()) + m[4], old)
        new = NETS.sub(lambda m: m[1] + pictures(m[2].split()) + m[3], new)
        draw(new, page.parent)
        if new != old:
            page.write_text(new)
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
