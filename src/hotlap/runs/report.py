"""A run's report: what its net gets right and wrong, analysed when it is done, and the page of its folder."""

from __future__ import annotations

import base64
import io
import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from hotlap.data.dataset import Split
from hotlap.engine.program import Program
from hotlap.errors import UserError
from hotlap.files import Notify, write_atomic
from hotlap.inspect.classification import Analysis, Case, analyse
from hotlap.inspect.gradcam import looked_at
from hotlap.plan.recipe import Recipe, diff
from hotlap.recipes import BUILTIN
from hotlap.recipes.reading import read_resolved
from hotlap.report.charts import Group
from hotlap.report.run_page import PICTURED, ClassLine, Findings, Mistake, RunView, Shown, Sureness, run_page
from hotlap.report.words import describe_views
from hotlap.runs.net import net_of
from hotlap.spec import DataSpec

ANALYSIS, PICTURES, PAGE = "analysis.json", "thumbnails.json", "report.html"
SHOWN = 12  # of the worst and of the least certain images, those that the page has
OF_A_PAIR = 6
SMALL = 64  # pixels; images up to this size are kept as they are, larger ones as JPEG
THUMB = 128  # pixels of the longer side of a larger image's thumbnail
MAP = 32  # pixels of the longer side of a picture of where the net looked
DARKEST = 195  # of 255, how opaque the veil is over what the net did not look at


def analysed(program: Program, logits: Tensor) -> Analysis:
    """What the logits (N, classes) of the program's test images say of its net."""
    dataset = program.dataset
    trained = np.asarray(dataset.train.labels)
    counts = np.bincount(trained[trained >= 0], minlength=dataset.spec.classes)
    labels = np.asarray(dataset.test.labels)
    return analyse(
        logits.float().cpu().numpy(),
        labels,
        dataset.spec.class_names,
        train_counts=counts.tolist(),
        names=dataset.test.names,
    )


def save_analysis(folder: Path, analysis: Analysis, program: Program) -> None:
    """Keep the analysis, and thumbnails of its images with where the program's net looked, in a run's folder.

    Raises:
        UserError: if they cannot be written.
    """
    write_atomic(folder / ANALYSIS, (json.dumps(analysis.to_json()) + "\n").encode())
    kept = thumbnails(analysis, program)
    write_atomic(folder / PICTURES, (json.dumps(kept) + "\n").encode())


def thumbnails(analysis: Analysis, program: Program) -> dict[str, Any]:
    """`data:` addresses by number of the image: `pictures` of all that the page shows, and for the worst and
    the least certain images `looked`, where the net looked for what it says."""
    cases = {c.index: c for c in (*analysis.worst[:SHOWN], *analysis.least_certain[:SHOWN])}
    pairs = (i for pair in analysis.pairs[:PICTURED] for i in pair.images[:OF_A_PAIR])
    split = program.dataset.test
    wanted = dict.fromkeys([*cases, *pairs])
    pictures = {i: picture(np.asarray(split.images[i])) for i in wanted}
    maps = looks(program, split, list(cases.values()))
    looked = {i: veil(spot) for i, spot in zip(cases, maps, strict=True)}
    return {"small": max(split.images.shape[1:3]) <= SMALL, "pictures": pictures, "looked": looked}


def looks(program: Program, split: Split, cases: Sequence[Case]) -> npt.NDArray[np.float32]:
    """Where the program's net looked for what it says of each case, (cases, H, W), 0 to 1."""
    index = torch.tensor([c.index for c in cases], dtype=torch.int64)
    said = torch.tensor([c.said for c in cases], dtype=torch.int64)
    x = program.test_set.read(index.to(program.test_set.labels.device))
    return looked_at(program.model, x, said).numpy()


def picture(pixels: npt.NDArray[np.uint8]) -> str:
    """An image (H, W, C) as a `data:` address; of an unusual number of channels, the first."""
    channels = pixels.shape[2]
    image = Image.fromarray(pixels if channels in (3, 4) else pixels[:, :, 0])
    if max(image.size) <= SMALL:
        return address(image, "png")
    image.thumbnail((THUMB, THUMB))
    return address(image.convert("RGB"), "jpeg", quality=80)


