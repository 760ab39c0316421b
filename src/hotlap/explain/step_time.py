"""Post 3: where the time of a training step goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hotlap.errors import UserError
from hotlap.explain import Drawing, Outcome, Setting, Titled, Topic
from hotlap.plan import HardExamples
from hotlap.report.page import Table
from hotlap.report.plots import new_figure
from hotlap.report.process_times import stack

DEFAULT = ("page/06-larger-batch", "page/07-norm-in-fp32")


def experiment(setting: Setting) -> Outcome:
    from hotlap.engine.lower import lower
    from hotlap.explain import small
    from hotlap.inspect.cost import cost
    from hotlap.inspect.operations import profile_steps
    from hotlap.inspect.roofline import product_rate
    from hotlap.machine.resolve import resolve
    from hotlap.recipes import find

    names = setting.recipes or DEFAULT
    steps = 1 if setting.quick else 2
    rows: list[dict[str, Any]] = []
    rates: dict[str, float] = {}
    for i, name in enumerate(names):
        plan = find(name).plan()
        if setting.quick:
            plan = replace(plan, batch_size=max(8, plan.net.norm.splits))
        if isinstance(plan.sampler, HardExamples):
            raise UserError(f"explain step-time: {name} chooses its images by a net of its own; give another")
        # enough images for the steps, of the data's own size: it is their time that is looked at
        count = plan.batch_size * steps
        dataset = small.subset(setting.dataset, count, 16, side=max(setting.dataset.spec.shape[1:]))
        if dataset.spec.train_count < count:
            raise UserError(
                f"explain step-time: {name} needs {count:,} training images and the data has"
                f" {dataset.spec.train_count:,}; give larger --data"
            )
        backend = resolve(plan.numerics, setting.backend.device)
        setting.tick(i, len(names), f"{name}: {4 * steps} steps of {plan.batch_size} in {backend.precision}")
        program = lower(plan, dataset, backend)
        program.upload()
        program.begin(0)
        profile = profile_steps(program, 0, steps)
        if backend.precision not in rates:
            rates[backend.precision] = product_rate(backend, 512 if setting.quick else 2048)
        half = plan.net.norm.precision == "half"
        rows.append(
            {
                "recipe": name,
                "precision": backend.precision,
                "norm_precision": backend.precision if half else "fp32",
                "device": backend.device.type,
                "batch": profile.images,
                "ms": profile.kinds,
                "step_ms": profile.step_ms,
                "unwatched_ms": profile.unwatched_ms,
                "step_flops": cost(plan, dataset.spec).training / program.steps,
                "product_flops_per_s": rates[backend.precision],
            }
        )
    return conclude({"steps": steps, "recipes": rows})


def reach(row: dict[str, Any]) -> float:
    """The share of a step's time that its arithmetic would take at the rate of a large matrix product."""
    return float(row["step_flops"] / row["product_flops_per_s"] / (row["unwatched_ms"] / 1e3))


def shares(row: dict[str, Any]) -> dict[str, float]:
    total = sum(row["ms"].values())
    return {kind: ms / total for kind, ms in row["ms"].items()}


def conclude(results: dict[str, Any]) -> Outcome:
    rows = results["recipes"]
    parts = []
    for row in rows:
        share = shares(row)
        conv = share["convolution forward"] + share["convolution backward"]
        parts.append(
            f"{row['recipe']} ({row['precision']}, norms in {row['norm_precision']}, {row['batch']} images a"
            f" step): convolutions {100 * conv:.0f}%, norms {100 * share['norm']:.0f}%"
        )
    answer = "Of the time inside operations: " + "; ".join(parts) + "."
    if len(rows) > 1:
        first, last = (row["ms"]["norm"] / row["batch"] for row in (rows[0], rows[-1]))
        whole = [row["unwatched_ms"] / row["batch"] for row in (rows[0], rows[-1])]
        answer += (
            f" From the first to the last, norms take {last / first:.2f} times the time per image and a step"
            f" {whole[1] / whole[0]:.2f} times."
        )
    best = max(rows, key=reach)
    answer += (
        f" {best['recipe']} does its arithmetic at {100 * reach(best):.0f}% of the rate of a large matrix"
        f" product in {best['precision']} ({best['product_flops_per_s'] / 1e9:,.0f} GFLOP/s here);"
        " convolutions that need fewer products than are counted can bring it above 100%."
    )
    if rows[0]["device"] == "cpu":
        answer += (
            " This is a CPU: the slow path that half-precision norms fell into on a V100 was one of its"
            " library's, which a CPU does not have."
        )
    kinds = [kind for kind in rows[0]["ms"] if any(row["ms"][kind] for row in rows)]
    head = ["kind", *(f"{r['recipe']} ms/step" for r in rows), *("share" for _ in rows)]
    cells = [
        [
            kind,
            *(f"{r['ms'][kind]:.1f}" for r in rows),
            *(f"{100 * shares(r)[kind]:.1f}%" for r in rows),
        ]
        for kind in kinds
    ]
    total = [f"{sum(r['ms'].values()):.1f}" for r in rows]
    cells.append(["in operations", *total, *("100.0%" for _ in rows)])
    cells.append(["a whole step", *(f"{r['unwatched_ms']:.1f}" for r in rows), *("" for _ in rows)])
    cells.append(["of a product's rate", *(f"{100 * reach(r):.0f}%" for r in rows), *("" for _ in rows)])
    return Outcome(answer, (Titled("time by kind", Table(head, cells)),), (draw(results),), results)


def draw(results: dict[str, Any]) -> Drawing:
    rows = results["recipes"]
    figure, ax = new_figure(9.0, 1.6 + 0.7 * len(rows))
    names = [
        f"{r['recipe']}\n{r['precision']}, norms {r['norm_precision']}, batch {r['batch']}" for r in rows
    ]
    stack(ax, names, [{kind: ms / r["batch"] for kind, ms in r["ms"].items()} for r in rows])
    ax.set(xlabel="milliseconds per image, in operations")
    ax.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.4, -0.3), fontsize=8)
    ax.set_title("where a training step's time goes", loc="left")
    return Drawing("step-time", figure, "Time inside operations, per image, by kind of operation.")


TOPIC = Topic(
    "step-time",
    "where a step's time goes",
    "Which kinds of operation take the time of a training step?",
    "03-regularisation.md",
    experiment,
    conclude,
    takes_recipes=True,
)
