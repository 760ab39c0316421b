"""A ladder as people see it: table, remarks, picture, page, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.files import write_atomic
from hotlap.inspect.throughput import Projection
from hotlap.measure.ladder import Ladder, Row, Rung, Trained, compare
from hotlap.plan.recipe import Recipe, diff
from hotlap.recipes import BUILTIN
from hotlap.report.page import Code, Heading, Picture, Table, render_page
from hotlap.report.plots import has_plots, save_figure, svg_text
from hotlap.report.waterfall import Bar, waterfall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = ("rung", "epochs", "batch", "images/s", "waiting", "seconds", "bought", "", "accuracy")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, as text: ours, then what was published."""
    rung, published = row.rung, row.rung.published
    found = rung.projection
    about = "~" if found else ""
    share = "" if row.bought_share is None else f"{round(100 * row.bought_share)}%"
    return (
        rung.name,
        f"{rung.epochs:g}",
        f"{rung.batch_size}",
        f"{found.images_per_s:,.0f}" if found else "",
        f"{100 * found.wait_share:.0f}%" if found else "",
        f"{about}{rung.seconds:,.0f}" if rung.seconds is not None else "",
        "" if row.bought_s is None else f"{row.bought_s:,.0f}",
        share,
        reached(rung),
        f"{published.seconds:g}" if published else "",
        "" if row.published_bought_s is None else f"{row.published_bought_s:g}",
        f"{published.accuracy:g}" if published else "",
    )


def reached(rung: Rung) -> str:
    """The accuracy of the runs, how many they are if more than one, and how many diverged."""
    notes = [f"{len(rung.runs)}"] * (len(rung.runs) > 1) + [f"{rung.diverged} diverged"] * (rung.diverged > 0)
    if rung.accuracy is None:
        return "diverged" if rung.diverged else ""
    return f"{rung.accuracy:.2f}" + (f" ({', '.join(notes)})" if notes else "")


def table(rows: list[Row]) -> list[tuple[str, ...]]:
    """The head and every row, without the columns that are empty throughout."""
    device = published_on(rows)
    lines = [(*HEAD, f"{device}: s", "bought", "accuracy"), *(cells(row) for row in rows)]
    filled = [i for i in range(len(lines[0])) if any(line[i] for line in lines[1:])]
    return [tuple(line[i] for i in filled) for line in lines]


def published_on(rows: list[Row]) -> str:
    """The machines of the published figures."""
    return "/".join(sorted({row.rung.published.device for row in rows if row.rung.published}))


def remarks(rungs: list[Rung]) -> list[str]:
    """What has to be known to read the table."""
    made = []
    if any(r.projection for r in rungs):
        made.append(
            "~ is projected, not trained: fixed costs + epochs x start of an epoch + steps x the median of"
            " some timed steps. Accuracy is of full runs only."
        )
    if any(r.projection and r.projection.wait_share >= 0.01 for r in rungs):
        made.append("waiting: share of the timed steps spent waiting for batches prepared on the host.")
    arithmetics = sorted({r.arithmetic for r in rungs if r.arithmetic})
    if arithmetics:
        made.append(f"arithmetic: {'; '.join(arithmetics)}.")
    if any(r.arithmetic.startswith("bf16") for r in rungs):
        made.append(
            "Rungs that ask for half precision ran in bf16, as fp16 is not fast here; the published ones"
            " ran in fp16."
        )
    return made


def save(ladder: Ladder, rows: list[Row], full: bool) -> dict[str, Path]:
    """The picture (where matplotlib is) and the page; their paths by what they are."""
    device = str(ladder.torch_device)
    return draw_page(rows, ladder.facts, device, ladder.folder, full, changes(ladder.recipes))


def draw_page(
    rows: list[Row],
    facts: dict[str, Any],
    device: str,
    folder: Path,
    full: bool = False,
    diffs: Sequence[str] = (),
) -> dict[str, Path]:
    """The picture (where matplotlib is) and the page in `folder`; their paths by what they are.

    Args:
        facts: the machine, as `machine_facts` has it.
        device: as `cpu`.
        full: whether every rung was trained.
        diffs: what changes from rung to rung, where that is known.
    """
    head, *body = table(rows)
    files: dict[str, Path] = {}
    pictures = []
    if has_plots() and any(row.rung.seconds for row in rows):
        figure = draw(rows, full)
        files["picture"] = save_figure(figure, folder / "ladder.svg")
        pictures = [Picture(svg_text(figure), "Each bar is what a rung takes away from the one it follows.")]
    page = render_page(
        "The ladder: what each step buys",
        f"Measured on {facts['cores']} cores of {facts['cpu']}"
        f" ({', '.join(facts['cpu_features'])}), torch {facts['torch']}, {device}.",
        *remarks([row.rung for row in rows]),
        *pictures,
        Table(head, body, words=(0,)),
        *([Heading("What changes from rung to rung")] if diffs else []),
        *(Code(text) for text in diffs),
    )
    files["report"] = folder / "report.html"
    write_atomic(files["report"], page.encode())
    return files


def changes(recipes: Sequence[Recipe]) -> list[str]:
    """For each rung after another that is in the ladder or built in, its diff."""
    known = {**BUILTIN, **{r.name: r for r in recipes}}
    made = []
    for recipe in recipes:
        base = BUILTIN[recipe.name].base if recipe.name in BUILTIN else recipe.base
        if base in known:
            lines = "\n".join(diff(known[base], recipe))
            made.append(f"{base} -> {recipe.name}: {recipe.summary}\n{lines}")
    return made


def draw(rows: list[Row], full: bool) -> Figure:
    def bar(row: Row) -> Bar:
        seconds = row.rung.seconds or 0.0
        before = None if row.bought_s is None else seconds + row.bought_s
        published = row.rung.published
        notes = [] if row.bought_share is None else [f"{round(-100 * row.bought_share):+d}%"]
        notes += [] if row.rung.accuracy is None else [f"{row.rung.accuracy:.2f}%"]
        label = row.rung.name.rpartition("/")[2]
        return Bar(label, seconds, before, published.seconds if published else None, ", ".join(notes))

    timed = [row for row in rows if row.rung.seconds]
    story, asides = ([bar(r) for r in timed if r.aside == aside] for aside in (False, True))
    title = "Seconds each rung takes" + ("" if full else ", projected")
    if not story:
        story, asides = asides, []
    return waterfall(title, story, asides, published_on(timed))


def from_json(held: Sequence[dict[str, Any]]) -> list[Row]:
    """The rows of rungs as `as_json` gave them."""
    return compare(
        Rung(
            rung["name"],
            rung["epochs"],
            rung["batch_size"],
            rung["arithmetic"],
            projection(rung["projection"]) if rung["projection"] else None,
            tuple(Trained(**run) for run in rung["runs"]),
            rung.get("diverged", 0),
        )
        for rung in held
    )


def projection(held: dict[str, Any]) -> Projection:
    return Projection(**{**held, "scale_s": tuple(map(tuple, held.get("scale_s", ())))})


def as_json(row: Row) -> dict[str, Any]:
    rung = row.rung
    return {
        "name": rung.name,
        "epochs": rung.epochs,
        "batch_size": rung.batch_size,
        "arithmetic": rung.arithmetic,
        "seconds": rung.seconds,
        "projection": asdict(rung.projection) if rung.projection else None,
        "runs": [asdict(r) for r in rung.runs],
        "diverged": rung.diverged,
        "accuracy": rung.accuracy,
        "bought_s": row.bought_s,
        "bought_share": row.bought_share,
        "published": asdict(rung.published) if rung.published else None,
        "published_bought_s": row.published_bought_s,
    }
