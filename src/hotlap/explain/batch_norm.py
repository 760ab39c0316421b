"""Post 7: what batch norm does to activations, and why deep nets need it."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from hotlap.explain import Drawing, Outcome, Setting, Titled, Topic
from hotlap.report.page import Table
from hotlap.report.plots import BLUE, RED, new_figure

NORMED = {True: "with norm", False: "without norm"}


def experiment(setting: Setting) -> Outcome:
    import torch

    from hotlap.engine.lower import lower
    from hotlap.explain import small
    from hotlap.inspect.activations import channel_histograms, depth_statistics, mean_share, watched_norms
    from hotlap.nets import ResNet9
    from hotlap.seeds import generator

    quick, seed = setting.quick, setting.seeds[0]
    count = 32 if quick else 128
    net = ResNet9(widths=(8, 8, 8, 8)) if quick else ResNet9()
    side = 16 if quick else max(setting.dataset.spec.shape[1:])
    dataset = small.subset(setting.dataset, count, 16, side)
    plan = replace(small.small_plan(min(count, len(dataset.train)), 1.0, 0.1), net=net)
    setting.tick(0, 2, f"the nine-layer net, untrained, on {dataset.spec.train_count} training images")
    program = lower(plan, dataset, setting.backend)
    program.upload()
    program.begin(seed)
    images = program.train_set.read(torch.arange(len(dataset.train), device=setting.backend.device))
    with torch.no_grad(), watched_norms(program.model) as seen:
        program.model.train()(images)
    norms = []
    for i, (name, (x, out)) in enumerate(seen.items()):
        row: dict[str, Any] = {"norm": name, "share_before": mean_share(x), "share_after": mean_share(out)}
        if i in (0, len(seen) - 1):
            row["before"] = asdict(channel_histograms(x, 8, 60))
            row["after"] = asdict(channel_histograms(out, 8, 60))
        norms.append(row)
    depth, width = (8, 8) if quick else (50, 64)
    setting.tick(1, 2, f"plain nets of {depth} layers of {width} channels, untrained, with norms and without")
    shrunk = small.subset(setting.dataset, min(count, 64), 16)
    program = lower(replace(plan, batch_size=len(shrunk.train), net=small.NET), shrunk, setting.backend)
    program.upload()
    images = program.train_set.read(torch.arange(len(shrunk.train), device=setting.backend.device))
    deep: dict[str, list[dict[str, float]]] = {}
    for normed, name in NORMED.items():
        runs = [
            depth_statistics(images, depth, width, normed, generator(s, "init", "deep"))
            for s in setting.seeds
        ]
        deep[name] = [{k: sum(r[i][k] for r in runs) / len(runs) for k in runs[0][i]} for i in range(depth)]
    return conclude({"images": count, "norms": norms, "depth": depth, "width": width, "deep": deep})


def through_relu(r: float) -> float:
    """Correlation of two images after a ReLU and a random layer of endless width, if it was `r` before.

    The arc-cosine kernel of first degree (Cho and Saul, 2009).
    """
    r = min(1.0, max(-1.0, r))
    return (math.sqrt(1 - r * r) + r * (math.pi - math.acos(r))) / math.pi


def expected_likeness(first: float, depth: int) -> list[float]:
    """The cosine of two images at each of `depth` layers without norms, from that at the first."""
    found = [first]
    while len(found) < depth:
        found.append(through_relu(found[-1]))
    return found


def conclude(results: dict[str, Any]) -> Outcome:
    norms, deep = results["norms"], results["deep"]
    expected = expected_likeness(deep[NORMED[False]][0]["likeness"], results["depth"])
    results = {**results, "expected_likeness": expected}
    plain, normed = deep[NORMED[False]], deep[NORMED[True]]
    before = [n["share_before"] for n in norms]
    after = max(n["share_after"] for n in norms)
    answer = (
        f"In the untrained nine-layer net the channels' means make up {100 * min(before):.0f}% to"
        f" {100 * max(before):.0f}% of the mean square that reaches a norm, and {100 * after:.1f}% at most"
        f" after it. In a plain net of {results['depth']} layers without norms that share goes from"
        f" {100 * plain[0]['mean_share']:.0f}% at the first layer to {100 * plain[-1]['mean_share']:.0f}%"
        f" at the last, {100 * plain[-1]['one_sided']:.0f}% of the last channels never change sign, and two"
        f" images come out with a cosine of {plain[-1]['likeness']:.3f} ({plain[0]['likeness']:.3f} at the"
        " first layer):"
    )
    told = plain[-1]["likeness"] > 0.9 and normed[-1]["likeness"] < 0.5
    answer += (
        " the net says nearly the same of every image. " if told else " the images can still be told apart. "
    )
    answer += (
        f"With norms the figures at the last layer are {100 * normed[-1]['mean_share']:.0f}%,"
        f" {100 * normed[-1]['one_sided']:.0f}% and {normed[-1]['likeness']:.3f}."
    )
    rows = [
        [n["norm"].removeprefix("body."), f"{100 * n['share_before']:.1f}%", f"{100 * n['share_after']:.2f}%"]
        for n in norms
    ]
    depths = sorted({1, 2, 5, 10, 20, 30, 40, results["depth"]} & set(range(1, results["depth"] + 1)))
    deep_rows = [
        [str(d), *(f"{100 * net[d - 1][k]:.0f}%" if k != "likeness" else f"{net[d - 1][k]:.3f}"
                   for net in (plain, normed) for k in ("mean_share", "one_sided", "likeness")),
         f"{expected[d - 1]:.3f}"]
        for d in depths
    ]  # fmt: skip
    columns = ("mean's share", "one-sided", "cosine")
    head = [
        "layer",
        *(f"{c}, {n}" for n in (NORMED[False], NORMED[True]) for c in columns),
        "cosine, expected without",
    ]
    return Outcome(
        answer,
        (
            Titled(
                "share of the mean square in the channels' means, nine-layer net",
                Table(["norm", "before", "after"], rows),
            ),
            Titled("what the ReLUs of a deep plain net read", Table(head, deep_rows)),
        ),
        (draw_histograms(norms), draw_depth(results)),
        results,
    )


def draw_histograms(norms: list[dict[str, Any]]) -> Drawing:
    shown = [n for n in norms if "before" in n]
    figure, axes = new_figure(9.6, 3.4 * len(shown), len(shown), 2, squeeze=False)
    for row, norm in zip(axes, shown, strict=True):
        for ax, when in zip(row, ("before", "after"), strict=True):
            h = norm[when]
            middles = [(a + b) / 2 for a, b in zip(h["edges"], h["edges"][1:], strict=False)]
            top = max(max(c) for c in h["counts"])
            for i, counts in enumerate(h["counts"]):
                line = ax.plot(middles, counts, lw=1.2)[0]
                y = -0.04 * top * (i + 1)
                ax.plot([h["low"][i], h["high"][i]], [y, y], color=line.get_color(), lw=0.6, marker="|", ms=5)
                ax.plot([h["mean"][i]], [y], color=line.get_color(), marker="o", ms=4)
            ax.axvline(0, color="k", lw=0.6)
            ax.set_yticks([])
            ax.set(xlabel="value", ylabel="share of values")
            ax.set_title(f"{norm['norm'].removeprefix('body.')}: {when}", loc="left", fontsize=10)
    caption = (
        "Values of eight channels of an untrained net over a batch of real images, before and after its first"
        " and its last norm. Below: each channel's smallest and largest value (ticks) and mean (dot)."
    )
    return Drawing("histograms", figure, caption)


def draw_depth(results: dict[str, Any]) -> Drawing:
    figure, axes = new_figure(10.5, 3.4, 1, 3)
    parts = (
        ("mean_share", "share of the channels' means"),
        ("one_sided", "channels that never change sign"),
        ("likeness", "cosine between two images"),
    )
    for ax, (key, label) in zip(axes, parts, strict=True):
        for name, colour in zip((NORMED[False], NORMED[True]), (RED, BLUE), strict=True):
            rows = results["deep"][name]
            ax.plot([r["layer"] for r in rows], [r[key] for r in rows], color=colour, label=name)
        ax.set(xlabel="layer", ylim=(-0.03 if key != "likeness" else None, 1.03))
        ax.set_title(label, loc="left", fontsize=10)
    expected = results["expected_likeness"]
    axes[2].plot(range(1, len(expected) + 1), expected, color="k", lw=1, ls=":", label="endless width")
    axes[0].legend(frameon=False)
    axes[2].legend(frameon=False, loc="center right")
    caption = (
        f"What each ReLU reads in an untrained plain net of {results['depth']} layers: the share of the mean"
        " square that is only the channel's mean, channels with one sign in 99% of places, and how alike two"
        " different images have become (dotted: what random layers of endless width do without norms)."
    )
    return Drawing("depth", figure, caption)


TOPIC = Topic(
    "batch-norm",
    "what batch norm does to activations",
    "What does a norm change in the activations, and what happens in a deep net without?",
    "07-batch-norm.md",
    experiment,
    conclude,
)
