"""Images as arrays: which axis is which, which numbers are black and white, and what their labels say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hotlap.data.listing import Item, Listing, Pixels, shown
from hotlap.errors import UserError

_STRETCH = 4096  # images whose values are looked at together


@dataclass(frozen=True)
class Arrays:
    """One split as it was given.

    Args:
        name: of the images, for the user.
        images: (N, H, W), (N, H, W, C) or (N, C, H, W), of any numbers.
        labels: (N,) or (N, 1) numbers or text, or (N, K) with a one in each row.
        stamp: changes with the file they come from.
    """

    name: str
    images: Any
    labels: Any
    stamp: str = ""


def array_listing(
    splits: Mapping[str, Arrays], class_names: Sequence[str] | None, layout: str, origin: str
) -> Listing:
    """The images of `splits`, by `train`, `val`, `test`.

    Args:
        class_names: names of the labels 0, 1, ..., if the source has them.
        layout: what the source is; which axes and numbers were taken is added to it.

    Raises:
        UserError: an array's shape or numbers are none of images, labels or both together.
    """
    items: list[Item] = []
    pictures: list[tuple[int, Callable[[int], Pixels]]] = []
    taken = ""
    scale, words = _scaling([s.images for s in splits.values()], origin)
    for split, given in splits.items():
        images = given.images
        if len(images) == 0:
            continue
        order, axes = _axes(images.shape, given.name, origin)
        taken = taken or f"{layout}, {axes}{words}"
        labels = class_labels(given.labels, len(images), given.name, origin, class_names)
        pictures.append((len(items), _picture(images, order, scale)))
        items += [Item(f"{given.name}[{i}]", label, split, given.stamp) for i, label in enumerate(labels)]

    def payloads(indices: Sequence[int]) -> Iterator[Pixels]:
        which = 0
        for i in indices:
            while which + 1 < len(pictures) and i >= pictures[which + 1][0]:
                which += 1
            yield pictures[which][1](i - pictures[which][0])

    order_of = tuple(shown(n) for n in class_names) if class_names is not None else None
    return Listing(taken or layout, items, payloads, order_of, encoded=False)


def _axes(shape: tuple[int, ...], name: str, origin: str) -> tuple[str, str]:
    """The order of the axes, and how to say it."""
    if len(shape) == 3:
        found, words = "NHW", "N, height, width"
    elif len(shape) == 4 and shape[3] in (1, 3, 4):
        found, words = "NHWC", "N, height, width, channels"
    elif len(shape) == 4 and shape[1] in (1, 3, 4):
        found, words = "NCHW", "N, channels, height, width"
    else:
        found = words = ""
    if not found or 0 in shape:
        raise UserError(
            f"{origin}: {name} has the shape {shape}; images are (N, height, width), (N, height, width,"
            " channels) or (N, channels, height, width), with 1, 3 or 4 channels"
        )
    return found, f"taken as ({words})"


def _picture(
    images: Any, order: str, scale: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> Callable[[int], Pixels]:
    """What gives one image as (H, W, C) uint8, with 1 or 3 channels."""

    def picture(i: int) -> Pixels:
        one = scale(np.asarray(images[i]))
        one = one[:, :, None] if order == "NHW" else one.transpose(1, 2, 0) if order == "NCHW" else one
        if one.shape[2] == 4:  # on white, as decoding does
            alpha = one[:, :, 3:].astype(np.uint16)
            one = (one[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return np.ascontiguousarray(one, np.uint8)

    return picture


def _scaling(
    arrays: Sequence[Any], origin: str
) -> tuple[Callable[[npt.NDArray[Any]], npt.NDArray[Any]], str]:
    """What brings the numbers to 0-255, and how to say it. One rule for all splits, from all their
    numbers."""
    kinds = {np.asarray(a[:1]).dtype.kind for a in arrays}
    if all(getattr(a, "dtype", None) == np.uint8 for a in arrays):
        return lambda x: x, ""
    if not kinds <= set("buif"):
        raise UserError(
            f"{origin}: images must be numbers, not {', '.join(sorted(str(a.dtype) for a in arrays))}"
        )
    low, high = _range(arrays, origin)
    if kinds == {"b"}:
        return lambda x: x.astype(np.uint8) * 255, ", of true and false"
    if low >= 0 and high <= 1 and kinds != {"u"}:
        return lambda x: np.rint(x * 255.0), ", numbers from 0 to 1"
    if low >= -1 and high <= 1:
        if kinds == {"u"}:
            return lambda x: x * 255, ", numbers 0 and 1"
        return lambda x: np.rint((x + 1.0) * 127.5), ", numbers from -1 to 1"
    if low >= 0 and high <= 255:
        return lambda x: np.rint(x), ", numbers from 0 to 255"
    if low >= 0 and high <= 65535 and kinds <= set("ui"):
        return lambda x: (x.astype(np.int64) * 255 + 32767) // 65535, ", numbers from 0 to 65535"
    raise UserError(
        f"{origin}: images hold numbers from {low:g} to {high:g}; give 0 to 255, 0 to 1 or -1 to 1, before"
        " any normalising"
    )


def _range(arrays: Sequence[Any], origin: str) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for array in arrays:
        for start in range(0, len(array), _STRETCH):
            some = np.asarray(array[start : start + _STRETCH])
            if some.size:
                low, high = min(low, float(some.min())), max(high, float(some.max()))
            if some.dtype.kind == "f" and not np.isfinite(some).all():
                raise UserError(
                    f"{origin}: images hold numbers that are not finite (NaN or infinite); mend them"
                )
    return (low, high) if low <= high else (0.0, 0.0)


def class_labels(
    labels: Any, count: int, name: str, origin: str, class_names: Sequence[str] | None = None
) -> list[str]:
    """The name of each image's class: of a number the number, or the name that it stands for.

    Args:
        labels: (N,) or (N, 1) whole numbers or text, or (N, K) with a single one in each row.
        count: images, N.

    Raises:
        UserError: they are something else, or not as many.
    """
    where = f"{origin}: the labels of {name}"
    try:
        given = np.asarray(labels)
    except ValueError as err:
        raise UserError(f"{where} are no array: {err}") from err
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim == 2 and given.dtype.kind in "buif" and len(given):
        if not ((given == 0) | (given == 1)).all() or not (given.sum(1) == 1).all():
            raise UserError(f"{where} have {given.shape[1]} columns, but not a single one in each row")
        given = given.argmax(1)
    if given.ndim != 1 or len(given) != count:
        raise UserError(f"{where} have the shape {given.shape}, there are {count:,} images; give one a image")
    if given.dtype.kind in "USO":
        return [_text(value, where) for value in given.tolist()]
    if given.dtype.kind not in "buif" or not np.isfinite(given).all() or (given != np.floor(given)).any():
        raise UserError(f"{where} are of type {given.dtype}; give whole numbers or text")
    numbers = [int(n) for n in given.tolist()]
    if class_names is None:
        return [str(n) for n in numbers]
    names = [shown(n) for n in class_names]
    wrong = next((n for n in numbers if not 0 <= n < len(names)), None)
    if wrong is not None:
        raise UserError(f"{where} have {wrong}, there are names for 0 to {len(names) - 1}")
    return [names[n] for n in numbers]


def _text(value: Any, where: str) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str | int) and str(value):
        return shown(str(value))
    raise UserError(f"{where} have {value!r} among them; give whole numbers or text")
