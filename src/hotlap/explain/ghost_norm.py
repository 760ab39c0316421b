"""Posts 7 and 8: the noise of batch statistics, and whether a batch split over devices is ghost norm."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hotlap.explain import Drawing, Outcome, Setting, Titled, Topic
from hotlap.report.page import Table
from hotlap.report.plots import AMBER, BLUE, GREEN, GREY, RED, new_figure

if TYPE_CHECKING:
    from torch import Tensor

COLOURS = (BLUE, GREEN, AMBER, RED)
NOISE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # ticks
SAME = 1e-9  # outputs are of size 1; float64 sums in another order differ by far less


def experiment(setting: Setting) -> Outcome:
    import torch

    from hotlap.explain import small
    from hotlap.inspect.activations import Moments, statistics_spread, watched_norms
    from hotlap.seeds import generator

    quick, seed = setting.quick, setting.seeds[0]
    sizes = (8, 32, 128) if quick else (8, 16, 32, 64, 128, 256, 512)
    batch, splits, devices = (128, 16, 4) if quick else (512, 16, 4)
    dataset = small.subset(setting.dataset, 512 if quick else 4096, 128 if quick else 1024)
    setting.tick(0, 3, "a narrow nine-layer net, two epochs of training")
    program = small.prepare(small.small_plan(64, 0.5 if quick else 2.0, 0.2), dataset, setting)
    small.run(program, seed)
    setting.tick(1, 3, f"statistics over groups of {sizes[0]} to {sizes[-1]}")
    inputs: dict[str, list[Tensor]] = {}
    program.model.eval()
    with torch.no_grad(), watched_norms(program.model) as seen:
        for index in torch.arange(len(dataset.train), device=setting.backend.device).split(512):
            program.model(program.train_set.read(index))
            for name, (x, _) in seen.items():
                inputs.setdefault(name, []).append(x.float().cpu())
    chosen = [n for n in inputs if n.count(".") == 2]  # the stem's and each layer's, not those of branches
    layers = []
    for name in chosen:
        x = torch.cat(inputs[name])
        at = torch.randint(x.shape[2] * x.shape[3], (64,), generator=generator(seed, "order", "probes"))
        probes = x[:64].flatten(2)[torch.arange(len(x[:64])), :, at[: len(x[:64])]]
        groups = 200 if quick else 4000
        spreads = [asdict(statistics_spread(Moments.of(x), probes, n, groups, seed)) for n in sizes]
        places = x.shape[2] * x.shape[3]
        layers.append({"norm": name, "places": places, "spreads": spreads})
    setting.tick(2, 3, "one norm, on one device and on several")
    x = torch.cat(inputs[chosen[1]])
    if len(x) < devices * batch:
        x = x.repeat(-(-devices * batch // len(x)), 1, 1, 1)
    return conclude(
        {
            "sizes": sizes,
            "batch": batch,
            "splits": splits,
            "devices": devices,
            "layers": layers,
            "arrangements": arrangements(x, batch, splits, devices),
        }
    )


def arrangements(x: Tensor, batch: int, splits: int, devices: int) -> list[dict[str, Any]]:
    """One norm's outputs for the first `batch` of x (N, C, H, W) in five arrangements, against the first.

    Devices are played by taking their parts of the batch one after the other; a synchronised norm is played
    as it works, by adding up the devices' sums before dividing.
    """
    import torch

    from hotlap.nets import Norm
    from hotlap.nets.norms import BatchNorm

    def norm(x: Tensor, parts: int = 1) -> Tensor:
        module = BatchNorm(x.shape[1], Norm(splits=parts, grouping="contiguous")).double()
        module.reset(torch.Generator())
        with torch.no_grad():
            out: Tensor = module.train()(x)
        return out

    x = x[: devices * batch].double()
    first = x[:batch]
    shards = first.chunk(splits)
    count = first.numel() / first.shape[1]
    sums = torch.stack([s.sum((0, 2, 3)) for s in shards]).sum(0)
    squares = torch.stack([s.square().sum((0, 2, 3)) for s in shards]).sum(0)
    mean = (sums / count)[:, None, None]
    var = (squares / count)[:, None, None] - mean.square()
    synchronised = (first - mean) / (var + Norm().eps).sqrt()
    each, whole = batch // splits, len(x)
    ghost, split_up = norm(first, splits), torch.cat([norm(s) for s in shards])
    many = torch.cat([norm(s) for s in x.chunk(devices)])[:batch]
    outs = [
        (f"1 device, batch {batch}", batch, norm(first)),
        (f"1 device, batch {batch}, ghost norm in {splits} parts", each, ghost),
        (f"{splits} devices, batch {batch} split over them, each its own norm", each, split_up),
        (f"{splits} devices, batch {batch} split over them, norm synchronised", batch, synchronised),
        (f"{devices} devices, batch {whole} split over them, each its own norm", batch, many),
    ]
    return [
        {
            "arrangement": text,
            "group": group,
            "to_plain": float((out - outs[0][2]).abs().max()),
            "to_ghost": float((out - ghost).abs().max()),
        }
        for text, group, out in outs
    ]


def falls(layer: dict[str, Any], key: str) -> float:
    """How many times smaller the spread gets from the smallest group to the largest."""
    return float(layer["spreads"][0][key] / layer["spreads"][-1][key])


def difference(value: float) -> str:
    return "none" if value < SAME else f"{value:.2f}"


def conclude(results: dict[str, Any]) -> Outcome:
    layers, sizes = results["layers"], results["sizes"]
    root = (sizes[-1] / sizes[0]) ** 0.5
    factors = [falls(layer, "mean") for layer in layers]
    outputs = [[s["output"] for s in layer["spreads"]] for layer in layers]
    answer = (
        f"From groups of {sizes[0]} to groups of {sizes[-1]} the spread of the groups' means falls"
        f" {min(factors):.1f} to {max(factors):.1f} times; 1 / sqrt(n) says {root:.1f}. One and the same"
        f" value comes out of the norm with a noise of {min(o[0] for o in outputs):.2f} to"
        f" {max(o[0] for o in outputs):.2f} at {sizes[0]} and {min(o[-1] for o in outputs):.3f} to"
        f" {max(o[-1] for o in outputs):.3f} at {sizes[-1]}, in units of its sd. "
    )
    _, ghost, split_up, synchronised, many = results["arrangements"]
    answer += (
        f"Ghost norm in {results['splits']} parts changes outputs on one device by up to"
        f" {ghost['to_plain']:.2f}"
    )
    if split_up["to_ghost"] < SAME and many["to_plain"] < SAME and synchronised["to_plain"] < SAME:
        answer += (
            f"; so does splitting the same {results['batch']} over {results['splits']} devices whose norms"
            " do not talk to each other, with the very same outputs. Nothing else does: one device, devices"
            f" with synchronised norms, and {results['devices']} devices of {results['batch']} each all"
            f" normalise over {results['batch']}. So it is not what one already does, unless the groups are"
            " that small already."
        )
    else:
        answer += ", and the arrangements do not fall into the two expected kinds; see the table."
    rows = [
        [str(n), *(f"{layer['spreads'][i][k]:.4f}" for layer in layers for k in ("mean", "output"))]
        for i, n in enumerate(sizes)
    ]
    names = [layer["norm"].removeprefix("body.").removesuffix(".norm") for layer in layers]
    head = ["group", *(f"{name}: {k}" for name in names for k in ("mean", "output"))]
    table = [
        [a["arrangement"], str(a["group"]), difference(a["to_plain"]), difference(a["to_ghost"])]
        for a in results["arrangements"]
    ]
    return Outcome(
        answer,
        (
            Titled("noise by size of the group, in the channel's sd", Table(head, rows)),
            Titled(
                "largest difference of the outputs",
                Table(["arrangement", "statistics over", "from plain", "from ghost"], table),
            ),
        ),
        (draw(results),),
        {**results, "predicted_fall": root, "falls": factors},
    )


def draw(results: dict[str, Any]) -> Drawing:
    figure, axes = new_figure(9.6, 3.8, 1, 2, sharey=True)
    for layer, colour in zip(results["layers"], COLOURS, strict=False):
        name = layer["norm"].removeprefix("body.").removesuffix(".norm")
        for ax, key in zip(axes, ("mean", "output"), strict=True):
            values = [s[key] for s in layer["spreads"]]
            ax.plot(results["sizes"], values, color=colour, marker="o", ms=3, label=name)
        expected = [s["predicted_mean"] for s in layer["spreads"]]
        axes[0].plot(results["sizes"], expected, color=colour, ls=":", lw=1)
    first = results["layers"][0]["spreads"][0]
    slope = [first["output"] * (results["sizes"][0] / n) ** 0.5 for n in results["sizes"]]
    axes[1].plot(results["sizes"], slope, color=GREY, ls="--", lw=1, label="1 / sqrt(n)")
    everything = [s[k] for layer in results["layers"] for s in layer["spreads"] for k in ("mean", "output")]
    low, high = min(everything), max(everything)
    titles = ("spread of the groups' means", "noise of one value after the norm")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(xscale="log", yscale="log", xlabel="examples in a group")
        ax.set_xticks(results["sizes"], [str(n) for n in results["sizes"]])
        ax.set_yticks(NOISE, [f"{v:g}" for v in NOISE])
        ax.set_ylim(low / 1.3, high * 1.3)
        ax.minorticks_off()
        ax.set_title(title, loc="left", fontsize=10)
        ax.legend(frameon=False)
    axes[0].set(ylabel="sd over groups / sd of the channel")
    caption = (
        "How much batch statistics differ from group to group, by layer. Dotted: images' own means spread by"
        " s, so groups' means by s / sqrt(n). Pixels of one image are alike: they do not count as"
        " examples."
    )
    return Drawing("statistics-noise", figure, caption)


TOPIC = Topic(
    "ghost-norm",
    "ghost batch norm and the noise of statistics",
    "Is ghost norm not what a batch split over devices does already?",
    "07-batch-norm.md",
    experiment,
    conclude,
)
