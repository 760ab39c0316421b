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
    rates = [0.0125 * 4.0**k for k in range(3)] if quick else [0.025 * 2.0**k for k in range(11)]
    rates = [r * 512 / largest / 512 for r in rates]  # per example
    epochs = 1.0 if quick else 4.0
    dataset = small.subset(setting.dataset, 256 if quick else 4096, 128 if quick else 1024)
    setting.say(
        f"{small.describe(dataset)}, batches of {', '.join(map(str, batches))}, {epochs:g} epochs each,"
        f" {len(rates)} rates: the same rates per example for every batch size"
    )
    runs: list[dict[str, Any]] = []
    for i, batch in enumerate(batches):
        for j, rate in enumerate(rates):
            setting.tick(i * len(rates) + j, len(batches) * len(rates), f"batch {batch}, rate {rate:.2g}")
            plan = small.small_plan(batch, epochs, rate * batch)
            runs.append({"batch": batch, "rate": rate, **small.outcome_of(plan, dataset, setting)})
    best = min((r for r in runs if r["loss"] is not None), key=lambda r: r["loss"])
    memory = [
        {"rate": rate, "bins": forgetting(setting, dataset, batches[0], rate)}
        for rate in (best["rate"] / 16, best["rate"] * (1 if quick else 4))
    ]
    return conclude({"batches": batches, "rates": rates, "epochs": epochs, "runs": runs, "memory": memory})


def forgetting(setting: Setting, dataset: Any, batch: int, rate: float) -> list[float]:
    """Loss of training images by how long ago they were last trained on, most recent first.

    Two epochs at a constant rate; the images of the second are taken in its order, in eighths.
    """
    from hotlap.explain import small

    plan = small.small_plan(batch, 2.0, rate * batch, schedule=small.Constant())
    program = small.prepare(plan, dataset, setting)
    sums = [0.0] * 8
    for seed in setting.seeds:
        if not small.run(program, seed):
            return []
        losses = small.train_losses(program)[program.feed.order]
        parts = losses[: len(losses) // 8 * 8].view(8, -1).mean(1).flip(0).tolist()
        sums = [a + b / len(setting.seeds) for a, b in zip(sums, parts, strict=True)]
    return sums


def limits(results: dict[str, Any]) -> list[dict[str, Any]]:
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
        found.append(
            {"batch": batch, "best": best["rate"], "loss": best["loss"], "edge": edge, "seen": bool(past)}
        )
    return found


def together(results: dict[str, Any]) -> dict[int, float | None]:
    """For each larger batch, the largest rate per example up to which it ends as the smallest batch does."""
    at = {(r["batch"], r["rate"]): r["loss"] for r in results["runs"]}
    first, *others = results["batches"]
    found: dict[int, float | None] = {}
    for batch in others:
        found[batch] = None
        for rate in results["rates"]:
            one, other = at[first, rate], at[batch, rate]
            if one is None or other is None or abs(other / one - 1) > TOGETHER:
                break
            found[batch] = rate
    return found


def conclude(results: dict[str, Any]) -> Outcome:
    found, agree = limits(results), together(results)
    small_one, large_one = found[0], found[-1]
    parts = [
        f"batches of {batch} end within {100 * TOGETHER:.0f}% of that up to {rate:.2g} per example"
        if rate
        else f"batches of {batch} end elsewhere at every rate"
        for batch, rate in agree.items()
    ]
    answer = f"Against the loss that batches of {small_one['batch']} end in, {' and '.join(parts)}. "
    if small_one["seen"] and large_one["seen"]:
        answer += what_limits(small_one, large_one)
    else:
        answer += "The rates tried do not reach the limit of every batch size. "
    for memory in results["memory"]:
        bins = memory["bins"]
        if bins:
            memory["forgotten"] = sum(bins[-2:]) / 2 - bins[0]
    slow, fast = (m.get("forgotten") for m in results["memory"])
    if slow is not None and fast is not None:
        answer += (
            f"After two epochs at {results['memory'][0]['rate']:.2g} per example, images seen longest ago"
            f" have a loss {slow:+.2f} against those just seen; at {results['memory'][1]['rate']:.2g} it is"
            f" {fast:+.2f}{': the faster net forgets more' if fast > slow else ''}."
        )
    results = {**results, "limits": found, "together_until": agree}
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


def what_limits(small_one: dict[str, Any], large_one: dict[str, Any]) -> str:
    """Whether the step or the rate per example is what the limits have in common."""
    per_example = small_one["edge"] / large_one["edge"]
    growth = large_one["batch"] / small_one["batch"]
    text = (
        f"The loss stays within {100 * WORSE:.0f}% of its best up to {small_one['edge']:.2g} per example with"
        f" batches of {small_one['batch']} and up to {large_one['edge']:.2g} with {large_one['batch']}: the"
        f" larger batch takes {1 / per_example:.2g} times the rate per example,"
        f" {growth / per_example:.2g} times the rate per step. "
    )
    if per_example > growth**0.5:
        return text + "So what is limited is more the step: curvature. "
    return text + "So what is limited is more the rate per example: forgetting. "


def cell(loss: float | None) -> str:
    return "diverged" if loss is None else f"{loss:.3f}"


def draw_losses(results: dict[str, Any]) -> Drawing:
    figure, axes = new_figure(9.6, 4.0, 1, 2, sharey=True)
    # a loss far above that of a net that has hardly learnt says only that the rate was too high
    top = 1.2 * max(r["loss"] or 0.0 for r in results["runs"] if r["rate"] == results["rates"][0])
    for batch, colour in zip(results["batches"], COLOURS, strict=False):
        runs = [r for r in results["runs"] if r["batch"] == batch]
        shown = [r for r in runs if r["loss"] is not None and r["loss"] <= top]
        for ax, times in zip(axes, (1, batch), strict=True):
            xs, losses = [r["rate"] * times for r in shown], [r["loss"] for r in shown]
            ax.plot(xs, losses, color=colour, marker="o", ms=3, label=f"batch {batch}")
            off = [r["rate"] * times for r in runs if r not in shown]
            ax.plot(off, [0.98 * top] * len(off), color=colour, marker="^", ms=6, ls="none")
    for ax, label in zip(axes, ("rate per example", "rate per step (per example x batch)"), strict=True):
        ax.set(xscale="log", xlabel=label, ylim=(None, top))
        ax.legend(frameon=False)
    axes[0].set(ylabel="training loss at the end (nats)")
    axes[0].set_title("same rate per example", loc="left")
    axes[1].set_title("same rate per step", loc="left")
    caption = (
        f"Training loss after {results['epochs']:g} epochs against the learning rate. Left: curves that lie"
        " on each other say that only the rate per example matters. Right: curves that turn up together say"
        " that the step is what is limited. Triangles: beyond the picture, or diverged."
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
    conclude,
)
