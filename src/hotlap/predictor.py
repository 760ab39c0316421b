"""Saved weights at work: on a test set, and on image files."""

from __future__ import annotations

import glob
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from hotlap import data as datasets
from hotlap import machine
from hotlap.checkpoint import load_model
from hotlap.data.dataset import Split
from hotlap.data.device import DeviceSet
from hotlap.errors import UserError, did_you_mean
from hotlap.evaluate import Score, score
from hotlap.nets.layers import Network
from hotlap.plan import Plan
from hotlap.recipe import read_resolved
from hotlap.spec import DataSpec
from hotlap.views import VIEWS, all_logits

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff")


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Args:
        path: the image.
        label: the most probable class.
        probability: of that class, 0 to 1.
        probabilities: of every class by name.
        resized_from: (height, width) in pixels if the image was resized to fit the model, else None.
    """

    path: str
    label: str
    probability: float
    probabilities: dict[str, float]
    resized_from: tuple[int, int] | None


@dataclass(frozen=True)
class Loaded:
    """Saved weights on a device, ready to use."""

    model: Network
    plan: Plan
    spec: DataSpec
    engine: machine.Engine

    def logits(self, split: Split, tta: str, share: float = 1.0) -> torch.Tensor:
        """Logits (N, classes) of a split's images; `share` as in `all_logits`."""
        images = DeviceSet(split, self.spec, self.engine)
        images.fill(split)
        weights = {k: v.detach() for k, v in self.model.state_dict().items()}
        return all_logits(self.model, weights, images, tta, share)


def open_model(path: str | Path, device: str = "auto") -> Loaded:
    """The model in a run's folder or a safetensors file.

    Raises:
        UserError: if there is none, or it does not read.
    """
    saved = load_model(Path(path))
    plan = read_resolved(tomllib.loads(saved.recipe), str(path)).plan()
    where = machine.pick_device(device)
    if where.type == "cpu":
        machine.tune_allocator()
    engine = machine.resolve(plan.numerics, where)
    model = plan.net.build(saved.spec).to(where, engine.weights_dtype)
    try:
        model.load_state_dict(saved.tensors)
    except RuntimeError:
        raise UserError(
            f"{path}: the weights do not fit their recipe; the file is damaged, train again"
        ) from None
    model = model.to(memory_format=engine.format)  # type: ignore[call-overload]
    return Loaded(model.eval(), plan, saved.spec, engine)


def check_tta(tta: str) -> str:
    """`tta` if it names views.

    Raises:
        UserError: if not, with those there are.
    """
    if tta not in VIEWS:
        raise UserError(f"--tta {tta}: no such views{did_you_mean(tta, VIEWS)}; there are {', '.join(VIEWS)}")
    return tta


def evaluate_saved(
    path: str | Path, data: str, *, tta: str | None = None, device: str = "auto", data_dir: Path | None = None
) -> Score:
    """The accuracy of a saved model on a data set's test images.

    Raises:
        UserError: if the model or data is missing, or they do not fit each other.
    """
    loaded = open_model(path, device)
    views = check_tta(tta) if tta else loaded.plan.evaluation.tta
    dataset = datasets.load(data, data_dir=data_dir)
    if (dataset.spec.shape, dataset.spec.class_names) != (loaded.spec.shape, loaded.spec.class_names):
        raise UserError(
            f"{path} was trained on {describe(loaded.spec)}, {data} has {describe(dataset.spec)};"
            " use data that fits"
        )
    share = 1.0 if tta else loaded.plan.evaluation.share
    logits = loaded.logits(dataset.test, views, share)
    labels = torch.from_numpy(np.array(dataset.test.labels)).to(logits.device)
    return score(logits, labels, len(VIEWS[views]), share)


def describe(spec: DataSpec) -> str:
    c, h, w = spec.shape
    return f"{spec.classes} classes of {h}x{w} images in {c} channel{'s' if c > 1 else ''}"


def predict(
    path: str | Path, images: Sequence[str | Path], *, tta: str = "none", device: str = "auto"
) -> list[Prediction]:
    """What the model in `path` says of image files.

    Images of another size are resized (bicubic) to the model's; `Prediction.resized_from` says so.

    Args:
        images: files, folders (all images directly inside) or glob patterns.
        tta: `none`, `flip`, `flip_translate` or `flip_translate_even`.

    Raises:
        UserError: if a path holds no image, or one does not read.
    """
    loaded = open_model(path, device)
    files = find_images(images)
    _, height, width = loaded.spec.shape
    arrays, resized = [], []
    for file in files:
        array, original = read_image(file, loaded.spec)
        arrays.append(array)
        resized.append(original if original != (height, width) else None)
    split = Split(np.stack(arrays), np.zeros(len(arrays), np.int64))
    rows = loaded.logits(split, check_tta(tta)).float().softmax(1).tolist()
    out = []
    for file, row, was in zip(files, rows, resized, strict=True):
        by_name = dict(zip(loaded.spec.class_names, row, strict=True))
        label = max(by_name, key=lambda name: by_name[name])
        out.append(Prediction(str(file), label, by_name[label], by_name, was))
    return out


def find_images(given: Iterable[str | Path]) -> list[Path]:
    """The image files that paths, folders and glob patterns name, each once, in order.

    Raises:
        UserError: for one that names none.
    """
    found: dict[Path, None] = {}
    for item in given:
        path = Path(item).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(f"{path}: no images in this folder; hotlap reads {', '.join(SUFFIXES)}")
        elif path.is_file():
            inside = [path]
        else:
            inside = [p for p in map(Path, sorted(glob.glob(str(path), recursive=True))) if p.is_file()]
            if not inside:
                raise UserError(f"{item}: no such file, folder or match; check the path")
        found.update(dict.fromkeys(inside))
    return list(found)


def read_image(path: Path, spec: DataSpec) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """One image as (H, W, C) uint8 of the model's shape, and its own (height, width).

    Raises:
        UserError: if it is no image, is damaged, or the model's channel count has no image mode.
    """
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if spec.channels not in modes:
        raise UserError(f"{path}: this model reads {spec.channels} channels, image files have 1, 3 or 4")
    try:
        with Image.open(path) as image:
            original = (image.height, image.width)
            ready = image.convert(modes[spec.channels])
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not an image that reads ({error}); leave it out") from None
    if original != (spec.height, spec.width):
        ready = ready.resize((spec.width, spec.height), Image.Resampling.BICUBIC)
    array = np.asarray(ready, dtype=np.uint8)
    return array.reshape(spec.height, spec.width, spec.channels), original
