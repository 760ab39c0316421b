"""Figures within pages that people write: what stands between two comments is written from records/.

    <!-- ladder RECORD: RUNG RUNG ... -->     a table of those rungs
    <!-- table comparison -->                 the README's: hotlap beside the published recipe
    <!-- figure RECORD KEY FORMAT -->         one of the figures in a record's summary.json
    <!-- net RECIPE RECIPE ... -->            pictures of those recipes' nets

Each ends with `<!-- end -->`. A KEY is the way to the figure, such as `standings.0.accuracy.mean`; a FORMAT
is Python's, such as `.2f`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hotlap.files import slug
from hotlap.measure.ladder import Row
from keeping.front import comparison
from keeping.kinds import ladder
from keeping.record import Record, processor, table

PLACE = re.compile(r"(<!-- (ladder|table|figure|net) (.*?) -->)(.*?)(<!-- end -->)", re.DOTALL)
COLUMNS = ("rung", "epochs", "images/s", "waiting", "seconds here", "bought here", "accuracy here")
COLUMNS = (*COLUMNS, "Page: seconds", "bought", "accuracy")


def fill(page: str, records: Mapping[str, Record], up: str) -> str:
    """The page with its places written anew.

    Args:
        up: the way from the page's folder to the root, such as `../../`.
    """

    def write(found: re.Match[str]) -> str:
        opened, kind, words, _, closed = found.groups()
        try:
            return opened + WRITERS[kind](words, records, up) + closed
        except (LookupError, TypeError, ValueError) as error:
            raise SystemExit(f"{opened}: {type(error).__name__}: {error}") from None

    return PLACE.sub(write, page)


def one_figure(words: str, records: Mapping[str, Record], up: str) -> str:
    name, key, form = words.split()
    value: Any = records[name]["figures"]
    for step in key.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return format(value, form)


def rungs(words: str, records: Mapping[str, Record], up: str) -> str:
    """The named rungs of a ladder's record as a table without columns that are empty throughout."""
    name, _, chosen = words.partition(":")
    record = records[name]
    rows = {row.rung.name: row for row in ladder.rows(record)}
    where = f"{record['machine']['cores']} cores of {processor(record['machine'])}"
    note = f"`{record['commands'][0]}` on {where}; [{name}]({up}records/{name}/), written by"
    lines = table(COLUMNS, [rung(rows[n]) for n in chosen.split()])
    return "\n\n" + "\n".join(lines) + f"\n\n{note} `python benchmarks/handbook.py`.\n\n"


def rung(row: Row) -> tuple[str, ...]:
    r, p, published = row.rung, row.rung.projection, row.rung.published
    share = "" if row.bought_share is None else f" ({round(100 * row.bought_share)}%)"
    return (
        f"`{r.name}`",
        f"{r.epochs:g}",
        f"{p.images_per_s:,.0f}" if p else "",
        f"{100 * p.wait_share:.0f}%" if p else "",
        "" if r.seconds is None else f"{'~' * (p is not None)}{r.seconds:,.0f}",
        "" if row.bought_s is None else f"{row.bought_s:,.0f}{share}",
        "" if r.accuracy is None else f"{r.accuracy:.2f} (n={len(r.runs)})",
        f"{published.seconds:g}" if published else "",
        "" if row.published_bought_s is None else f"{row.published_bought_s:g}",
        f"{published.accuracy:g}" if published else "",
    )


def named_table(words: str, records: Mapping[str, Record], up: str) -> str:
    return "\n\n" + "\n".join({"comparison": comparison}[words](records, up)) + "\n\n"


def nets(words: str, records: Mapping[str, Record], up: str) -> str:
    shown = (f"![The net of {name}](pictures/{net_picture(name)})\n\n" for name in words.split())
    return "\n\n" + "".join(shown)


def net_picture(name: str) -> str:
    """The file with the picture of a recipe's net."""
    return f"net-{slug(name)}.svg"


WRITERS: dict[str, Callable[[str, Mapping[str, Record], str], str]] = {
    "ladder": rungs,
    "table": named_table,
    "figure": one_figure,
    "net": nets,
}
