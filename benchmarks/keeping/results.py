"""docs/results.md: every measured table, from records/ alone."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.report.page import digits
from keeping.kinds import Kind
from keeping.pages import COMMAND
from keeping.pool import Pool, pools
from keeping.record import RECIPES, Record, machine, table

ORDER = ("bench", "runs", "ladder", "profile", "scripts", "search", "explain")
INTRO = f"""\
# Results

Everything measured that is kept, from [records/](../records/README.md): `{COMMAND}` writes
this page, and a test makes it anew and compares. `train` is from uint8 images in memory to the final weights,
`eval` the final evaluation with all its views; seconds are medians. Accuracies are of the test set, in
percent, every run counted; ± is the standard deviation of a run. `port` is the published Muon recipe as a
careful script (benchmarks/muon_port.py).
"""
POOLED = """\
Runs of one resolved recipe on one kind of processor, two cores, from all records that have some. *As it was*:
the built-in recipe of that name has changed since; the link is to what was run.
"""


def pooled(found: Sequence[Pool]) -> list[str]:
    rows = []
    for pool in sorted(found, key=lambda p: (p.data, -(p.target or 0.0), p.processor, p.name)):
        a = pool.accuracy
        sd = "" if a.sd is None else f" ± {a.sd:.2f}"
        interval = "" if a.interval is None else f" [{a.interval[0]:.2f}, {a.interval[1]:.2f}]"
        name = f"`{pool.name}`" if pool.today else f"`{pool.name}` as it was"
        seconds = [pool.seconds(of) for of in ("train_s", "eval_s")]
        rows.append(
            (
                f"[{name}](../records/{RECIPES}/{pool.recipe})" if pool.recipe else name,
                pool.data,
                pool.processor,
                str(len(pool.runs)),
                f"{a.mean:.2f}{sd}{interval}",
                "" if pool.target is None else f"{pool.at_target} of {len(pool.runs)} at {pool.target:g}",
                *("" if s is None else digits(s) for s in seconds),
                pool.arithmetic,
                ", ".join(f"[{r.name}](../records/{r.name}/)" for r in pool.records),
            )
        )
    head = ("recipe", "data", "processor", "seeds", "accuracy ± sd [95%]", "target", "train s", "eval s")
    return table((*head, "arithmetic", "records"), rows)


def results(records: Sequence[Record], kinds: dict[str, Kind]) -> str:
    lines = [INTRO, "## All seeds together", ""]
    lines += [POOLED, *pooled(pools(records))]
    for kind in (kinds[name] for name in ORDER):
        own = [r for r in records if r["kind"] == kind.name]
        if own:
            lines += ["", f"## {kind.title}", "", *kind.section(own)]
    lines += ["", "## Every record", "", *every(records)]
    return "\n".join(lines) + "\n"


def every(records: Sequence[Record]) -> list[str]:
    rows = [
        (
            f"[{r.name}](../records/{r.name}/)",
            ", ".join(f"`{c}`" for c in r["commands"]),
            machine(r["machine"]),
            r["note"],
        )
        for r in records
    ]
    return table(("record", "command", "machine", "note"), rows)
