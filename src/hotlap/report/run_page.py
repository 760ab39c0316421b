"""The page of a run: what it came to, where its seconds went, and what the net gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotlap.nets.outline import Outline
from hotlap.report.charts import Group, Line, Part, line_chart, reliability_diagram, stacked_bar
from hotlap.report.net_section import net_section
from hotlap.report.page import (
    Bar,
    Bars,
    Beside,
    Block,
    Claim,
    Code,
    Details,
    Diff,
    Facts,
    Gallery,
    Heading,
    Matrix,
    Picture,
    Table,
    Thumb,
    digits,
    render_page,
)
from hotlap.report.words import how_sure

BARS = 40  # classes that have a bar each; of more, only the lowest do
LOWEST = 20
MATRIX = 100  # classes a confusion matrix shows; of more, those that are most confused
PICTURED = 8  # pairs of classes that are shown with images
BAD = 200  # files that do not read, by name

# what the clocks count, in the order of a run; `hotlap.engine.clock` has them in full
CLOCKS = {
    "cold": "the process's start, up to the first step",
    "load": "reading the images, and bringing them to the device",
    "compile": "measuring and building what the machine lacked, compiling, warming up",
    "train": "from the images on the device to the final weights",
    "eval": "the final evaluation, with all its views",
    "watch": "evaluations, checkpoints and this report, which no claim counts",
}


@dataclass(frozen=True)
class Shown:
    """One of the images that were evaluated.

    Args:
        index: its number in its split.
        true, said: names of its class and of the one that the net says.
        probability: of what is said, 0 to 1.
        picture, looked: `data:` addresses of the image and of what is laid over it to show where the net
            looked; empty where there is none.
        small: whether the picture is to be shown with its pixels as squares.
        name: where it lies in its source, where that is known.
    """

    index: int
    true: str
    said: str
    probability: float
    picture: str = ""
    looked: str = ""
    small: bool = False
    name: str = ""


@dataclass(frozen=True)
class ClassLine:
    """A class: its images, those found, those said to be of it that are; shares from 0 to 1."""

    name: str
    count: int
    right: int
    accuracy: float | None
    precision: float | None = None
    f1: float | None = None
    train_count: int | None = None


@dataclass(frozen=True)
class Mistake:
    """Images of the class `true` that are said to be `said`: how many, their share of it, some of them."""

    true: str
    said: str
    count: int
    share: float
    images: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Sureness:
    """How far probabilities can be believed; as `hotlap.inspect.classification.Calibration`."""

    temperature: float
    fitted: bool
    ece: float
    ece_scaled: float
    groups: tuple[Group, ...]
    groups_scaled: tuple[Group, ...]


@dataclass(frozen=True)
class Findings:
    """What the analysis of the evaluated images found.

    Args:
        classes: in the order of `confusion`'s numbers.
        confusion: (true, said, images).
        unknown: images of classes that the net does not know.
        balanced_accuracy, top5: in percent.
    """

    classes: tuple[ClassLine, ...]
    confusion: tuple[tuple[int, int, int], ...]
    mistakes: tuple[Mistake, ...]
    sureness: Sureness | None
    worst: tuple[Shown, ...]
    least_certain: tuple[Shown, ...]
    unknown: int = 0
    balanced_accuracy: float | None = None
    top5: float | None = None


@dataclass(frozen=True)
class RunView:
    """A run as its page shows it. What is empty or None is left out.

    Args:
        recipe, data, seed: what was run.
        accuracy, target: in percent.
        count: images evaluated, of the split `split`.
        views: how many views of each image, in words.
        seconds: by clock, see `CLOCKS`.
        history: a row an epoch: `epoch`, `train_loss`, `train_accuracy`, `test_accuracy`, `train_s`.
        findings: of the analysis.
        base: the recipe that `changes` (lines `+ ` and `- `) are a diff of.
        text: the whole resolved recipe.
        net: its net, compared with that of `base`.
        data_facts, environment: names and values.
        remarks: on the data.
        bad, bad_count: files that do not read, (name, reason), and how many there are in all.
        command: what was typed.
        again: a command that trains the same again.
    """

    recipe: str
    data: str
    seed: int
    accuracy: float | None = None
    target: float | None = None
    count: int = 0
    split: str = "test"
    views: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    findings: Findings | None = None
    base: str = ""
    changes: tuple[str, ...] = ()
    text: str = ""
    net: Outline | None = None
    data_facts: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    bad_count: int = 0
    environment: tuple[tuple[str, str], ...] = ()
    command: str = ""
    again: str = ""


def run_page(view: RunView) -> str:
    """The page of a run, as HTML that needs nothing else."""
    found = view.findings
    blocks: list[Block] = [claim(view), *curves(view), *seconds(view)]
    if found:
        blocks += [*classes(view, found), *confusion(found), *mistakes(found)]
        blocks += sureness(found.sureness) if found.sureness else []
        blocks += images(view, found)
    blocks += recipe(view)
    blocks += net_section(view.net, view.recipe) if view.net else []
    blocks += data(view)
    if view.environment:
        blocks += [Heading("The environment"), Facts(view.environment)]
    if view.command or view.again:
        blocks.append(Heading("The command"))
        blocks += [Code(view.command)] if view.command else []
        blocks += ["The same again, from the recipe that was kept:", Code(view.again)] if view.again else []
    return render_page(f"{view.recipe} on {view.data}", *blocks)


def percent(share: float | None) -> str:
    """`93.4%`, of a share from 0 to 1."""
    return "" if share is None else f"{100 * share:.1f}%"


def claim(view: RunView) -> Block:
    """What the run came to, in a sentence."""
    if view.accuracy is None:
        return Claim("This run is not finished.", note=f"seed {view.seed}")
    met = None if view.target is None else view.accuracy >= view.target
    parts = [f"{view.accuracy:.2f}% of {view.count:,} {view.split} images are classified right"]
    beside = "; ".join(filter(None, (view.views, how_sure(view.accuracy, view.count))))
    parts[0] += f" ({beside})" if beside else ""
    if "train" in view.seconds:
        parts.append(f"after {digits(view.seconds['train'])} seconds of training")
    if view.target is not None:
        parts.append(f"the target of {view.target:g}% is {'met' if met else 'missed'}")
    return Claim(", ".join(parts) + ".", met, f"seed {view.seed}")


def curves(view: RunView) -> list[Block]:
    """Accuracy and loss against the counted seconds and against epochs; one epoch makes no line."""
    if len(view.history) < 2:
        return []
    charts = []
    for key, x_label in (("train_s", "seconds of training"), ("epoch", "epochs")):
        tested = [(r[key], r["test_accuracy"]) for r in view.history if r.get("test_accuracy") is not None]
        lines = [
            Line("train, augmented", [(r[key], r["train_accuracy"]) for r in view.history], 7),
            Line(f"{view.split}, one view", tested, 0),
        ]
        if view.accuracy is not None:
            end = view.seconds.get("train", view.history[-1]["train_s"])
            at = end if key == "train_s" else view.history[-1]["epoch"]
            lines.append(Line("final", [(at, view.accuracy)], 1, "star"))
        whole = key == "epoch"
        charts.append(
            line_chart(lines, x_label=x_label, y_label="accuracy, %", target=view.target, whole=whole)
        )
    for key, x_label in (("train_s", "seconds of training"), ("epoch", "epochs")):
        losses = [(r[key], r["train_loss"]) for r in view.history]
        line = Line("train loss", losses, 7)
        charts.append(line_chart([line], x_label=x_label, y_label="loss, nats", whole=key == "epoch"))
    return [Heading("How it learnt"), Beside([Picture(chart, themed=True) for chart in charts])]


def seconds(view: RunView) -> list[Block]:
    """Where the time went, by clock."""
    parts = [Part(k, view.seconds[k], f"{view.seconds[k]:,.2f} s") for k in CLOCKS if k in view.seconds]
    bar = stacked_bar(parts, "where the seconds went")
    if not bar:
        return []
    told = Facts([(k, CLOCKS[k]) for k in CLOCKS if view.seconds.get(k)])
    whole = f"{sum(p.size for p in parts):,.2f}"
    return [
        Heading("Where the seconds went"),
        Beside([Picture(bar, f"{whole} seconds in all.", themed=True), told]),
    ]


def classes(view: RunView, found: Findings) -> list[Block]:
    """How well each class is found, the worst first."""
    lines = sorted((c for c in found.classes if c.accuracy is not None), key=lambda c: (c.accuracy, -c.count))
    if not lines:
        return []
    shown = lines if len(lines) <= BARS else lines[:LOWEST]
    mark = None if view.accuracy is None else view.accuracy / 100
    bars = [Bar(c.name, c.accuracy or 0.0, f"{percent(c.accuracy)} of {c.count:,}", mark) for c in shown]
    said = [] if len(shown) == len(lines) else [f"The {LOWEST} lowest of {len(lines)} classes."]
    said += ["The line is the accuracy of all images."] * (mark is not None)
    blocks: list[Block] = [Heading("Class by class"), Bars(bars, " ".join(said))]
    more = []
    if found.balanced_accuracy is not None:
        more.append(f"The mean of the classes' accuracies is {found.balanced_accuracy:.2f}%.")
    if found.top5 is not None:
        more.append(f"The class is among the five most probable {found.top5:.2f}% of the time.")
    trained = [c for c in found.classes if c.train_count]
    if trained:
        rarest, commonest = (pick(trained, key=lambda c: c.train_count or 0) for pick in (min, max))
        if (commonest.train_count or 0) > 2 * (rarest.train_count or 1):
            more.append(
                f"The training images are uneven: {rarest.train_count:,} of {rarest.name},"
                f" {commonest.train_count:,} of {commonest.name}."
            )
    if found.unknown:
        more.append(
            f"{found.unknown:,} images are of classes that were not trained on: they count as missed."
        )
    return [*blocks, *([" ".join(more)] if more else []), Details("Every class", [class_table(found)])]


def class_table(found: Findings) -> Table:
    counted = any(c.train_count is not None for c in found.classes)
    head = ("class", *(("training images",) * counted), "images", "right", "accuracy", "precision", "F1")
    rows = [
        (
            c.name,
            *((("" if c.train_count is None else f"{c.train_count:,}"),) * counted),
            f"{c.count:,}",
            f"{c.right:,}",
            percent(c.accuracy),
            percent(c.precision),
            percent(c.f1),
        )
        for c in found.classes
    ]
    return Table(head, rows)


def confusion(found: Findings) -> list[Block]:
    """The confusion matrix; with very many classes, of those that are most confused."""
    if not found.confusion:
        return []
    names = [c.name for c in found.classes]
    wrong = [0] * len(names)
    for true, said, n in found.confusion:
        if true != said:
            wrong[true] += n
            wrong[said] += n
    kept = sorted(sorted(range(len(names)), key=lambda i: -wrong[i])[:MATRIX])
    place = {number: i for i, number in enumerate(kept)}
    counts = [(place[t], place[s], n) for t, s, n in found.confusion if t in place and s in place]
    caption = "A row is a class, and its cells what its images are said to be; the shade is the share of it."
    if len(kept) < len(names):
        caption += f" The {len(kept)} most confused of {len(names):,} classes."
    shown = [names[i] for i in kept]
    totals = [found.classes[i].count for i in kept]
    return [Heading("What is taken for what"), Matrix(shown, shown, counts, totals, caption=caption)]


def mistakes(found: Findings) -> list[Block]:
    """The pairs of classes that are confused most often, the first of them with images."""
    if not found.mistakes:
        return []
    rows = [(m.true, m.said, f"{m.count:,}", percent(m.share)) for m in found.mistakes]
    table = Table(("class", "said to be", "images", "of the class"), rows, words=(1,))
    blocks: list[Block] = [Heading("The most frequent mistakes")]
    for m in found.mistakes[:PICTURED]:
        if any(image.picture for image in m.images):
            of = f"{m.count:,} image{'' if m.count == 1 else 's'}, {percent(m.share)} of the class"
            blocks.append(Heading(f"{m.true}, said to be {m.said}: {of}", 3))
            blocks.append(
                Gallery([thumb(i, f"{100 * i.probability:.0f}% sure", numbered(i)) for i in m.images])
            )
    if len(blocks) == 1:
        return [*blocks, table]
    return [*blocks, Details(f"The {len(rows)} most frequent", [table])]


def sureness(found: Sureness) -> list[Block]:
    """Whether what it says with 90% is right 9 times of 10, and what a temperature would mend."""
    count = sum(g.count for g in found.groups)
    sure, right = (
        sum(g.count * value for g, value in zip(found.groups, values, strict=True)) / max(count, 1)
        for values in ([g.confidence for g in found.groups], [g.accuracy for g in found.groups])
    )
    gap = sure - right
    manner = (
        "about as sure as it is right" if abs(gap) < 0.01 else "too sure" if gap > 0 else "not sure enough"
    )
    said = (
        f"On the average it is {percent(sure)} sure and {percent(right)} right: {manner}. The expected"
        f" calibration error, over {len(found.groups)} bins of equal width, is {percent(found.ece)}"
    )
    if not found.fitted:
        said += "; these images do not say what temperature would suit them."
        return [Heading("How sure it is"), said, Picture(diagram(found.groups, "as it is"), themed=True)]
    said += (
        f". Divided by a temperature of {digits(found.temperature)}, the logits come to"
        f" {percent(found.ece_scaled)}, each half of the images with the temperature of the other."
    )
    pictures = [
        Picture(diagram(found.groups, "as it is"), "As it is.", themed=True),
        Picture(diagram(found.groups_scaled, "scaled"), "Scaled by the temperature.", themed=True),
    ]
    how = (
        "Bars are how often what is said with that probability is right, fuller where there are more images;"
        " dots on the diagonal are how sure it is. Below the diagonal it is too sure."
    )
    return [Heading("How sure it is"), said, Beside(pictures), how]


def diagram(groups: Sequence[Group], how: str) -> str:
    return reliability_diagram(groups, f"reliability, {how}")


def images(view: RunView, found: Findings) -> list[Block]:
    """The images it gets most wrong, and those it is least certain of."""
    blocks: list[Block] = []
    looked = any(i.looked for i in (*found.worst, *found.least_certain))
    if found.worst:
        blocks += [
            Heading("The worst images"),
            "Those with the highest loss: it is surest of what is wrong."
            + (" Beside each, what it looked at for what it says (Grad-CAM)." if looked else ""),
            Gallery([thumb(i, f"{i.true}, said {i.said}", told(i)) for i in found.worst]),
        ]
    if found.least_certain:
        blocks += [
            Heading("The least certain images"),
            "Those for which the most probable class is least probable, right or wrong.",
            Gallery(
                [
                    thumb(i, i.true if i.true == i.said else f"{i.true}, said {i.said}", told(i))
                    for i in found.least_certain
                ]
            ),
        ]
    return blocks


def told(image: Shown) -> str:
    number = numbered(image)
    return f"{100 * image.probability:.0f}% sure" + (f", {number}" if number else "")


def numbered(image: Shown) -> str:
    """Which image it is, by its number, if it has no name."""
    return "" if image.name else f"image {image.index:,}"


def thumb(image: Shown, title: str, caption: str) -> Thumb:
    right = image.true == image.said
    return Thumb(image.picture, title, caption, image.looked, right, image.small, image.name)


def recipe(view: RunView) -> list[Block]:
    """What was trained, as changes to a recipe that is known, and in full."""
    if not view.text and not view.changes:
        return []
    blocks: list[Block] = [Heading("The recipe")]
    if view.base and view.changes:
        blocks += [f"{view.base}, with these changes:", Diff(view.changes)]
    elif view.base:
        blocks.append(f"{view.base}, as it is.")
    return [*blocks, *([Details("The whole recipe", [Code(view.text)])] if view.text else [])]


def data(view: RunView) -> list[Block]:
    """Where the images come from, how many there are, what was found while reading them."""
    if not (view.data_facts or view.remarks or view.bad_count):
        return []
    blocks: list[Block] = [Heading("The data")]
    blocks += [Facts(view.data_facts)] if view.data_facts else []
    blocks += view.remarks
    if view.bad_count:
        one = view.bad_count == 1
        count = f"{view.bad_count:,} file{'' if one else 's'} that {'does' if one else 'do'} not read"
        listed = view.bad[:BAD]
        first = f", the first {len(listed)} of them" if len(listed) < view.bad_count else ""
        blocks.append(Details(count + first, [Table(("file", "why"), listed, words=(1,))]))
    return blocks
