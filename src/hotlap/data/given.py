"""Images that Python already holds: a pair of arrays, pairs of arrays for the splits, or images one by
one."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hotlap.data.arrays import Arrays, array_listing, class_labels
from hotlap.data.decode import Unreadable, decode
from hotlap.data.listing import Item, Listing, Payload, Pixels, shown
from hotlap.errors import UserError

_TAKEN = (
    "a pair (images, labels) of arrays, ((x, y), (x, y)) for train and test or three pairs for train, val and"
    " test, or images one by one as (image, label)"
)


def given_listing(source: Any) -> Listing:
    """The listing of images in memory.

    Args:
        source: (images, labels) of arrays; two or three such pairs: train and test, or train, val and test;
            or an iterable of (PIL image or (H, W), (H, W, C) uint8 array, label), read to its end. If it has
            `classes`, as torchvision's data sets do, these are the names of labels that are numbers.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(source, tuple | list):
        if _is_pair(source):
            return _arrays({"train": source})
        if len(source) in (2, 3) and all(_is_pair(s) for s in source):
            names = ("train", "test") if len(source) == 2 else ("train", "val", "test")
            return _arrays(dict(zip(names, source, strict=True)))
    if isinstance(source, str | bytes | dict) or (
        not hasattr(source, "__iter__") and not hasattr(source, "__getitem__")
    ):
        raise UserError(f"data is a {type(source).__name__}; give a name, a path, {_TAKEN}")
    return _one_by_one(source)


def _is_pair(value: Any) -> bool:
    """Whether it is (images, labels) as arrays, and not one image with its label."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    images, labels = value
    several = getattr(labels, "ndim", 1 if isinstance(labels, list | tuple) else 0)
    return getattr(images, "ndim", 0) >= 3 and several >= 1


def _arrays(pairs: dict[str, Any]) -> Listing:
    splits = {
        split: Arrays(f"{split} images", _array(images), _array(labels))
        for split, (images, labels) in pairs.items()
    }
    return array_listing(splits, None, "arrays", "the arrays given")


def _array(value: Any) -> Any:
    try:
        return np.asarray(value)
    except Exception as err:  # a tensor on another device, lists of unequal length
        raise UserError(f"the arrays given: {' '.join(str(err).split())[:200]}") from err


def _one_by_one(source: Iterable[Any]) -> Listing:
    classes = getattr(source, "classes", None)
    pictures: list[Payload] = []
    labels: list[Any] = []
    for i, pair in enumerate(_each(source)):
        try:
            image, label = pair
        except (TypeError, ValueError):
            raise UserError(f"data: element {i:,} is no pair (image, label); give {_TAKEN}") from None
        pictures.append(_pixels(image, i))
        labels.append(label.item() if hasattr(label, "item") else label)
    names: Sequence[str] | None = None
    if isinstance(classes, list | tuple) and all(isinstance(c, str) for c in classes) and classes:
        names = classes
    if labels and not all(isinstance(label, str | int) for label in labels):
        raise UserError("data: a label is neither a whole number nor text; give one of these for each image")
    numbers = all(isinstance(label, int) for label in labels)
    values = labels if numbers else [str(label) for label in labels]
    of = class_labels(values, len(values), "the images", "data", names if numbers else None) if values else []
    items = [Item(f"image {i}", label, "", "") for i, label in enumerate(of)]

    def payloads(indices: Sequence[int]) -> Iterator[Payload]:
        for i in indices:
            yield pictures[i]

    order = tuple(shown(n) for n in names) if names else None
    return Listing("images one by one", items, payloads, order, encoded=False)


def _each(source: Any) -> Iterator[Any]:
    """The elements; what has a length is read by index up to it, for such data sets may never say stop."""
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return (source[i] for i in range(len(source)))
    return iter(source)


def _pixels(image: Any, place: int) -> Pixels | str:
    if isinstance(image, Image.Image):
        # Through the decoder, so that alpha, palettes and 16 bits are treated as in files.
        if image.mode not in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"):
            image = image.convert("RGB")
        file = io.BytesIO()
        try:
            image.save(file, "PNG", compress_level=0)
            return decode(file.getvalue(), channels=None).pixels
        except (Unreadable, OSError, ValueError) as err:
            return str(err) or "corrupt"
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2:
            return image[:, :, None]
        if image.ndim == 3 and image.shape[2] in (1, 3):
            return image
    raise UserError(
        f"data: image {place:,} is {_what(image)}; give a PIL image, or uint8 pixels (H, W) or (H, W, 3)"
    )


def _what(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return (
        f"{type(value).__name__} {tuple(shape)} of {value.dtype}"
        if shape is not None
        else f"a {type(value).__name__}"
    )
