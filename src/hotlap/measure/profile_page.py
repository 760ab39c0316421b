"""A run's profile as people see it: tables, pictures, page, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.files import write_atomic
from hotlap.inspect.operations import KINDS, StepProfile
from hotlap.inspect.roofline import Convolution, Peaks, TimedConvolution
from hotlap.measure.profile import OUTSIDE, RunProfile, Stretch
from hotlap.report.page import Claim, Heading, Picture, Table, render_page
from hotlap.report.plots import has_plots, save_figure, svg_text
from hotlap.report.process_times import Point, process_times, roofline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = list[tuple[str, ...]]


def label(stretch: Stretch) -> str:
    """Such as `200 at 32x32`: how many steps, and the images' size."""
    return f"{stretch.steps:,} at {stretch.height}x{stretch.width}"


def labels(found: RunProfile) -> list[str]:
    """One for each stretch, numbered where two would be alike."""
    plain = [label(s) for s in found.stretches]
    return [f"{i}. {name}" if plain.count(name) > 1 else name for i, name in enumerate(plain, start=1)]


def seconds_table(found: RunProfile) -> Rows:
    """By kind of operation: milliseconds of a step of each stretch, seconds of the run, share of training."""
    head = ("milliseconds a step, of steps", *labels(found), "run, s", "share")
    rows = [head]
    for kind, seconds in found.kinds.items():
        if not seconds:
            continue
        ms = [f"{1e3 * s.kinds[kind] / s.steps:.1f}" if kind in s.kinds else "" for s in found.stretches]
        rows.append((kind, *ms, f"{seconds:,.2f}", f"{100 * seconds / found.train_s:.1f}%"))
    whole = [f"{1e3 * s.step_s:.1f}" for s in found.stretches]
    rows.append(("training", *whole, f"{found.train_s:,.2f}", "100.0%"))
    rows.append(("final evaluation", *("" for _ in whole), f"{found.eval_s:,.2f}", ""))
    return rows


def parts_table(found: RunProfile) -> Rows:
    """By part of the net: seconds of the run's steps, in all and by kind of operation."""
    kinds = [k for k in KINDS if any(part[k] for part in found.parts.values())]
    rows = [("part", "run, s", "share", *kinds)]
    for part, spent in found.parts.items():
        total = sum(spent.values())
        cells = (f"{spent[k]:,.2f}" if spent[k] else "" for k in kinds)
        rows.append((part, f"{total:,.2f}", f"{100 * total / found.steps_s:.1f}%", *cells))
    return rows


def convolutions_table(found: RunProfile) -> Rows:
    """Each convolution of each stretch by itself: its rate in its three directions, and share of the peak."""
    rows: Rows = [("convolution", "direction", "ms", "GFLOP/s", "of the peak")]
    for stretch, name in zip(found.stretches, labels(found), strict=True):
        rows.append((name, "", "", "", ""))
        for timed in stretch.convolutions:
            c = timed.convolution
            reach = f"{100 * timed.rate / found.peaks.convolution:.0f}%"
            rows.append(
                (
                    f"{c.part}: {c.title}",
                    c.direction,
                    f"{1e3 * timed.seconds:.2f}",
                    f"{timed.rate / 1e9:,.0f}",
                    reach,
                )
            )
        total = sum(t.seconds for t in stretch.convolutions)
        flops = sum(t.convolution.flops for t in stretch.convolutions)
        share = f"{100 * flops / total / found.peaks.convolution:.0f}%"
        rows.append(("together", "", f"{1e3 * total:.2f}", f"{flops / total / 1e9:,.0f}", share))
    return rows


def summary(found: RunProfile) -> list[str]:
    """What the tables come to, in sentences."""
    peaks = found.peaks
    said = [
        f"{found.recipe}: {found.train_s:,.1f} s of training and {found.eval_s:,.1f} s of evaluation,"
        f" projected, in {found.arithmetic}.{looked(found.looks_s)}",
        f"Steps: {found.flops / 1e12:,.1f} TFLOP at {found.rate / 1e9:,.0f} GFLOP/s,"
        f" {100 * found.reach:.0f}% of the fastest convolution ({peaks.convolution / 1e9:,.0f} GFLOP/s);"
        f" a product of large matrices reaches {peaks.product / 1e9:,.0f} GFLOP/s,"
        f" memory {peaks.memory / 1e9:,.0f} GB/s.",
    ]
    alone = sum(s.steps * sum(t.seconds for t in s.convolutions) for s in found.stretches)
    inside = sum(found.kinds[f"convolution {d}"] for d in ("forward", "backward"))
    launches = sum(s.steps * s.profile.launches for s in found.stretches)
    waiting = sum(s.spread(s.profile.wait_ms) for s in found.stretches)
    said.append(
        f"Convolutions take {inside:,.1f} s of the steps, {alone:,.1f} s when timed by themselves."
        f" {launches:,.0f} operations are launched; {waiting:,.1f} s are waiting for batches from the host,"
        f" {found.kinds[OUTSIDE]:,.1f} s pass between operations."
    )
    if found.done < 1:
        said.append(
            f"Of the convolutions' products {100 * found.done:.0f}% are done: our kernels skip padding, and"
            " on some processors do 3x3 filters in fewer (Winograd), so that steps can be faster than the"
            " fastest convolution that does them all."
        )
    return said


