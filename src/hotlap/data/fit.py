"""An image of any size made the size a model reads; the same arithmetic wherever hotlap does it.

The resampling is Pillow's `Image.resize(..., BILINEAR)`, channel by channel: a triangle filter as wide as the
shrinking (so it is antialiased), first along the rows, then along the columns, each pass rounded to uint8.
Pillow from 13 on takes the columns first where that is less work, which is another level here and there. A
model must see the same pixels whatever the Pillow, so the two passes are asked for one by one.
An exported model repeats them from `placement` and `weights`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from hotlap.errors import UserError, did_you_mean

HOWS = ("crop", "pad", "stretch")
WHITE = (255, 255, 255)

_BITS = 22  # Pillow's fixed point for 8-bit images: 32 bits, less 8 for the pixel and 2 for the sum
_MOST_PIXELS = 1 << 24  # a resized image beyond it is computed only where the crop keeps it
_BLOCK_BYTES = 1 << 24


def fit(
    pixels: npt.NDArray[np.uint8],
    size: int | tuple[int, int],
    how: str = "crop",
    background: tuple[int, int, int] = WHITE,
) -> npt.NDArray[np.uint8]:
    """`pixels` at `size`; an image that has it is returned as it is.

    Args:
        pixels: (H, W, C) uint8, no side of length 0.
        size: (height, width), or one number for both.
        how: `crop` covers the size and keeps the centre; `pad` lies within it, centred on the background;
            `stretch` ignores the proportions.
        background: red, green, blue, 0 to 255, of what `pad` adds; see `shade` for other channel counts.

    Returns:
        (height, width, C) uint8.

    Raises:
        UserError: there is no such `how`, or a side of `size` is under 1.
    """
    want = (size, size) if isinstance(size, int) else size
    rows, columns, top, left = placement(pixels.shape[0], pixels.shape[1], want, how)
    if pixels.shape[:2] == want:
        return pixels
    if how == "crop":
        if rows * columns > _MOST_PIXELS:  # 60000 x 1 covers 224 x 224 with 13 million x 224
            return _resampled_part(pixels, (rows, columns), top, left, want)
        whole = _resized(pixels, rows, columns)
        return np.ascontiguousarray(whole[top : top + want[0], left : left + want[1]])
    if (rows, columns) == want:
        return _resized(pixels, rows, columns)
    out = np.empty((*want, pixels.shape[2]), np.uint8)
    out[:] = shade(background, pixels.shape[2])
    out[top : top + rows, left : left + columns] = _resized(pixels, rows, columns)
    return out


def placement(height: int, width: int, size: tuple[int, int], how: str) -> tuple[int, int, int, int]:
    """To what an image is resized, and where that lies: (rows, columns, top, left).

    For `crop`, top and left are where the kept part begins in the resized image; for `pad`, where the resized
    image begins in the result. One side is that of `size`, the other is the float `other * wanted / side`,
    rounded half to even.

    Args:
        height, width: of the image, from 1 up.
        size: (height, width) wanted.
        how: as for `fit`.

    Raises:
        UserError: as `fit`.
    """
    tall, wide = size
    if tall < 1 or wide < 1:
        raise UserError(f"images cannot be made {tall}x{wide}: give a height and a width from 1 up")
    if how == "stretch":
        return tall, wide, 0, 0
    by_height = tall * width >= wide * height  # height must grow the more (or shrink the less)
    if how == "crop":
        if by_height:
            rows, columns = tall, max(wide, round(width * tall / height))
        else:
            rows, columns = max(tall, round(height * wide / width)), wide
        return rows, columns, (rows - tall) // 2, (columns - wide) // 2
    if how == "pad":
        if by_height:
            rows, columns = min(tall, max(1, round(height * wide / width))), wide
        else:
            rows, columns = tall, min(wide, max(1, round(width * tall / height)))
        return rows, columns, (tall - rows) // 2, (wide - columns) // 2
    raise UserError(f"no way {how!r} to fit an image among {', '.join(HOWS)}{did_you_mean(how, HOWS)}")


def shade(background: tuple[int, int, int], channels: int) -> tuple[int, ...]:
    """The background in an image of so many channels: 1, its luma as Pillow's "L"; 3, itself; 4, opaque.

    Raises:
        ValueError: for another number of channels, unless the background is gray.
    """
    red, green, blue = background
    if channels == 3:
        return background
    if channels == 4:
        return (*background, 255)
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    if channels != 1 and not red == green == blue:
        raise ValueError(f"a background in colour needs 1, 3 or 4 channels, not {channels}")
    return (luma,) * channels


def weights(length: int, out: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pillow's bilinear filter along one side, in its fixed point.

    Output i is `clip((2**21 + sum_k pixel[first[i] + k] * weight[i, k]) >> 22, 0, 255)`.

    Args:
        length: pixels along the side.
        out: pixels wanted.

    Returns:
        first: (out,) int64, the first pixel under the filter.
        weight: (out, taps) int64; 0 where the filter is over.
    """
    return _weights(length, out, 0, out)


