"""A run's model as one file that needs no hotlap: pictures of any size in, probabilities out."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hotlap._version import __version__
from hotlap.data.dataset import Dataset
from hotlap.data.fit import fit
from hotlap.deploy.card import card, write_card
from hotlap.deploy.exported import Exported
from hotlap.deploy.fold import folded
from hotlap.deploy.model import Loaded, images_for, open_model
from hotlap.deploy.onnx_parts import PLAIN_OPSET, calibrated, named, onnx_modules, session
from hotlap.deploy.preprocess import Preprocess
from hotlap.errors import UserError
from hotlap.files import RUN_MEND, Notify, silent, write_atomic, write_error
from hotlap.machine.numerics import Numerics
from hotlap.runs.checkpoint import Preprocessing

FILES = {"onnx": "model.onnx", "torch": "model.pt2", "int8": "model.int8.onnx"}
FP32 = Numerics(precision="fp32", memory_format="contiguous", compile="off", kernels="none")
TOLERANCE = 1e-4  # of a probability
SAME_CLASS = 0.9999  # of the images
MOST_CHECKED = 10_000
BATCH = 64
CALIBRATION = 512  # training images
TIMED_S = 0.5  # of one turn
OPSETS = range(18, 24)

Pixels = npt.NDArray[np.uint8]
Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # probabilities and logits, (N, classes)
Answer = Callable[[Pixels], Outputs]


class Deployed(nn.Module):
    """Images (N, H, W, C) uint8 of any size to probabilities and logits, both (N, classes) float32.

    Logits are over the run's temperature only inside the softmax.
    """

    def __init__(self, loaded: Loaded):
        super().__init__()
        c, h, w = loaded.spec.shape
        self.preprocess = Preprocess(loaded.preprocessing, loaded.spec)
        self.net = folded(loaded.model.to(memory_format=torch.contiguous_format), torch.zeros(2, c, h, w))  # type: ignore[call-overload]
        self.temperature = loaded.temperature

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(self.preprocess(image))
        return (logits / self.temperature).softmax(1), logits


def export(
    run: Path,
    format: str = "onnx",
    out: Path | None = None,
    *,
    opset: int = PLAIN_OPSET,
    data: str | None = None,
    data_dir: Path | None = None,
    notify: Notify = silent,
) -> Exported:
    """Write a run's model as one file, with a model card beside it, once it is seen to answer as the run.

    Preprocessing is inside: resizing, cropping or padding, normalising. So are the temperature and, as
    metadata, the classes. The file looks at an image once, whatever views the recipe evaluates with.

    Args:
        run: a run's folder, or a `model.safetensors`.
        format: `onnx`; `torch` (a program of torch.export); `int8` (ONNX, the net's convolutions and
            products in 8 bits, calibrated on training images).
        out: None is `model.onnx` or the like in the run's folder, under `export`.
        opset: of ONNX.
        data, data_dir: None takes what the run was trained on.
        notify: told in one line of what takes a while.

    Raises:
        UserError: packages, model or data are missing or do not fit, the file cannot be written, or it does
            not answer as the run does; no file is then left, and one that was there is as it was.
    """
    if format != "torch":
        onnx_modules()  # before anything takes time
    if opset not in OPSETS:
        raise UserError(f"--opset {opset}: give {OPSETS[0]} to {OPSETS[-1]}")
    loaded = open_model(run, "cpu", FP32)
    folder = run if run.is_dir() else run.parent
    target = out if out is not None else folder / "export" / FILES[format]
    if target.is_dir():
        target = target / FILES[format]
    if format == "torch" and target.suffix != ".pt2":
        raise UserError(f"--out {target}: torch reads programs from names that end in .pt2; call it so")
    check_writable(target)
    dataset = images_for(loaded, data, data_dir, notify)
    images = dataset.test.images[:MOST_CHECKED]
    labels = np.asarray(dataset.test.labels[:MOST_CHECKED])
    own = own_answer(loaded)

    notify(f"exporting {run} as {format}")
    facts = description(loaded)
    with quietly():
        program = traced(Deployed(loaded), loaded.spec.channels)
        if format == "torch":
            held = io.BytesIO()
            torch.export.save(program, held, extra_files=facts)
            content = held.getvalue()
            answer = torch_answer(content)
        else:
            plain = named(program, opset, facts)
            content, answer = plain, onnx_answer(plain)
            if format == "int8":
                batches = calibration(dataset)
                notify(f"calibrating on {sum(map(len, batches)):,} images")
                content = calibrated(plain, batches)
                answer = onnx_answer(content)

    notify(f"comparing it with the run on {len(images):,} images of {dataset.name}")
    want, got = batched(own, images), batched(answer, images)
    agreement, difference = compared(want, got)
    odd = list(other_sizes(images, loaded.preprocessing))
    odd_want = np.concatenate([own(ready)[0] for _, ready in odd])
    odd_got = np.concatenate([answer(picture)[0] for picture, _ in odd])
    if format != "int8":
        refuse_if_other(target, agreement, difference, "")
        refuse_if_other(target, *compared(odd_want, odd_got), " of other sizes")
    runners = [answer] + ([onnx_answer(plain)] if format == "int8" else [])
    speeds = images_per_s(runners, np.asarray(images[:BATCH]))
    exported = Exported(
        file=str(target),
        format=format,
        bytes=len(content),
        opset=None if format == "torch" else opset,
        card="",
        images=len(images),
        other_sizes=len(odd),
        agreement=agreement,
        difference=difference,
        accuracy=100 * float((got.argmax(1) == labels).mean()),
        run_accuracy=100 * float((want.argmax(1) == labels).mean()),
        images_per_s=speeds[0],
        one_image_ms=1000 / images_per_s(runners[:1], np.asarray(images[:1]))[0],
        batch=min(BATCH, len(images)),
        fp32_images_per_s=speeds[1] if format == "int8" else None,
        threads=torch.get_num_threads(),
    )
    text = card(exported, loaded, folder, dataset)
    write_atomic(target, content)
    return replace(exported, card=str(write_card(text, target)))


def check_writable(target: Path) -> None:
    """Whether a file may be written there, before minutes are spent on it.

    Raises:
        UserError: it may not.
    """
    there = next(p for p in target.absolute().parents if p.exists())
    number = errno.ENOTDIR if not there.is_dir() else errno.EACCES
    if number == errno.ENOTDIR or not os.access(there, os.W_OK | os.X_OK):
        raise write_error(OSError(number, os.strerror(number)), target, RUN_MEND)


def description(loaded: Loaded) -> dict[str, str]:
    """What the file says of itself, by name."""
    how = loaded.preprocessing
    h, w = how.size
    channels = {1: "gray", 3: "red, green, blue"}.get(how.channels, f"{how.channels} channels")
    return {
        "class_names": json.dumps(loaded.spec.class_names, ensure_ascii=False),
        "input": f"image: uint8 (N, H, W, {how.channels}), {channels}, 0 to 255, of any height and width,"
        f" upright; it is brought to {h}x{w} ({how.fit}, bilinear, antialiased) and normalised inside",
        "output": "probabilities: float32 (N, classes), of the logits over the temperature; logits: float32"
        " (N, classes)",
        "preprocessing": json.dumps({"size": how.size, "fit": how.fit, "background": how.background}),
        "temperature": repr(loaded.temperature),
        "recipe": loaded.recipe,
        "hotlap_version": __version__,
    }


def traced(deployed: Deployed, channels: int) -> torch.export.ExportedProgram:
    """The program for any number of images of any size."""
    example = torch.zeros(2, 50, 60, channels, dtype=torch.uint8)
    sizes = {i: torch.export.Dim(name, min=1) for i, name in enumerate(("batch", "height", "width"))}
    with torch.no_grad():
        return torch.export.export(deployed, (example,), dynamic_shapes={"image": sizes})


@contextmanager
def quietly() -> Iterator[None]:
    """Without what the exporters say of packages that are not needed and of their own future."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    root = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(root)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def own_answer(loaded: Loaded) -> Answer:
    """The run's own model on images of its size."""

    def answer(images: Pixels) -> Outputs:
        probabilities = loaded.probabilities(images)
        return probabilities, probabilities

    return answer


