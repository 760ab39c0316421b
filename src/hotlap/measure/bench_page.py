"""A benchmark as people see it: table, claims, picture, page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotlap.files import write_atomic
from hotlap.measure.bench_folder import Sitting
from hotlap.measure.standings import OWN, WALL, Against, Standing, Summary, Timed
from hotlap.measure.stats import CONFIDENCE, Median, Ratio
from hotlap.report.page import Claim, Code, Details, Heading, Picture, Table, digits, render_page
from hotlap.report.plots import AMBER, BLUE, GREEN, GREY, RED, has_plots, new_figure, save_figure, svg_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hotlap.measure.bench import Bench

COLOURS = (BLUE, AMBER, GREEN, RED, GREY, "#83c", "#0aa", "#862")
HEAD = (
    *("contender", "runs", "diverged", "accuracy", "sd", "at target", "train s", "eval s", "train + eval s"),
    *("FLOPs", "FLOP/s", "of peak"),
)


def table(standings: Sequence[Standing]) -> list[tuple[str, ...]]:
    """The head and every contender, without the columns that are empty throughout."""
    lines = [HEAD, *(cells(s) for s in standings)]
    filled = [i for i in range(len(HEAD)) if any(line[i] for line in lines[1:])]
    return [tuple(line[i] for i in filled) for line in lines]


def cells(s: Standing) -> tuple[str, ...]:
    wall = " (wall)" if WALL in s.clock else ""
    return (
        s.name,
        f"{s.runs}",
        f"{s.diverged}" if s.diverged else "",
        f"{s.accuracy.mean:.2f}" if s.accuracy else "",
        f"{s.accuracy.sd:.2f}" if s.accuracy and s.accuracy.sd is not None else "",
        f"{s.at_target.k} of {s.at_target.n}" if s.at_target else "",
        digits(s.train.median) + wall if s.train else "",
        digits(s.eval.median) if s.eval else "",
        digits(s.counted.median) if s.counted else "",
        units(s.flops) if s.flops else "",
        units(s.flop_per_s) if s.flop_per_s else "",
        f"{100 * s.peak_share:.0f}%" if s.peak_share else "",
    )


def claim(s: Standing) -> str:
    """A contender's runs in one sentence; a probability is of the mean accuracy behind them."""
    if s.accuracy is None or s.train is None or s.counted is None:
        return f"{s.name}: {'diverged' if s.runs == 1 else f'all {s.runs} runs diverged'}"
    n = s.accuracy.n
    spread = "" if s.accuracy.sd is None else f", sd {s.accuracy.sd:.2f}"
    p = "" if s.p_below is None else f", p={s.p_below:.2g} that it is below {s.target:g}"
    reached = "" if s.at_target is None else f", {s.at_target.k} of {s.runs} at target"
    parts = [f"train {span(s.train)}"] + ([f"eval {span(s.eval)}"] if s.eval else [])
    median = "median " if n > 1 else ""
    lost = f"; {s.diverged} of {s.runs} runs diverged" if s.diverged else ""
    return (
        f"{s.name}: {'mean ' if n > 1 else ''}{s.accuracy.mean:.2f}% (n={n}{spread}{p}),"
        f" {median}{span(s.counted)} ({', '.join(parts)}){reached}{lost}"
    )


def comparison(a: Against) -> str:
    """The ratios of two contenders in one sentence."""
    turns = f"{a.counted.blocks} block{'s' * (a.counted.blocks != 1)}"
    return (
        f"{a.first} / {a.other}: {ratio(a.counted)} of the seconds in train + eval,"
        f" {ratio(a.train)} in train alone ({turns})"
    )


def remarks(summary: Summary, runs: Sequence[Timed]) -> list[str]:
    """What has to be known to read the table and the sentences."""
    made = []
    medians = [m for s in summary.standings for m in (s.train, s.counted) if m is not None]
    covered = [m.coverage for m in medians if m.coverage is not None]
    if covered:
        few = f" ({100 * min(covered):.3g}% with so few runs)" if min(covered) < CONFIDENCE else ""
        made.append(
            f"In brackets: {100 * CONFIDENCE:.0f}% intervals, of medians by order statistics{few},"
            " of ratios by Student's t on their logarithms; p is one-sided, by Student's t."
        )
    if summary.against:
        rounds = len({r.round for r in runs})
        made.append(
            "Ratios are geometric means over blocks of two rounds in turn (ABBA), in which a drift cancels"
            + ("; a single round does not show a drift." if rounds == 1 else ".")
        )
    made += [f"{r.contender}, seed {r.seed}: {r.diverged}" for r in runs if r.diverged]
    for s in summary.standings:
        learnt_nothing = sum(
            r.contender == s.name and r.accuracy is not None and r.accuracy <= summary.guessing for r in runs
        )
        if learnt_nothing:
            made.append(f"{s.name}: {learnt_nothing} of {s.runs} runs are no better than guessing one class.")
    for s in summary.standings:
        if WALL in s.clock:
            made.append(f"{s.name} reports no seconds: its process's wall seconds count, start included.")
        elif s.clock != OWN and s.eval is None:
            made.append(f"{s.name} reports one number of seconds: it counts as train and as train + eval.")
    return made


def peaks(held: Mapping[str, float]) -> list[str]:
    return [f"Fastest convolution in {how}: {units(rate)}FLOP/s." for how, rate in held.items()]