def veil(spot: npt.NDArray[np.float32]) -> str:
    """The `data:` address of a picture that darkens where a net did not look: 1 less (H, W), 0 to 1."""
    layers = np.zeros((*spot.shape, 4), np.uint8)
    layers[..., 3] = np.round(DARKEST * (1 - np.clip(spot, 0, 1)))
    image = Image.fromarray(layers)
    image.thumbnail((MAP, MAP))
    return address(image, "png")


def address(image: Image.Image, kind: str, **how: Any) -> str:
    held = io.BytesIO()
    image.save(held, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode()}"


def report_run(folder: Path, program: Program, analysis: Analysis, note: Notify) -> Path | None:
    """Analyse a run that is done and write its page; its path, or None where that failed.

    Whatever goes wrong is told as a note: a page that cannot be drawn is no reason to lose a run.

    Args:
        program: its net holds the weights that are evaluated.
        analysis: what its logits say of it.
    """
    try:
        save_analysis(folder, analysis, program)
        return write_report(folder)
    except Exception as error:
        told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        note(f"the run is kept, but has no report: {told}")
        return None


def write_report(folder: Path) -> Path:
    """Write the page of the run in `folder`, from what lies there; its path.

    Raises:
        UserError: there is no run, what is there does not read, or the page cannot be written.
    """
    path = folder / PAGE
    write_atomic(path, run_page(collect(folder)).encode())
    return path


def collect(folder: Path) -> RunView:
    """A run as its page shows it, from what lies in its folder; a run without analysis has a smaller one.

    Raises:
        UserError: there is no run, or what is there does not read.
    """
    environment = read_json(folder / "environment.json")
    if environment is None:
        raise UserError(f"{folder}: no run there (environment.json is missing); give a run's folder")
    summary = read_json(folder / "summary.json") or {}
    text, made, base, changes = recipe_of(folder, environment)
    name = made.name if made else folder.name
    found = read_json(folder / ANALYSIS)
    try:
        analysis = None if found is None else Analysis.from_json(found)
        kept = read_json(folder / PICTURES) or {} if analysis else {}
        spec = environment["spec"]
        count = analysis.count if analysis else spec["test_count"]
        return RunView(
            recipe=summary.get("recipe", name),
            data=environment["data"],
            seed=environment["seed"],
            accuracy=summary.get("accuracy"),
            target=summary.get("target"),
            count=count,
            split=environment.get("test_split") or "test",
            views=describe_views(summary["views"], summary["view_share"]) if summary else "",
            seconds=summary.get("seconds", {}),
            history=rows_of(folder),
            findings=findings(analysis, kept) if analysis else None,
            base=base,
            changes=changes,
            text=text,
            net=net_of(made, DataSpec.from_json(spec), BUILTIN.get(base)) if made else None,
            environment=surroundings(environment),
            command=environment.get("command") or "",
            again=again(folder, environment),
            **data_of(environment),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder}: damaged ({type(error).__name__}: {error}); it has no report, train again"
        ) from None


def read_json(path: Path) -> Any:
    """What a file holds; None if there is none.

    Raises:
        UserError: it does not read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); the run has no report without it") from None


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, up to the first that does not read: a run may have ended while it wrote."""
    rows: list[dict[str, Any]] = []
    with suppress(OSError, ValueError):
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            rows.append(json.loads(line))  # noqa: PERF401 (those before a bad one are kept)
    return rows


def recipe_of(
    folder: Path, environment: Mapping[str, Any]
) -> tuple[str, Recipe | None, str, tuple[str, ...]]:
    """The resolved recipe's text, the recipe, and the one it is told as a diff of with the diff's lines.

    That is the built-in one of its name, or if it is that one, or no such name is built in, the one it was
    made from.
    """
    try:
        text = (folder / "recipe.toml").read_text(encoding="utf-8")
        made = read_resolved(tomllib.loads(text), "recipe.toml")
    except (OSError, ValueError, UserError):  # of an older version, perhaps: the page does without
        return "", None, "", ()
    changes: list[str] = []
    for base in (made.name, environment.get("base")):
        if base in BUILTIN:
            changes = diff(BUILTIN[base], made)
            if changes:
                return text, made, base, tuple(changes)
    return text, made, made.name if made.name in BUILTIN else "", ()


def again(folder: Path, environment: Mapping[str, Any]) -> str:
    words = ["hotlap", "train", str(folder / "recipe.toml"), "--data", environment["data"]]
    words += ["--data-dir", environment["data_dir"]] if environment.get("data_dir") else []
    return shlex.join([*words, "--seed", str(environment["seed"])])


