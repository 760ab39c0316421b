"""Post 2: what limits the learning rate, at small batches and at large ones."""

from __future__ import annotations

from typing import Any

from hotlap.explain import Drawing, Outcome, Setting, Titled, Topic
from hotlap.report.page import Table
from hotlap.report.plots import AMBER, BLUE, GREEN, GREY, RED, new_figure

COLOURS = (BLUE, GREEN, RED, AMBER)
TOGETHER = 0.05  # losses within this share of each other count as the same
WORSE = 0.10  # a loss this share above its best counts as past the limit


def experiment(setting: Setting) -> Outcome:
    from hotlap.explain import small

    quick = setting.quick
    batches = (16, 64) if quick else (32, 128, 512)
    largest = batches[-1]
    rates = [0.0125 * 4.0**k for k in range(3)] if quick else [0.0125 * 2.0**k for k in range(10)]
    rates = [r * 512 / largest / 512 for r in rates]  # per example
    epochs = 1.0 if quick else 4.0
    dataset = small.subset(setting.dataset, 256 if quick else 4096, 128 if quick else 1024)
    setting.say(
        f"{small.describe(dataset)}, batches of {', '.join(map(str, batches))}, {epochs:g} epochs each,"
        f" {len(rates)} rates: the same rates per example for every batch size"
    )
    runs = []
    for i, batch in enumerate(batches):
        for j, rate in enumerate(rates):
            setting.tick(i * len(rates) + j, len(batches) * len(rates), f"batch {batch}, rate {rate:.2g}")
            plan = small.small_plan(batch, epochs, rate * batch)
            runs.append({"batch": batch, "rate": rate, **small.outcome_of(plan, dataset, setting)})
    best = min((r for r in runs if r["loss"] is not None), key=lambda r: r["loss"])
    memory = [
        {"rate": rate, "bins": forgetting(setting, dataset, batches[0], rate)}
        for rate in (best["rate"] / 4, best["rate"] * (1 if quick else 4))
    ]
    return conclude({"batches": batches, "rates": rates, "epochs": epochs, "runs": runs, "memory": memory})