def save(bench: Bench, summary: Summary) -> dict[str, Path]:
    """summary.json, the picture (where matplotlib is) and the page; their paths by what they are."""
    path = bench.folder / "summary.json"
    write_atomic(path, (json.dumps(asdict(summary), indent=1) + "\n").encode())
    return {"summary": path, **draw_page(bench.sitting, bench.runs(), summary, bench.folder)}


def draw_page(sitting: Sitting, runs: Sequence[Timed], summary: Summary, folder: Path) -> dict[str, Path]:
    """The picture (where matplotlib is) and the page in `folder`; their paths by what they are."""
    files, pictures, facts = {}, [], sitting.facts
    if has_plots():
        figure = draw(summary, runs)
        files["picture"] = save_figure(figure, folder / "bench.svg")
        caption = "A dot is a run"
        caption += "." if all(s.target is None for s in summary.standings) else "; the lines are the targets."
        if summary.against:
            caption += " Right: the first contender's seconds, as a share of each other's, with its interval."
        pictures = [Picture(svg_text(figure), caption)]
    head, *body = table(summary.standings)
    features = f" ({', '.join(facts['cpu_features'])})" if facts["cpu_features"] else ""
    page = render_page(
        "Benchmark: " + " against ".join(s.name for s in summary.standings),
        f"Measured on {facts['cores']} cores of {facts['cpu']}{features}, {facts['threads']} threads,"
        f" torch {facts['torch']}, {sitting.device}; data {sitting.data}, seeds from {sitting.seed} on.",
        *(Claim(comparison(a)) for a in summary.against[:1]),
        *(claim(s) for s in summary.standings),
        *(comparison(a) for a in summary.against[1:]),
        *remarks(summary, runs),
        *peaks(sitting.peaks),
        *pictures,
        Table(head, body),
        Heading("Every run"),
        Table(RUNS_HEAD, [run_cells(r) for r in runs]),
        Heading("What was run"),
        Code(sitting.command),
        *(Details(name, [Code(text)]) for name, text in sitting.contenders.items()),
    )
    files["report"] = folder / "report.html"
    write_atomic(files["report"], page.encode())
    return files


RUNS_HEAD = ("contender", "round", "seed", "accuracy", "train s", "eval s", "process s")


def run_cells(r: Timed) -> tuple[str, ...]:
    return (
        r.contender,
        f"{r.round}",
        f"{r.seed}",
        "diverged" if r.accuracy is None else f"{r.accuracy:.2f}",
        digits(r.train_s),
        "" if r.eval_s is None else digits(r.eval_s),
        "" if r.wall_s is None else digits(r.wall_s),
    )


def draw(summary: Summary, runs: Sequence[Timed]) -> Figure:
    """Every run's counted seconds against its accuracy, and beside it the ratios."""
    if summary.against:
        figure, axes = new_figure(9.5, 4.2, 1, 2, gridspec_kw={"width_ratios": [2.6, 1]})
        dots, beside = axes
        draw_ratios(beside, summary)
    else:
        figure, dots = new_figure(7.0, 4.2)
    for s, colour in zip(summary.standings, colours(summary), strict=True):
        own = [r for r in runs if r.contender == s.name and r.accuracy is not None]
        xs, ys = [r.counted_s for r in own], [r.accuracy for r in own]
        dots.plot(xs, ys, "o", color=colour, alpha=0.75, label=s.name)
    for target in sorted({s.target for s in summary.standings if s.target is not None}):
        dots.axhline(target, color="0.3", lw=1, ls="--")
    dots.set(xlabel="counted seconds, train + eval", ylabel="test accuracy, %")
    dots.set_title("Every run", loc="left")
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=8)
    return figure


def draw_ratios(ax: Any, summary: Summary) -> None:
    for y, (a, colour) in enumerate(zip(summary.against, colours(summary)[1:], strict=True)):
        low, high = a.counted.interval or (a.counted.ratio, a.counted.ratio)
        ax.plot([low, high], [y, y], color=colour, lw=2)
        ax.plot([a.counted.ratio], [y], "o", color=colour)
        ax.annotate(
            digits(a.counted.ratio),
            (a.counted.ratio, y),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.axvline(1, color="0.3", lw=1, ls="--")
    ax.set_yticks(range(len(summary.against)), [f"/ {a.other}" for a in summary.against], fontsize=8)
    ax.set_ylim(len(summary.against) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("ratio of counted seconds")
    ax.set_title(f"{summary.against[0].first} / other", loc="left")


def colours(summary: Summary) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(summary.standings))]


def span(m: Median) -> str:
    """`412 s [380, 440]`"""
    if m.interval is None:
        return f"{digits(m.median)} s"
    low, high = m.interval
    return f"{digits(m.median)} s [{digits(low)}, {digits(high)}]"


def ratio(r: Ratio) -> str:
    """`0.851 [0.830, 0.872]`"""
    if r.interval is None:
        return digits(r.ratio)
    return f"{digits(r.ratio)} [{digits(r.interval[0])}, {digits(r.interval[1])}]"


def units(x: float) -> str:
    """`283 T`: three digits and a unit's letter."""
    for letter, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if x >= 0.9995 * size:
            return f"{digits(x / size)} {letter}"
    return f"{digits(x)} "