def looked(looks_s: Sequence[float]) -> str:
    """How far the looks at the clock are apart, where there are several."""
    if len(looks_s) < 2:
        return ""
    low, high = min(looks_s), max(looks_s)
    return (
        f" Looked at {len(looks_s)} times, the steps came to {low:,.1f} to {high:,.1f} s,"
        " and a run may differ as much."
    )


def draw(found: RunProfile) -> dict[str, Figure]:
    """The pictures, by name."""
    by_stretch = {
        name: {k: v / s.steps * 1e3 for k, v in s.kinds.items()}
        for name, s in zip(labels(found), found.stretches, strict=True)
    }
    times = process_times(
        f"{found.recipe}: where {found.train_s:,.0f} s of training go",
        "milliseconds a step",
        by_stretch,
    )
    parts = process_times(
        f"{found.recipe}: where the {found.steps_s:,.0f} s of its steps go",
        "seconds of the run",
        found.parts,
    )
    total = sum(s.steps * t.seconds for s in found.stretches for t in s.convolutions)
    points = [
        Point(
            f"{t.convolution.part} {t.convolution.title}",
            t.convolution.direction,
            t.convolution.flops / t.convolution.traffic(found.itemsize),
            t.rate,
            s.steps * t.seconds / total,
        )
        for s in found.stretches
        for t in s.convolutions
    ]
    roof = roofline(
        f"{found.recipe}: its convolutions and the roof, {found.arithmetic}",
        points,
        found.peaks.convolution,
        found.peaks.memory,
        found.rate,
    )
    return {"process-times": times, "parts": parts, "roofline": roof}


CAPTIONS = {
    "process-times": "Milliseconds of a step of each kind, as the clock has them, split as the profiler saw.",
    "parts": "Seconds of all steps by part of the net, forward and backward together.",
    "roofline": "Each convolution timed by itself; the larger the dot, the more of the convolutions' time."
    " Products count whether a kernel does or saves them, so what needs fewer (3x3 filters in our own"
    " kernels, padding) can lie above it.",
}


def as_json(found: RunProfile) -> dict[str, Any]:
    """The profile, with what follows from it."""
    return {
        **asdict(found),
        "train_s": found.train_s,
        "flops": found.flops,
        "flops_per_s": found.rate,
        "share_of_peak": found.reach,
        "share_of_products_done": found.done,
        "kinds_s": found.kinds,
        "parts_s": found.parts,
    }


def from_json(held: dict[str, Any]) -> RunProfile:
    """The profile that `as_json` gave, or one from before several looks were taken."""
    stretches = tuple(
        Stretch(
            **{
                **s,
                "profile": StepProfile(**s["profile"]),
                "convolutions": tuple(
                    TimedConvolution(**{**timed, "convolution": convolution(timed["convolution"])})
                    for timed in s["convolutions"]
                ),
            }
        )
        for s in held["stretches"]
    )
    own = {f.name: held[f.name] for f in fields(RunProfile) if f.name in held}
    looks = held.get("looks_s", (sum(s.seconds for s in stretches),))
    made = {"stretches": stretches, "looks_s": tuple(looks), "peaks": Peaks(**held["peaks"])}
    return RunProfile(**{**own, **made})


def convolution(held: dict[str, Any]) -> Convolution:
    shaped: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in held.items()}
    return Convolution(**shaped)


def save(found: RunProfile, folder: Path, machine: dict[str, Any]) -> dict[str, Path]:
    """JSON, pictures (where matplotlib is) and page in `folder`; their paths by what they are."""
    path = folder / "profile.json"
    write_atomic(path, (json.dumps({**as_json(found), "machine": machine}, indent=1) + "\n").encode())
    return {"profile": path, **draw_page(found, folder, machine)}


def draw_page(found: RunProfile, folder: Path, machine: dict[str, Any]) -> dict[str, Path]:
    """Pictures (where matplotlib is) and page in `folder`; their paths by what they are."""
    files, pictures = {"report": folder / "report.html"}, []
    for name, figure in (draw(found) if has_plots() else {}).items():
        files[name] = save_figure(figure, folder / f"{name}.svg")
        pictures.append(Picture(svg_text(figure), CAPTIONS[name]))
    tables = (seconds_table(found), parts_table(found), convolutions_table(found))
    headings = ("By kind of operation", "By part of the net", "Each convolution by itself")
    blocks = [
        block
        for heading, (head, *rows) in zip(headings, tables, strict=True)
        for block in (Heading(heading), Table(head, rows, words=(0,)))
    ]
    first, *others = summary(found)
    where = f"Measured on {machine['cores']} cores of {machine['cpu']}, torch {machine['torch']}."
    title = f"{found.recipe}: where every second goes"
    page = render_page(title, Claim(first), *others, where, *pictures, *blocks)
    write_atomic(files["report"], page.encode())
    return files
