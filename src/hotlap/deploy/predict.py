"""A saved model at work on pictures: files, folders, arrays, images of Pillow."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hotlap.data.decode import Picture, Unreadable, decode
from hotlap.data.fit import fit
from hotlap.data.listing import IMAGE_SUFFIXES
from hotlap.data.walking import walk
from hotlap.deploy.model import Loaded, check_tta, open_model
from hotlap.errors import UserError
from hotlap.machine.processor import processors
from hotlap.runs.checkpoint import Preprocessing

BATCH = 64  # pictures decoded and looked at together
ALIKE = {
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "HSV": "RGB",
}  # modes that no file holds, as modes that one does
Source = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Args:
        path: the picture's file; of what is no file, what it is and its place among what was given.
        label: the most probable class.
        probability: of that class, 0 to 1.
        probabilities: of every class by name, in the order of the classes.
        resized_from: (height, width) in pixels if the picture had not the model's size, else None.
        remarks: what the decoder had to say of the file, such as that it shows the first of several frames.
    """

    path: str
    label: str
    probability: float
    probabilities: dict[str, float]
    resized_from: tuple[int, int] | None
    remarks: tuple[str, ...] = ()

    def best(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes and their probabilities, the first one first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]


@dataclass(frozen=True)
class Failure:
    """A picture that there is no prediction for, and in words why."""

    path: str
    reason: str


def predict(
    model: str | Path | Loaded,
    images: Source | Iterable[Source],
    *,
    tta: str = "none",
    device: str = "auto",
) -> list[Prediction]:
    """What a model says of pictures of any size, in their order.

    They are decoded by `hotlap.data.decode`, brought to the model's size by `hotlap.data.fit` as its training
    images were, and probabilities are of logits over the run's temperature.

    Args:
        model: a run's folder, a `model.safetensors`, or what `hotlap.deploy.model.open_model` made of one.
        images: one or several: files, folders (all images below them), glob patterns; the bytes of a file;
            images of Pillow; arrays (H, W, C) or (H, W) uint8 with the model's channels.
        tta: `none`, `flip`, `flip_translate` or `flip_translate_even`.
        device: ignored for a model that is loaded.

    Raises:
        UserError: the model is missing or damaged, a path holds no image, or one does not read.
    """
    loaded = model if isinstance(model, Loaded) else open_model(model, device)
    several = not isinstance(images, str | Path | bytes | Image.Image | np.ndarray)
    found = []
    for answer in stream(loaded, find_images(images if several else [images]), check_tta(tta)):  # type: ignore[arg-type]
        if isinstance(answer, Failure):
            raise UserError(f"{answer.path}: {answer.reason}; leave it out, or mend the file")
        found.append(answer)
    return found


def stream(
    model: Loaded, sources: Iterable[Source | Failure], tta: str = "none", batch: int = BATCH
) -> Iterator[Prediction | Failure]:
    """An answer for each source, in order. The next batch is decoded while one is looked at; no more is held.

    Raises:
        UserError: the model reads a number of channels that no picture has.
    """
    check_channels(model.preprocessing, str(model.path))
    numbered = iter(enumerate(sources))
    with ThreadPoolExecutor(processors()) as pool:

        def begin() -> list[Future[Read | Failure]]:
            return [pool.submit(read, s, i, model.preprocessing) for i, s in islice(numbered, batch)]

        current = begin()
        try:
            while current:
                following = begin()
                yield from answers(model, [f.result() for f in current], tta)
                current = following
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Read:
    """A picture ready for the model: pixels (h, w, C) uint8 of its size."""

    path: str
    pixels: npt.NDArray[np.uint8]
    resized_from: tuple[int, int] | None
    remarks: tuple[str, ...]


