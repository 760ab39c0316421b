"""`patterns`: a built-in set of ten shapes, 32x32 RGB, made from a seed in a second or two.

It needs no download and behaves, for a small network, like a real problem: colour says nothing, a linear
model fails, a good recipe passes 94%, and leaving augmentation out costs points.

What decides the class is the shape alone: disc, ring, crescent, spiral, square, triangle, star, cross,
stripes, checks. Every class is invariant under mirroring and under small shifts.

What varies within a class, and says nothing about it:

* where the shape is (its centre within 5 pixels of the middle), its size (6 to 11 pixels of radius), its
  tilt (up to 62 degrees either way), stretch, shear, softness of edge and handedness (each shape is
  mirrored or not with even chance; triangles and stars also stand or hang);
* its proportions: thickness, number of turns, period, phase and direction of stripes, the outline of checks;
* the colours of shape and background, the background's clouds, the shape's shading, two bars behind it and
  two in front, which sometimes hide most of it;
* exposure and grain.

How the two splits are drawn: test images are all different scenes, while each training scene appears in two
images that differ in exposure and grain only (each 500 images in a row are two views of 250 scenes). So
10,000 training images hold 5,000 scenes, which undersample position and handedness: that is what flipping
and shifting mend. Nothing else differs between the splits.

Each ten images in a row, from a multiple of ten, hold each class once, in random order: any count is as
balanced as it can be, and the first n images are the same whatever the count.

The same seed gives the same bytes on every machine: pixels are computed with operations that IEEE 754
rounds exactly (no sine, no exponential, no sum whose order a library chooses).

Measured with `python benchmarks/patterns.py` (10,000 and 2,000 images, seed 0). Logistic regression on
normalised pixels: 10.4% of the test images, no better than chance. The `demo` recipe, mean of three runs,
one view of each test image: 95.8% (95.7 to 95.9) with mirroring and shifts, 92.5% (92.1 to 92.9) without;
averaging six views adds 1.0 and 1.6 points. Longer training narrows what augmentation is worth.
Most of what is still wrong confuses square and triangle, disc, ring and crescent, star and cross. 20 test
images are one point, so a single run tells about half a point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hotlap.errors import UserError

PATTERN_CLASSES: tuple[str, ...] = (
    "disc",
    "ring",
    "crescent",
    "spiral",
    "square",
    "triangle",
    "star",
    "cross",
    "stripes",
    "checks",
)
PATTERNS_VERSION: int = 1

_SIDE = 32
_CLASSES = len(PATTERN_CLASSES)
# Scenes come in blocks of ten, one of each class, and are drawn 25 blocks at a time, each batch from its own
# random stream. So image i does not depend on how many images are asked for, and the working memory (about
# 25 MB) does not grow with them.
_BLOCKS = 25
_SCENES = _BLOCKS * _CLASSES
# Images of one training scene. More of them widen what augmentation is worth and lower every accuracy.
_FRAMES = 2

# How hard the task is: (low, high) of a uniform draw, or the half-width of one around its middle.
# Lengths are pixels and colours are steps of 255. A change here is a new PATTERNS_VERSION.
_SHIFT = 5.0  # centre of the shape
_RADIUS = (6.0, 11.0)  # size of the shape
_TILT = 0.6  # tangent of half the tilt
_STRETCH = 0.22  # width against height, a factor
_SHEAR = 0.25  # sideways lean, as a part of the height
_SOFTNESS = (1.0, 2.5)  # width of the edge
_BASE = (70.0, 185.0)  # mean colour of the background
_KNOTS = 5  # of the background clouds, along each side
_CLOUDS = (8.0, 45.0)  # depth of the background clouds
_CONTRAST = (48.0, 120.0)  # shape against background, in the channel where they differ most
_SHADING = 30.0  # change of the colour across the shape
_BEHIND = 2  # bars behind the shape
_FRONT = 2  # bars in front of it
_BAR_LENGTH = (0.0, 9.0)  # half the length of a bar
_BAR_WIDTH = (0.8, 2.6)  # half the thickness of a bar
_BAR_CONTRAST = (25.0, 90.0)  # bar against background
_NOISE = (3.0, 15.0)  # standard deviation of the grain
_EXPOSURE = 0.15  # change of contrast from frame to frame, a factor

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
# float32 in fact; the stubs of NumPy take the product with a Python number for a float64.
_Plane = npt.NDArray[np.floating[Any]]


def make_patterns(train: int, test: int, seed: int = 0) -> tuple[Images, Labels, Images, Labels]:
    """Draw the set.

    Args:
        train: number of training images.
        test: number of test images.
        seed: any integer from 0; another seed gives other images of the same kind.

    Returns:
        Training images (train, 32, 32, 3) uint8 RGB, training labels (train,) int64 that index
        `PATTERN_CLASSES`, then the same of the test set. The four arrays are fresh and writable.

    Raises:
        UserError: a negative count or seed.
    """
    for name, value in (("train", train), ("test", test), ("seed", seed)):
        if value < 0:
            raise UserError(f"patterns: {name} is {value}, below zero; give 0 or more")
    return (*_split(train, seed, 0, _FRAMES), *_split(test, seed, 1, 1))


def _split(count: int, seed: int, split: int, frames: int) -> tuple[Images, Labels]:
    """Images (count, 32, 32, 3) and labels (count,) of one split, each scene in `frames` of the images."""
    images = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    labels = np.empty(count, np.int64)
    for start in range(0, count, frames * _SCENES):
        stream = np.random.SeedSequence(seed, spawn_key=(split, start // (frames * _SCENES)))
        rng = np.random.Generator(np.random.PCG64(stream))
        scenes = _scenes(_Draws(rng))
        for begin in range(start, min(start + frames * _SCENES, count), _SCENES):
            end = min(begin + _SCENES, count)
            frame, order = _frame(scenes, _Draws(rng))
            images[begin:end] = frame[: end - begin]
            labels[begin:end] = order[: end - begin]
    return images, labels


class _Draws:
    """Random numbers, one a scene, shaped (class, block, ..., 1, 1) float32 to broadcast over pixels.

    All come from `Generator.random`, which uses the bits of the stream in the plainest way.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def uniform(self, low: float, high: float, *extra: int) -> _Plane:
        """(10, 25, *extra, 1, 1) float32, uniform in [low, high)."""
        return (low + (high - low) * self.rng.random((_CLASSES, _BLOCKS, *extra, 1, 1))).astype(np.float32)

    def sign(self) -> _Plane:
        """(10, 25, 1, 1), -1 or 1 with even chance."""
        return np.where(self.rng.random((_CLASSES, _BLOCKS, 1, 1)) < 0.5, np.float32(-1), np.float32(1))

    def tint(self, contrast: tuple[float, float]) -> _Plane:
        """A difference of colours, (10, 25, 3, 1, 1): its largest channel within `contrast`, of any sign."""
        direction = self.uniform(-1, 1, 3)
        largest = np.maximum(np.abs(direction).max(axis=2, keepdims=True), np.float32(1e-3))
        tint: _Plane = direction / largest * self.uniform(*contrast, 1)
        return tint

    def rotation(self, tilt: float) -> tuple[_Plane, _Plane]:
        """Cosine and sine, (10, 25, 1, 1) each, of an angle whose half has a tangent within `tilt` of 0."""
        # The rational form of both, as library sines differ in the last bit from machine to machine.
        half = self.uniform(-tilt, tilt)
        scale = 1 / (1 + half * half)
        return (1 - half * half) * scale, 2 * half * scale