def onnx_answer(content: bytes) -> Answer:
    """A file of ONNX at work in ONNX Runtime, on the CPU."""
    opened = session(content, torch.get_num_threads())

    def answer(images: Pixels) -> Outputs:
        probabilities, logits = opened.run(["probabilities", "logits"], {"image": images})
        return probabilities, logits

    return answer


def torch_answer(content: bytes) -> Answer:
    """A program of torch.export at work."""
    program = torch.export.load(io.BytesIO(content)).module()

    def answer(images: Pixels) -> Outputs:
        with torch.no_grad():
            probabilities, logits = program(torch.from_numpy(np.array(images)))
        return probabilities.numpy(), logits.numpy()

    return answer


def batched(answer: Answer, images: Pixels) -> npt.NDArray[np.float32]:
    """Probabilities of many images, a few at a time: they may lie in a file."""
    parts = (np.asarray(images[i : i + BATCH]) for i in range(0, len(images), BATCH))
    return np.concatenate([answer(part)[0] for part in parts])


def compared(want: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Share of images of the same class, and the largest difference of a probability.

    Two classes that are as probable as each other, to within the tolerance, are the same.
    """
    rows = np.arange(len(want))
    same = want.max(1) - want[rows, got.argmax(1)] <= TOLERANCE
    return float(same.mean()), float(np.abs(want - got).max())


def refuse_if_other(target: Path, agreement: float, difference: float, which: str) -> None:
    """Whether a file answers as the run does.

    Raises:
        UserError: it does not.
    """
    if agreement < SAME_CLASS:
        raise UserError(
            f"{target}: not written: it has another class than the run for {100 * (1 - agreement):.2f}% of"
            f" the images{which}, and may for {100 * (1 - SAME_CLASS):.2f}%; this is a fault of the export,"
            " try another --format"
        )
    if not difference <= TOLERANCE:  # nor is it no number
        raise UserError(
            f"{target}: not written: its probabilities for images{which} are up to {difference:.2g} off the"
            f" run's, and may be {TOLERANCE:g}; this is a fault of the export, try another --format"
        )


def other_sizes(images: Pixels, how: Preprocessing) -> Iterator[tuple[Pixels, Pixels]]:
    """Pictures (1, H, W, C) of other sizes, made of a few images, and as hotlap's pipeline hands them on."""
    h, w = how.size
    shares = ((2.5, 1.5), (0.6, 1.0), (1.0, 3.0), (0.45, 0.8), (4.0, 4.0), (1 / h, 1.7))
    for i, (down, across) in enumerate(shares * 2):
        source = np.asarray(images[i * (len(images) - 1) // (2 * len(shares))])
        rows = (np.arange(max(1, round(h * down))) / down).astype(int).clip(max=h - 1)
        columns = (np.arange(max(1, round(w * across))) / across).astype(int).clip(max=w - 1)
        picture = source[rows][:, columns]
        yield picture[None], fit(picture, how.size, how.fit, how.background)[None]


def calibration(dataset: Dataset) -> list[Pixels]:
    """Training images in batches, from all over the set, the same ones every time; where there are none (the
    model's data is not here, others were named), those it is measured on."""
    images = (dataset.train if len(dataset.train) else dataset.test).images
    count = min(CALIBRATION, len(images))
    chosen = np.sort(np.random.default_rng(0).choice(len(images), count, replace=False))
    parts = np.array_split(chosen, max(1, count // BATCH))
    return [np.stack([np.asarray(images[i]) for i in part]) for part in parts]


def images_per_s(runners: list[Answer], images: Pixels) -> list[float]:
    """Of each runner, the fastest of three turns, one after the other in turn."""
    best = [0.0] * len(runners)
    for answer in runners:
        answer(images)
    for _ in range(3):
        for i, answer in enumerate(runners):
            count, start = 0, time.perf_counter()
            while (seconds := time.perf_counter() - start) < TIMED_S or not count:
                answer(images)
                count += len(images)
            best[i] = max(best[i], count / seconds)
    return best