def answers(model: Loaded, pictures: Sequence[Read | Failure], tta: str) -> list[Prediction | Failure]:
    """What the model says of a batch."""
    good = [p for p in pictures if isinstance(p, Read)]
    rows = iter(model.probabilities(np.stack([p.pixels for p in good]), tta).tolist() if good else ())
    out: list[Prediction | Failure] = []
    for picture in pictures:
        if isinstance(picture, Failure):
            out.append(picture)
            continue
        by_name: dict[str, float] = dict(zip(model.spec.class_names, next(rows), strict=True))
        label = max(by_name, key=lambda name: by_name[name])
        out.append(
            Prediction(picture.path, label, by_name[label], by_name, picture.resized_from, picture.remarks)
        )
    return out


def read(source: Source | Failure, index: int, how: Preprocessing) -> Read | Failure:
    """The picture at place `index`, as the model's pipeline makes it."""
    if isinstance(source, Failure):
        return source
    path = str(source) if isinstance(source, str | Path) else f"{kind_of(source)} {index}"
    try:
        picture = picture_of(source, how)
    except Unreadable as error:
        return Failure(path, str(error))
    pixels = fit(picture.pixels, how.size, how.fit, how.background)
    height, width = picture.pixels.shape[:2]
    was = (height, width)
    return Read(path, pixels, None if was == how.size else was, picture.remarks)


def kind_of(source: Source) -> str:
    return "array" if isinstance(source, np.ndarray) else "bytes" if isinstance(source, bytes) else "image"


def picture_of(source: Source, how: Preprocessing) -> Picture:
    """A source's pixels in the model's channels.

    Raises:
        Unreadable: there are none.
    """
    if isinstance(source, np.ndarray):
        pixels = source[:, :, None] if source.ndim == 2 else source
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != how.channels or not pixels.size:
            raise Unreadable(
                f"an array of {source.dtype} of shape {source.shape}; give uint8 (H, W, {how.channels})"
            )
        return Picture(np.ascontiguousarray(pixels), "array", ())
    if isinstance(source, Image.Image):
        source = as_file(source)
    return decode(source, channels=how.channels, background=how.background)


def as_file(image: Image.Image) -> bytes:
    """An image of Pillow as the bytes of a file without loss, so that it goes the decoder's one way.

    Raises:
        Unreadable: Pillow does not write images of this mode.
    """
    held = io.BytesIO()
    if image.mode in ALIKE:
        image = image.convert(ALIKE[image.mode])
    try:
        if image.mode in ("CMYK", "YCbCr", "LAB", "F"):
            image.save(held, "TIFF")
        else:
            image.save(held, "PNG", compress_level=1, exif=image.getexif())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"an image of mode {image.mode} that Pillow does not write ({error})") from None
    return held.getvalue()


def check_channels(how: Preprocessing, path: str) -> None:
    """Whether pictures have the channels that a model reads.

    Raises:
        UserError: they have not.
    """
    if how.channels not in (1, 3):
        raise UserError(f"{path}: this model reads {how.channels} channels, pictures have 1 or 3")


def find_images(given: Iterable[Any]) -> Iterator[Any]:
    """What paths, folders and glob patterns name, each file once, in order; a `Failure` where one names none.

    Below folders, and where a pattern matches, only files that are images by their name are taken, and none
    that are hidden. What is no path comes through as it is.
    """
    seen: set[Path] = set()
    for item in given:
        if not isinstance(item, str | Path):
            yield item
            continue
        for found in named(item):
            if isinstance(found, Failure) or found not in seen:
                if isinstance(found, Path):
                    seen.add(found)
                yield found


def named(item: str | Path) -> list[Path | Failure]:
    """The image files that a path, folder or glob pattern names, or why there are none."""
    path = Path(item).expanduser()
    try:
        if path.is_dir():
            inside: list[Path | Failure] = [path / file.name for file in walk(path).images()]
            return inside or [Failure(str(path), "no images in this folder")]
        if path.is_file():
            return [path]
    except (OSError, UserError) as error:
        return [Failure(str(path), getattr(error, "strerror", None) or str(error))]
    matches = map(Path, sorted(glob.glob(str(path), recursive=True)))
    inside = [p for p in matches if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES]
    return inside or [Failure(str(item), "no such file, folder or match")]
