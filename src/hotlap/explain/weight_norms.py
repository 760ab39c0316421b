"""Post 6: what weight decay does to weights whose scale does nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hotlap.explain import Drawing, Outcome, Setting, Titled, Topic
from hotlap.inspect import equilibrium
from hotlap.report.page import Table
from hotlap.report.plots import BLUE, GREEN, GREY, RED, new_figure

Trace = dict[str, list[list[float]]]  # norms (steps + 1, layers), gradients and moves (steps, layers)

SCALES = (0.25, 1.0, 4.0)
COLOURS = (BLUE, GREEN, RED)
POINTS = 64  # of a curve, or a few more: what is kept of each to draw


def experiment(setting: Setting) -> Outcome:
    from hotlap.explain import small
    from hotlap.inspect.weights import trace_weights
    from hotlap.optim import LARS

    quick = setting.quick
    lr, decay, momentum, batch = 0.1, 0.01 if quick else 0.005, 0.9, 32 if quick else 64
    epochs = 2.0 if quick else 8.0
    dataset = small.subset(setting.dataset, 256 if quick else 4096, 128 if quick else 1024)
    plan = small.small_plan(batch, epochs, 0.2, weight_decay=0.0, schedule=small.Constant())
    sgd = plan.carve("filters", "filter", lr=lr, weight_decay=decay, momentum=momentum)
    # a step of LARS is a set share of the weights: the share that SGD's steps come to by themselves
    rate = equilibrium.relative_rate(lr, decay, momentum) * (1 - momentum)
    lars = plan.carve("filters", "filter", optimizer=LARS(), lr=rate, weight_decay=0.0, momentum=momentum)
    program = small.prepare(sgd, dataset, setting)
    setting.say(
        f"{small.describe(dataset)}, {program.steps} steps of {batch} at constant rates: filters' lr {lr:g},"
        f" weight decay {decay:g}, momentum {momentum:g}"
    )
    seed, traces, starts = setting.seeds[0], [], []
    parts = len(SCALES) + 1
    for i, scale in enumerate(SCALES):
        setting.tick(i, parts, f"filters started at {scale:g} times their usual size")
        trace = trace_weights(program, seed, scale)
        small.settle(program)
        traces.append({k: getattr(trace, k).tolist() for k in ("norms", "gradients", "moves")})
        starts.append(
            {
                "scale": scale,
                "cosine": float(trace.cosines.abs().mean()),
                "turn": trace.turns[len(trace.turns) // 2 :].mean(0).tolist(),
                **small.final(program),
            }
        )
    setting.tick(len(SCALES), parts, f"LARS at {rate:.3g} of the weights a step")
    with_lars = small.outcome_of(lars, dataset, replace(setting, seeds=(seed,)))
    return conclude(
        gathered(
            {
                "layers": trace.layers,
                "steps": program.steps,
                "lr": lr,
                "weight_decay": decay,
                "momentum": momentum,
                "starts": starts,
                "lars": {"lr": rate, **with_lars},
            },
            traces,
        )
    )


def gathered(results: dict[str, Any], traces: list[Trace]) -> dict[str, Any]:
    """`results` with what the traces come to by layer, and with as much of their curves as is drawn."""
    every = max(1, results["steps"] // POINTS)
    starts = [
        {**start, "norms": trace["norms"][::every], "rates": relative_rates(results, trace)[::every]}
        for start, trace in zip(results["starts"], traces, strict=True)
    ]
    return {**results, "every": every, "starts": starts, "summary": summary(results, traces)}


def relative_rates(results: dict[str, Any], trace: Trace) -> list[list[float]]:
    """How far the gradient of each step moves each layer, as a share of its weights: (steps, layers).

    Root mean squares over a fortieth of the run.
    """
    whole = equilibrium.whole_rate(results["lr"], results["momentum"])
    pairs = zip(trace["gradients"], trace["norms"], strict=False)
    values = [[whole * g / n for g, n in zip(*pair, strict=True)] for pair in pairs]
    window = max(1, len(values) // 40)
    runs = (values[max(0, t - window) : t + 1] for t in range(len(values)))
    return [[root_mean_square(list(layer)) for layer in zip(*run, strict=True)] for run in runs]


def late(values: list[list[float]], layer: int) -> float:
    """Mean over the last quarter of the run."""
    column = [row[layer] for row in values]
    part = column[-max(1, len(column) // 4) :]
    return sum(part) / len(part)


def root_mean_square(values: list[float]) -> float:
    return float((sum(v * v for v in values) / len(values)) ** 0.5)


def summary(results: dict[str, Any], traces: list[Trace]) -> list[dict[str, Any]]:
    """By layer: norms at the start and late for each start, and what the balance predicts for scale 1."""
    rates = (results["lr"], results["weight_decay"], results["momentum"])
    middle = traces[SCALES.index(1.0)]
    whole = equilibrium.whole_rate(results["lr"], results["momentum"])
    rows = []
    for i, name in enumerate(results["layers"]):
        forces = [g[i] * n[i] for g, n in zip(middle["gradients"], middle["norms"], strict=False)]
        part = forces[-max(1, len(forces) // 4) :]
        norm = late(middle["norms"], i)
        grads = [row[i] for row in middle["gradients"]]
        first = [row[i] for row in middle["gradients"]][: max(1, len(grads) // 20)]
        rows.append(
            {
                "layer": name,
                "start": [t["norms"][0][i] for t in traces],
                "late": [late(t["norms"], i) for t in traces],
                "predicted": equilibrium.equilibrium_norm(root_mean_square(part), *rates),
                "rate_start": whole * root_mean_square(first) / middle["norms"][0][i],
                "rate_late": whole * root_mean_square(grads[-max(1, len(grads) // 4) :]) / norm,
                "move_late": root_mean_square([m[i] for m in middle["moves"]][-max(1, len(grads) // 4) :]),
            }
        )
    return rows


def conclude(results: dict[str, Any]) -> Outcome:
    rates = (results["lr"], results["weight_decay"], results["momentum"])
    rows = results["summary"]
    at_start = max(max(r["start"]) / min(r["start"]) for r in rows)
    at_end = max(max(r["late"]) / min(r["late"]) for r in rows)
    misses = [r["late"][SCALES.index(1.0)] / r["predicted"] - 1 for r in rows]
    expected_rate, expected_move = equilibrium.relative_rate(*rates), equilibrium.relative_step(*rates)
    late_rates, first_rates = [r["rate_late"] for r in rows], [r["rate_start"] for r in rows]
    moves = [r["move_late"] for r in rows]
    accuracies = [s["accuracy"] for s in results["starts"]]
    turns = results["starts"][SCALES.index(1.0)]["turn"]
    met = at_end < 1.5
    answer = (
        f"Filters started {at_start:.0f} times apart in size end {at_end:.2f} times apart at most:"
        f" {'they meet' if met else 'they have not met yet'}. From the measured gradients, the size where"
        f" decay and growth balance is predicted; the run started at x1 is off it by"
        f" {100 * min(misses):+.0f}% to {100 * max(misses):+.0f}% in the {len(rows)} layers. The prediction"
        f" takes successive gradients for independent; their cosines are {min(turns):+.2f} to"
        f" {max(turns):+.2f}. A gradient moves a layer by {min(first_rates):.2f} to {max(first_rates):.2f}"
        f" of its size at first and by {min(late_rates):.2f} to {max(late_rates):.2f} late in the run, where"
        f" sqrt(2 lr wd / (1 - m)) = {expected_rate:.2f} is predicted for every layer; one step is"
        f" {min(moves):.3f} to {max(moves):.3f} of the weights ({expected_move:.3f} predicted). Test"
        f" accuracies from the three starts: {', '.join(f'{a:.1f}%' for a in accuracies)}."
    )
    lars = results["lars"]
    if lars["accuracy"] is not None:
        answer += (
            " LARS, told to move each layer by that share outright and without decay:"
            f" {lars['accuracy']:.1f}%."
        )
    head = ["layer", *(f"start x{s:g}" for s in SCALES), *(f"late x{s:g}" for s in SCALES), "predicted",
            "H g/w first", "H g/w late", "step/w late"]  # fmt: skip
    cells = [
        [
            r["layer"].removeprefix("body.").removesuffix(".weight"),
            *(f"{v:.3g}" for v in (*r["start"], *r["late"], r["predicted"])),
            f"{r['rate_start']:.3f}",
            f"{r['rate_late']:.3f}",
            f"{r['move_late']:.4f}",
        ]
        for r in rows
    ]
    kept = {**results, "predicted_rate": expected_rate, "predicted_step": expected_move}
    return Outcome(
        answer,
        (Titled("norms of the filters", Table(head, cells)),),
        (draw_norms(results, rows), draw_rates(results, expected_rate)),
        kept,
    )


def draw_norms(results: dict[str, Any], rows: list[dict[str, Any]]) -> Drawing:
    chosen = [0, len(rows) // 2, len(rows) - 1]
    figure, axes = new_figure(10.5, 3.6, 1, 3)
    rates = (results["lr"], results["weight_decay"], results["momentum"])
    steps = range(0, results["steps"] + 1, results["every"])
    for ax, i in zip(axes, chosen, strict=True):
        force = (
            rows[i]["predicted"] ** 2
            / (equilibrium.whole_rate(results["lr"], results["momentum"]) / (2 * results["weight_decay"]))
            ** 0.5
        )
        for start, colour in zip(results["starts"], COLOURS, strict=True):
            norms = [row[i] for row in start["norms"]]
            ax.plot(steps, norms, color=colour, label=f"started x{start['scale']:g}")
            model = [equilibrium.norm_after(t, norms[0], force, *rates) for t in steps]
            ax.plot(steps, model, color=colour, ls=":", lw=1)
        ax.axhline(rows[i]["predicted"], color=GREY, lw=1, ls="--", label="predicted balance")
        ax.set(xlabel="step", yscale="log")
        ax.set_title(rows[i]["layer"].removeprefix("body.").removesuffix(".weight"), loc="left", fontsize=10)
    axes[0].set(ylabel="norm of the layer's filters")
    axes[0].legend(frameon=False, fontsize=8)
    caption = (
        "Three runs that differ in the size of the initial filters, in three layers. Solid: measured. Dotted:"
        " the law |w|^4 -> equilibrium, with the force measured late in the run started at x1."
    )
    return Drawing("weight-norms", figure, caption)


def draw_rates(results: dict[str, Any], expected: float) -> Drawing:
    figure, axes = new_figure(10.5, 3.4, 1, 3, sharey=True)
    steps = range(0, results["steps"], results["every"])
    for ax, start in zip(axes, results["starts"], strict=True):
        for i, name in enumerate(results["layers"]):
            label = name.removeprefix("body.").removesuffix(".weight")
            ax.plot(steps, [row[i] for row in start["rates"]], lw=1.2, label=label)
        ax.axhline(expected, color="k", lw=1, ls="--")
        ax.set(xlabel="step", yscale="log")
        ax.set_title(f"started x{start['scale']:g}", loc="left", fontsize=10)
    axes[0].set(ylabel="lr |g| / ((1 - m) |w|)")
    axes[-1].legend(frameon=False, fontsize=6)
    caption = (
        "How far a gradient moves each layer, as a share of its weights; dashed: sqrt(2 lr wd / (1 - m))."
    )
    return Drawing("relative-rates", figure, caption)


TOPIC = Topic(
    "weight-norms",
    "weight decay and weights without a scale",
    "What does weight decay do to filters whose scale does not change what the net computes?",
    "06-weight-decay.md",
    experiment,
    conclude,
)
