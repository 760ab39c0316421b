"""A saved model at work on image files."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hotlap.data.dataset import Split
from hotlap.deploy.model import check_tta, open_model
from hotlap.errors import UserError
from hotlap.spec import DataSpec

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