def _scenes(draws: _Draws) -> _Plane:
    """250 noiseless pictures (10, 25, 3, 32, 32) float32, the first axis the class."""
    axis = np.arange(_SIDE, dtype=np.float32)
    x, y = axis[None, None, None, :], axis[None, None, :, None]
    base = draws.uniform(*_BASE, 3)
    canvas: _Plane = base + _clouds(draws)
    for _ in range(_BEHIND):
        _blend(canvas, _bar(draws, x, y), base + draws.tint(_BAR_CONTRAST))
    alpha, u, v = _shape(draws, x, y)
    shade = draws.uniform(-_SHADING, _SHADING) * u + draws.uniform(-_SHADING, _SHADING) * v
    _blend(canvas, alpha, base + draws.tint(_CONTRAST) + shade[:, :, None])
    for _ in range(_FRONT):
        _blend(canvas, _bar(draws, x, y), base + draws.tint(_BAR_CONTRAST))
    return canvas


def _frame(scenes: _Plane, draws: _Draws) -> tuple[Images, Labels]:
    """One photograph of every scene: images (250, 32, 32, 3) and labels (250,), each ten images a shuffle."""
    order = np.argsort(draws.rng.random((_BLOCKS, _CLASSES)), axis=1, kind="stable")
    grain = draws.rng.integers(0, 256, (2, *scenes.shape), dtype=np.uint8).astype(np.float32)
    # The difference of two uniform bytes has a standard deviation of 104.5.
    canvas = (grain[0] - grain[1]) * (draws.uniform(*_NOISE, 1) * np.float32(1 / 104.5))
    gain = draws.uniform(1 - _EXPOSURE, 1 + _EXPOSURE, 1)
    canvas += (scenes - np.float32(127.5)) * gain
    canvas += np.float32(128)
    np.clip(canvas, 0, 255, out=canvas)
    pixels = canvas.astype(np.uint8)[order, np.arange(_BLOCKS)[:, None]]
    images = pixels.reshape(_SCENES, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return images, order.reshape(_SCENES).astype(np.int64)


def _blend(canvas: _Plane, alpha: _Plane, colour: _Plane) -> None:
    """Paint `colour` (10, 25, 3, 1 or 32, 1 or 32) on the canvas where `alpha` (10, 25, 32, 32) is 1."""
    canvas += alpha[:, :, None] * (colour - canvas)


def _clouds(draws: _Draws) -> _Plane:
    """A smooth field around 0, (10, 25, 3, 32, 32): random knots, interpolated."""
    knots = draws.rng.random((_CLASSES, _BLOCKS, 3, _KNOTS, _KNOTS)).astype(np.float32) - np.float32(0.5)
    position = np.arange(_SIDE) * ((_KNOTS - 1) / _SIDE)
    left = position.astype(np.int64)
    part = (position - left).astype(np.float32)
    part = part * part * (3 - 2 * part)
    rows = knots[..., left, :] * (1 - part)[:, None] + knots[..., left + 1, :] * part[:, None]
    field: _Plane = rows[..., left] * (1 - part) + rows[..., left + 1] * part
    field *= 2 * draws.uniform(*_CLOUDS, 1)
    return field


def _bar(draws: _Draws, x: _Plane, y: _Plane) -> _Plane:
    """Coverage (10, 25, 32, 32) in [0, 1] of a round-ended bar anywhere in the picture, at any angle."""
    dx = x - draws.uniform(0, _SIDE - 1)
    dy = y - draws.uniform(0, _SIDE - 1)
    c, s = draws.rotation(1.0)
    u = np.maximum(np.abs(c * dx + s * dy) - draws.uniform(*_BAR_LENGTH), 0)
    v = c * dy - s * dx
    distance = np.sqrt(u * u + v * v) - draws.uniform(*_BAR_WIDTH)
    alpha: _Plane = np.clip(np.float32(0.5) - distance, 0, 1)
    return alpha


def _shape(draws: _Draws, x: _Plane, y: _Plane) -> tuple[_Plane, _Plane, _Plane]:
    """Coverage of each scene's shape in [0, 1], and the shape's own coordinates; each (10, 25, 32, 32)."""
    middle = (_SIDE - 1) / 2
    dx = x - draws.uniform(middle - _SHIFT, middle + _SHIFT)
    dy = y - draws.uniform(middle - _SHIFT, middle + _SHIFT)
    radius = draws.uniform(*_RADIUS)
    c, s = draws.rotation(_TILT)
    stretch = 1 + draws.uniform(-_STRETCH, _STRETCH)
    u = (c * dx + s * dy) * (draws.sign() * stretch / radius)
    v = (c * dy - s * dx) / (radius * stretch)
    u = u + draws.uniform(-_SHEAR, _SHEAR) * v
    p, q = draws.uniform(0, 1), draws.uniform(0, 1)
    distance = np.empty_like(u)
    for index, draw in enumerate(_SHAPES):
        distance[index] = draw(u[index], v[index], p[index], q[index])
    distance *= radius
    alpha: _Plane = np.clip(np.float32(0.5) - distance / draws.uniform(*_SOFTNESS), 0, 1)
    return alpha, u, v


# The shapes. Each takes the shape's coordinates u, v (25, 32, 32), in which it is about as large as the unit
# disc, and two free choices p, q (25, 1, 1) in [0, 1). It returns the distance to the outline in the same
# unit (25, 32, 32), below zero inside; only near the outline need it be right.


def _disc(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    return np.sqrt(u * u + v * v) - np.float32(0.85)


def _ring(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    thick = np.float32(0.13) + np.float32(0.12) * p
    return np.abs(np.sqrt(u * u + v * v) - (1 - thick)) - thick


def _crescent(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    # A disc less a smaller one beside it.
    beside = u - (np.float32(0.35) + np.float32(0.25) * p)
    return np.maximum(np.sqrt(u * u + v * v) - 1, np.float32(0.8) - np.sqrt(beside * beside + v * v))


def _spiral(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    au, av = np.abs(u), np.abs(v)
    # The angle in turns, from a rational arc tangent that is right to 0.001 turns.
    ratio = np.minimum(au, av) / np.maximum(np.maximum(au, av), np.float32(1e-6))
    turn = ratio * (np.float32(0.125) + np.float32(0.0434) * (1 - ratio))
    turn = np.where(av > au, np.float32(0.25) - turn, turn)
    turn = np.where(u < 0, np.float32(0.5) - turn, turn)
    turn = np.where(v < 0, 1 - turn, turn)
    radius = np.sqrt(u * u + v * v)
    pitch = np.float32(0.5) + np.float32(0.12) * q
    phase = radius / pitch - turn + p
    arm = np.abs(phase - np.floor(phase) - np.float32(0.5)) * pitch - pitch * np.float32(0.25)
    return np.maximum(arm, radius - np.float32(1.05))


def _square(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.8)


def _triangle(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    w = v * np.where(p < 0.5, np.float32(-1), np.float32(1)) - np.float32(0.1)
    return np.maximum(-w, np.abs(u) * np.float32(0.866) + w * np.float32(0.5)) - np.float32(0.58)


def _star(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    x, y = np.abs(u), v * np.where(p < 0.5, np.float32(-1), np.float32(1))
    c, s = np.float32(0.809016994), np.float32(-0.587785252)
    # Fold the plane on the star's axes until one edge of one point is left.
    m = 2 * np.maximum(x * c + y * s, 0)
    x, y = x - m * c, y - m * s
    m = 2 * np.maximum(-x * c + y * s, 0)
    x, y = np.abs(x + m * c), y - m * s
    y = y - np.float32(1.1)
    inner = np.float32(0.42) + np.float32(0.08) * q
    bx, by = -s * inner, c * inner - 1
    t = np.clip((x * bx + y * by) / (bx * bx + by * by), 0, 1)
    ex, ey = x - bx * t, y - by * t
    side = np.where(y * bx - x * by < 0, np.float32(-1), np.float32(1))
    return np.sqrt(ex * ex + ey * ey) * side


def _cross(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    w = np.float32(0.24) + np.float32(0.14) * p
    au, av = np.abs(u), np.abs(v)
    return np.maximum(np.maximum(au, av) - 1, np.minimum(au, av) - w)


def _wave(x: _Plane, period: _Plane, phase: _Plane) -> Any:
    """Distance to the edges of bands across x, half of each period inside."""
    t = x / period + phase
    return (np.abs(t - np.floor(t) - np.float32(0.5)) - np.float32(0.25)) * period


def _patch(u: _Plane, v: _Plane, p: _Plane) -> Any:
    """The outline of a texture: a square or a disc."""
    square = np.maximum(np.abs(u), np.abs(v)) - np.float32(0.9)
    return np.where(p * 2 % 1 < 0.5, square, np.sqrt(u * u + v * v) - 1)


def _stripes(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    across = np.where(p < 0.5, u, v)
    period = np.float32(0.5) + np.float32(0.2) * q
    return np.maximum(_patch(u, v, p), _wave(across, period, p * 16))


def _checks(u: _Plane, v: _Plane, p: _Plane, q: _Plane) -> Any:
    period = np.float32(0.8) + np.float32(0.3) * q
    a, b = _wave(u, period, p * 16), _wave(v, period, q * 16)
    return np.maximum(_patch(u, v, p), np.maximum(np.minimum(a, b), -np.maximum(a, b)))


_SHAPES: tuple[Callable[[_Plane, _Plane, _Plane, _Plane], Any], ...] = (
    _disc,
    _ring,
    _crescent,
    _spiral,
    _square,
    _triangle,
    _star,
    _cross,
    _stripes,
    _checks,
)