def _weights(
    length: int, out: int, start: int, stop: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`weights` of outputs `start` to `stop` alone. The order of operations is Pillow's, so is each bit."""
    scale = length / out
    reach = max(scale, 1.0)
    centre = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    taps = np.arange(int((last - first).max()))
    at = (taps + first[:, None] - centre[:, None] + 0.5) * (1.0 / reach)
    weight = np.maximum(1.0 - np.abs(at), 0.0) * (taps < (last - first)[:, None])
    # One after the other, as Pillow adds them: numpy's own sum goes in pairs and may differ in the last bit.
    total = np.cumsum(weight, axis=1)[:, -1:]
    return first, np.floor(weight / total * (1 << _BITS) + 0.5).astype(np.int64)


def _resized(pixels: npt.NDArray[np.uint8], rows: int, columns: int) -> npt.NDArray[np.uint8]:
    if pixels.shape[:2] == (rows, columns):
        return pixels
    if pixels.shape[2] == 3:
        return np.asarray(_two_passes(Image.fromarray(pixels), rows, columns))
    # Each channel on its own: Pillow would weigh the colours of RGBA by alpha, a graph would not.
    planes = (Image.fromarray(pixels[:, :, c]) for c in range(pixels.shape[2]))
    return np.stack([np.asarray(_two_passes(plane, rows, columns)) for plane in planes], axis=2)


def _two_passes(image: Image.Image, rows: int, columns: int) -> Image.Image:
    across = image.resize((columns, image.height), Image.Resampling.BILINEAR)
    return across.resize((columns, rows), Image.Resampling.BILINEAR)


def _resampled_part(
    pixels: npt.NDArray[np.uint8], whole: tuple[int, int], top: int, left: int, want: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """`want` pixels at (top, left) of `pixels` resized to `whole`, with nothing outside them computed."""
    across = _pass(pixels.swapaxes(0, 1), whole[1], left, left + want[1])
    return np.ascontiguousarray(_pass(across.swapaxes(0, 1), whole[0], top, top + want[0]))


def _pass(pixels: npt.NDArray[np.uint8], out: int, start: int, stop: int) -> npt.NDArray[np.uint8]:
    """Rows `start` to `stop` of the resampling of `pixels` (rows, any, C) to `out` rows."""
    if len(pixels) == out:
        return pixels[start:stop]
    made = np.empty((stop - start, *pixels.shape[1:]), np.uint8)
    # A filter is as wide as the shrinking; few outputs at a time keep the table of weights small.
    step = max(1, _BLOCK_BYTES // (64 * (2 + len(pixels) // out)))
    for block in range(start, stop, step):
        end = min(block + step, stop)
        for i, (first, weight) in enumerate(zip(*_weights(len(pixels), out, block, end), strict=True)):
            under = pixels[first : first + len(weight)].astype(np.int64)
            total = np.tensordot(weight[: len(under)], under, axes=(0, 0)) + (1 << (_BITS - 1))
            made[block - start + i] = np.clip(total >> _BITS, 0, 255)
    return made
