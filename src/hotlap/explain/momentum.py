"""Post 5: which directions in the space of rates matter, and so how to tune momentum."""

from __future__ import annotations

import math
from typing import Any

from hotlap.explain import Drawing, Outcome, Setting, Titled, Topic
from hotlap.report.page import Table
from hotlap.report.plots import new_figure

CHOSEN = 0.9  # the momentum that the advice fixes before anything is tuned
Run = dict[str, Any]


def experiment(setting: Setting) -> Outcome:
    from hotlap.explain import small

    quick = setting.quick
    momenta = (0.0, 0.9) if quick else (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
    whole = [0.5, 8.0] if quick else [0.125 * 2.0**k for k in range(8)]
    rates, decays = (
        ((0.1, 0.8), (0.008, 0.001)) if quick else ((0.1, 0.2, 0.4, 0.8), (0.032, 0.016, 0.008, 0.004))
    )
    batch, epochs, decay_epochs = 64, 1.0 if quick else 3.0, 1.0 if quick else 6.0
    dataset = small.subset(setting.dataset, 256 if quick else 4096, 128 if quick else 1024)
    setting.say(
        f"{small.describe(dataset)}, batches of {batch}, {epochs:g} epochs; then {decay_epochs:g} epochs"
    )
    runs: list[Run] = []
    decay_runs: list[Run] = []
    total = len(momenta) * len(whole) + len(rates) * len(decays)
    for momentum in momenta:
        for rate in whole:
            setting.tick(len(runs), total, f"momentum {momentum:g}, lr / (1 - momentum) {rate:g}")
            plan = small.small_plan(batch, epochs, rate * (1 - momentum), momentum=momentum)
            runs.append({"momentum": momentum, "whole": rate, **small.outcome_of(plan, dataset, setting)})
    for decay in decays:
        for lr in rates:
            setting.tick(len(runs) + len(decay_runs), total, f"filters' lr {lr:g}, weight decay {decay:g}")
            plan = small.small_plan(batch, decay_epochs, 0.2, weight_decay=0.0)
            plan = plan.carve("filters", "filter", lr=lr, weight_decay=decay)
            decay_runs.append({"lr": lr, "decay": decay, **small.outcome_of(plan, dataset, setting)})
    return conclude(
        {
            "batch": batch,
            "epochs": epochs,
            "runs": runs,
            "decay_epochs": decay_epochs,
            "decay_runs": decay_runs,
        }
    )


def grid(runs: list[Run], row: str, column: str) -> tuple[list[float], list[float], list[list[float | None]]]:
    """Row values, column values, and losses by row and column."""
    rows, columns = (sorted({r[k] for r in runs}) for k in (row, column))
    at = {(r[row], r[column]): r["loss"] for r in runs}
    return rows, columns, [[at[y, x] for x in columns] for y in rows]


def spread(losses: list[float | None]) -> float:
    """The largest loss over the smallest; infinite where one diverged."""
    known = [v for v in losses if v is not None]
    return max(known) / min(known) if len(known) == len(losses) else math.inf


def along_and_across(results: dict[str, Any]) -> dict[str, Any]:
    """The best rate at each momentum and its loss; how far the loss varies along rates and along momenta.

    Momenta above `CHOSEN` are looked at apart: their memory is no longer short against so small a run.
    """
    momenta, whole, losses = grid(results["runs"], "momentum", "whole")
    tuned = [min((v, w) for v, w in zip(row, whole, strict=True) if v is not None) for row in losses]
    chosen = momenta.index(CHOSEN)
    best = [w for _, w in tuned]
    rates = [w * (1 - m) for w, m in zip(best, momenta, strict=True)]
    low = [v for v, _ in tuned]
    return {
        "tuned_loss": low,
        "best_whole": best,
        "best_lr": rates,
        "whole_moves": max(best) / min(best),
        "lr_moves": max(rates) / min(rates),
        "along_rate": spread(losses[chosen]),
        "across_momentum": spread(list(low[: chosen + 1])),
        "beyond": spread(list(low[chosen:])),
    }


def classes(results: dict[str, Any]) -> tuple[float, float]:
    """How far losses differ at most among equal products lr x decay, and between products' means."""
    by: dict[float, list[float | None]] = {}
    for r in results["decay_runs"]:
        by.setdefault(round(r["lr"] * r["decay"], 9), []).append(r["loss"])
    within = max(spread(v) for v in by.values() if len(v) > 1)
    means = [sum(x for x in v if x is not None) / len(v) for v in by.values() if None not in v]
    return within, max(means) / min(means) if means else math.inf


def percent(ratio: float) -> str:
    return "divergence" if math.isinf(ratio) else f"{100 * (ratio - 1):.0f}%"


def conclude(results: dict[str, Any]) -> Outcome:
    found = along_and_across(results)
    within, between = classes(results)
    momenta, whole, losses = grid(results["runs"], "momentum", "whole")
    answer = (
        f"From momentum {momenta[0]:g} to {momenta[-1]:g} the best lr moves by a factor of"
        f" {found['lr_moves']:.0f}, the best lr / (1 - momentum) by {found['whole_moves']:.0f}. At momentum"
        f" {CHOSEN:g} the loss varies by {percent(found['along_rate'])} over the rates tried; with the rate"
        f" tuned at each momentum it varies by {percent(found['across_momentum'])} over momenta up to"
        f" {CHOSEN:g} and by {percent(found['beyond'])} from there on. "
    )
    if found["across_momentum"] - 1 < 0.5 * (found["along_rate"] - 1):
        answer += (
            f"So the rate counts for more: leave momentum at {CHOSEN:g}, tune lr / (1 - momentum), then try"
            " one lower and one higher momentum with lr moved so that lr / (1 - momentum) stays. "
        )
    else:
        answer += "So here momentum matters as much as the rate, and is worth a line search of its own. "
    answer += (
        "For the filters, whose scale does nothing, runs of equal lr x weight decay differ by at most"
        f" {percent(within)}, runs of different products by up to {percent(between)}: "
    )
    alike = within - 1 < 0.5 * (between - 1)
    answer += (
        "the product is one knob, not two."
        if alike
        else "in so short a run the product is not all that counts."
    )
    kept = {**found, "within": within, "between": between}
    kept = {k: finite(v) if isinstance(v, float) else v for k, v in kept.items()}
    decays, rates, decay_losses = grid(results["decay_runs"], "decay", "lr")
    table = Table(
        ["momentum", *(f"{w:g}" for w in whole)],
        [[f"{m:g}", *map(cell, row)] for m, row in zip(momenta, losses, strict=True)],
    )
    decay_table = Table(
        ["weight decay", *(f"lr {v:g}" for v in rates)],
        [[f"{d:g}", *map(cell, row)] for d, row in zip(decays, decay_losses, strict=True)],
    )
    drawings = (
        draw_map(
            "momentum",
            results["runs"],
            ("momentum", "whole"),
            "training loss by rate and momentum",
            "Final training loss. Going down a column changes momentum at constant lr / (1 - momentum); going"
            " along a row changes the rate.",
        ),
        draw_map(
            "rate-times-decay",
            results["decay_runs"],
            ("decay", "lr"),
            "training loss by the filters' lr and weight decay",
            "Final training loss. Cells on a falling diagonal have the same lr x weight decay.",
        ),
    )
    return Outcome(
        answer,
        (
            Titled("training loss by momentum and lr / (1 - momentum)", table),
            Titled("training loss by the filters' weight decay and learning rate", decay_table),
        ),
        drawings,
        {**results, **kept},
    )


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def cell(loss: float | None) -> str:
    return "diverged" if loss is None else f"{loss:.3f}"


LABELS = {
    "momentum": "momentum",
    "whole": "lr / (1 - momentum)",
    "decay": "weight decay of the filters",
    "lr": "lr of the filters",
}


def draw_map(name: str, runs: list[Run], keys: tuple[str, str], title: str, caption: str) -> Drawing:
    rows, columns, losses = grid(runs, *keys)
    figure, ax = new_figure(1.6 + 0.85 * len(columns), 1.6 + 0.5 * len(rows))
    known = [[math.nan if v is None else v for v in row] for row in losses]
    image = ax.imshow(known, origin="lower", aspect="auto", cmap="viridis_r")
    low, high = image.get_clim()
    for i, row in enumerate(losses):
        for j, loss in enumerate(row):
            dark = loss is not None and loss > low + 0.55 * (high - low)
            ax.text(j, i, cell(loss), ha="center", va="center", fontsize=8, color="w" if dark else "k")
    ax.grid(False)
    ax.set_xticks(range(len(columns)), [f"{v:g}" for v in columns])
    ax.set_yticks(range(len(rows)), [f"{v:g}" for v in rows])
    ax.set(xlabel=LABELS[keys[1]], ylabel=LABELS[keys[0]])
    ax.set_title(title, loc="left")
    return Drawing(name, figure, caption)


TOPIC = Topic(
    "momentum",
    "momentum, learning rate and weight decay",
    "If lr / (1 - momentum) is what counts, how does one tune momentum?",
    "05-hyperparameters.md",
    experiment,
    conclude,
)