def forgetting(setting: Setting, dataset: Any, batch: int, rate: float) -> list[float]:
    """Loss of training images by how long ago they were last trained on, most recent first.

    Two epochs at a constant rate; the images of the second are taken in its order, in parts of a sixteenth.
    """
    from hotlap.explain import small

    plan = small.small_plan(batch, 2.0, rate * batch, schedule=small.Constant())
    program = small.prepare(plan, dataset, setting)
    sums = [0.0] * 16
    for seed in setting.seeds:
        if not small.run(program, seed):
            return []
        losses = small.train_losses(program)[program.feed.order]
        parts = losses[: len(losses) // 16 * 16].view(16, -1).mean(1).flip(0).tolist()
        sums = [a + b / len(setting.seeds) for a, b in zip(sums, parts, strict=True)]
    return sums


def limits(results: dict[str, Any]) -> list[dict[str, float]]:
    """For each batch size the best rate per example, its loss, and the last rate before it gets worse."""
    found = []
    for batch in results["batches"]:
        runs = [r for r in results["runs"] if r["batch"] == batch]
        sound = [r for r in runs if r["loss"] is not None]
        best = min(sound, key=lambda r: r["loss"])
        past = [
            r["rate"]
            for r in runs
            if r["rate"] > best["rate"] and (r["loss"] is None or r["loss"] > (1 + WORSE) * best["loss"])
        ]
        edge = max(r["rate"] for r in runs if not past or r["rate"] < min(past))
        found.append({"batch": batch, "best": best["rate"], "loss": best["loss"], "edge": edge})
    return found


def together(results: dict[str, Any]) -> tuple[float, float] | None:
    """The largest rate per example up to which all batch sizes agree, and the widest gap up to there."""
    last, widest = None, 0.0
    for rate in results["rates"]:
        losses = [r["loss"] for r in results["runs"] if r["rate"] == rate]
        if None in losses or max(losses) / min(losses) - 1 > TOGETHER:
            break
        last, widest = rate, max(widest, max(losses) / min(losses) - 1)
    return None if last is None else (last, widest)


def conclude(results: dict[str, Any]) -> Outcome:
    found, agree = limits(results), together(results)
    small_one, large_one = found[0], found[-1]
    if agree:
        answer = (
            f"Up to a rate of {agree[0]:.2g} per example the batch size does not matter: all losses lie within"
            f" {100 * agree[1]:.0f}% of each other there. "
        )
    else:
        answer = "At no rate per example do all batch sizes end in the same loss. "
    per_example, per_step = (
        small_one["edge"] / large_one["edge"],
        large_one["edge"] * large_one["batch"] / (small_one["edge"] * small_one["batch"]),
    )
    answer += (
        f"The loss gets {100 * WORSE:.0f}% worse than its best beyond {small_one['edge']:.2g} per example with"
        f" batches of {small_one['batch']} and beyond {large_one['edge']:.2g} with {large_one['batch']}:"
        f" the larger batch stands {per_example:.3g} times less per example and {per_step:.3g} times more per"
        " step. "
    )
    growth = large_one["batch"] / small_one["batch"]
    if per_example > growth**0.5:
        answer += "So it is the step that is limited, as curvature limits it, at large batches."
    elif per_example > 1:
        answer += "So between these sizes the rate per example is limited more than the step: forgetting."
    else:
        answer += "So here the rate per example is what is limited at all these sizes: forgetting."
    for memory in results["memory"]:
        bins = memory["bins"]
        if bins:
            memory["forgotten"] = sum(bins[-4:]) / 4 - bins[0]
    slow, fast = (m.get("forgotten") for m in results["memory"])
    if slow is not None and fast is not None:
        answer += (
            f" After two epochs at {results['memory'][0]['rate']:.2g} per example, images seen longest ago have"
            f" a loss {slow:+.2f} against those just seen; at {results['memory'][1]['rate']:.2g} it is"
            f" {fast:+.2f}{': the faster net forgets more' if fast > slow else ''}."
        )
    results = {**results, "limits": found, "together_until": agree[0] if agree else None}
    rows = [
        [f"{rate:.2g}", *(cell(r["loss"]) for r in results["runs"] if r["rate"] == rate)]
        for rate in results["rates"]
    ]
    head = ["rate per example", *(f"batch {b}" for b in results["batches"])]
    limit_rows = [
        [f"{f['batch']:.0f}", f"{f['loss']:.3f}", f"{f['best']:.2g}", f"{f['edge']:.2g}",
         f"{f['edge'] * f['batch']:.2g}"]
        for f in found
    ]  # fmt: skip
    limit_head = ["batch", "best loss", "at rate per example", "good up to", "that is a rate per step of"]
    return Outcome(
        answer,
        (
            Titled("training loss at the end", Table(head, rows)),
            Titled("limits of the rate", Table(limit_head, limit_rows)),
        ),
        (draw_losses(results), draw_memory(results)),
        results,
    )


def cell(loss: float | None) -> str:
    return "diverged" if loss is None else f"{loss:.3f}"


def draw_losses(results: dict[str, Any]) -> Drawing:
    figure, axes = new_figure(9.6, 4.0, 1, 2, sharey=True)
    for batch, colour in zip(results["batches"], COLOURS, strict=False):
        runs = [r for r in results["runs"] if r["batch"] == batch and r["loss"] is not None]
        losses = [r["loss"] for r in runs]
        for ax, times in zip(axes, (1, batch), strict=True):
            xs = [r["rate"] * times for r in runs]
            ax.plot(xs, losses, color=colour, marker="o", ms=3, label=f"batch {batch}")
    for ax, label in zip(axes, ("rate per example", "rate per step (per example x batch)"), strict=True):
        ax.set(xscale="log", yscale="log", xlabel=label)
        ax.legend(frameon=False)
    axes[0].set(ylabel="training loss at the end (nats)")
    axes[0].set_title("same rate per example", loc="left")
    axes[1].set_title("same rate per step", loc="left")
    caption = (
        f"Training loss after {results['epochs']:g} epochs against the learning rate. Left: curves that lie on"
        " each other say that only the rate per example matters. Right: curves that turn up together say that"
        " the step is what is limited."
    )
    return Drawing("batch-size", figure, caption)


def draw_memory(results: dict[str, Any]) -> Drawing:
    figure, ax = new_figure(6.4, 3.6)
    for memory, colour in zip(results["memory"], (GREY, RED), strict=True):
        bins = memory["bins"]
        ages = [(i + 0.5) / len(bins) for i in range(len(bins))]
        ax.plot(ages, bins, color=colour, marker="o", ms=3, label=f"{memory['rate']:.2g} per example")
    ax.set(xlabel="epochs since an image was last trained on", ylabel="its loss now (nats)")
    ax.legend(frameon=False, title="rate")
    ax.set_title(f"forgetting, batches of {results['batches'][0]}", loc="left")
    caption = "Training images after two epochs, by how long ago the net last saw them; the newest are left."
    return Drawing("forgetting", figure, caption)


TOPIC = Topic(
    "batch-size",
    "batch size and learning rate",
    "How far can the learning rate go at each batch size, and what stops it?",
    "02-mini-batches.md",
    experiment,
)