def surroundings(environment: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the run's seconds must be quoted with."""
    machine = environment.get("machine", {})
    said = {
        "processor": machine.get("cpu"),
        "extensions": ", ".join(machine.get("cpu_features", [])),
        "cores, threads": f"{machine['cores']}, {machine['threads']} used" if "cores" in machine else "",
        "memory": f"{machine['memory_gib']:g} GiB" if machine.get("memory_gib") else "",
        "GPUs": ", ".join(machine.get("gpus", [])),
        "device": environment.get("device"),
        "arithmetic": environment.get("precision"),
        "layout": environment.get("memory_format"),
        "compiled": environment.get("compile"),
        "hotlap's own kernels": environment.get("kernels"),
        "hotlap": machine.get("hotlap"),
        "torch": machine.get("torch"),
        "CUDA": machine.get("cuda"),
        "Python": machine.get("python"),
        "system": machine.get("system"),
    }
    return tuple((name, str(value)) for name, value in said.items() if value)


def data_of(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the data, by the names of a `RunView`."""
    spec = environment["spec"]
    channels, height, width = spec["shape"]
    kinds = {1: "gray", 3: "colour"}
    facts = environment.get("facts") or {}
    splits = environment.get("splits") or {"train": spec["train_count"], "test": spec["test_count"]}
    missed = sum((facts.get("missed") or {}).values())
    said = {
        "source": environment["data"],
        "from": environment.get("origin"),
        "layout": facts.get("layout"),
        "images": ", ".join(f"{name} {n:,}" for name, n in splits.items()),
        "put aside": f"{100 * facts['made']:.0f}% of the training images, as val"
        if facts.get("made")
        else "",
        "size": f"{height} x {width}, {kinds.get(channels, f'{channels} channels')}",
        "why this size": facts.get("size_rule"),
        "classes": f"{len(spec['class_names']):,}",
        "of other classes": f"{missed:,} images, which count as missed" if missed else "",
    }
    return {
        "data_facts": tuple((name, str(value)) for name, value in said.items() if value),
        "remarks": tuple(facts.get("remarks", ())),
        "bad": tuple((str(name), str(reason)) for name, reason in facts.get("bad", ())),
        "bad_count": facts.get("bad_count", 0),
    }


def findings(analysis: Analysis, kept: Mapping[str, Any]) -> Findings:
    """The analysis with names for numbers, and with its images.

    Args:
        kept: what `thumbnails` made; may be empty.
    """
    names = [c.name for c in analysis.classes]
    pictures, looked = kept.get("pictures", {}), kept.get("looked", {})
    small = bool(kept.get("small"))

    def shown(index: int, true: int, said: int, probability: float, name: str, spot: str = "") -> Shown:
        drawn = pictures.get(str(index), "")
        return Shown(index, names[true], names[said], probability, drawn, spot, small, name)

    def cases(found: Sequence[Case]) -> tuple[Shown, ...]:
        return tuple(
            shown(c.index, c.true, c.said, c.probability, c.name, looked.get(str(c.index), ""))
            for c in found[:SHOWN]
        )

    told = analysis.calibration

    def groups(bins: Any) -> tuple[Group, ...]:
        return tuple(Group(b.low, b.high, b.count, b.confidence, b.accuracy) for b in bins)

    return Findings(
        classes=tuple(
            ClassLine(c.name, c.count, c.right, c.accuracy, c.precision, c.f1, c.train_count)
            for c in analysis.classes
        ),
        confusion=analysis.confusion,
        mistakes=tuple(
            Mistake(
                names[p.true],
                names[p.said],
                p.count,
                p.share,
                tuple(
                    shown(i, p.true, p.said, sure, name)
                    for i, sure, name in zip(
                        p.images[:OF_A_PAIR], p.probabilities, p.names or ("",) * OF_A_PAIR, strict=False
                    )
                ),
            )
            for p in analysis.pairs
        ),
        sureness=Sureness(
            told.temperature,
            told.fitted,
            told.ece,
            told.ece_scaled,
            groups(told.bins),
            groups(told.bins_scaled),
        ),
        worst=cases(analysis.worst),
        least_certain=cases(analysis.least_certain),
        unknown=analysis.unknown,
        balanced_accuracy=analysis.balanced_accuracy,
        top5=analysis.top5,
    )
