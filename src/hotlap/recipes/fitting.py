"""A recipe fitted to data that nobody has tuned one for: by rules, from the `DataSpec` alone.

It starts from `fast94-uniform`, whose net, optimizer and schedule hold over a wide range, and sets what
depends on the images' size, their number, their channels and their classes. `hotlap recipes show --data SRC`
prints what came of it and why.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from hotlap.plan import Trick
from hotlap.plan.recipe import Recipe, Set
from hotlap.recipes.fast import FAST94_UNIFORM
from hotlap.spec import DataSpec
from hotlap.tricks.label_smoothing import LabelSmoothing
from hotlap.tricks.patch_whitening import PatchWhitening
from hotlap.tricks.translate import Translate

NAME = "fitted"
PIXELS = 400_000 * 32 * 32  # that the net should see, over all epochs: as many as fast94-uniform on CIFAR-10
EPOCHS = (8, 100)  # the fewest and the most that this comes to
BATCHES = (32, 768)
STEPS_AN_EPOCH = 50
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PREFIXES = re.compile(r"^(digit|number|letter|char|character|class|label)s?[ _-]*", re.IGNORECASE)
HANDED = 0.8  # share of classes named like characters from which images are not mirrored
FEW = 5_000  # training images up to which the net is half as wide


@dataclass(frozen=True)
class Fitted:
    """A recipe and, in a line each, what the data decided in it."""

    recipe: Recipe
    reasons: tuple[str, ...]


def fitted(spec: DataSpec) -> Fitted:
    """The recipe for data like `spec`'s, by these rules.

    - Groups of convolutions: as many as leave a map of 2 to 4 pixels before the head, one to six.
    - Widths: 256 in the last two groups, 64 before them, 32 before that; half of it up to 5,000 images.
    - Epochs: so many that 400 million pixels are seen, 8 to 100. Batch: fifty steps an epoch, 32 to 768;
      two steps at least.
    - Moves: a sixteenth of the side. No mirror images where classes are called like characters.
    - Smaller images first only where they still fit the net.
    """
    side, count = min(spec.height, spec.width), spec.train_count
    reasons = []
    groups = max(1, min(6, int(math.log2(max(side - 1, 2))) - 1))
    half = 2 if count <= FEW else 1
    widths = tuple(w // half for w in (32,) * max(0, groups - 3) + (64, 256, 256)[-min(groups, 3) :])
    reasons.append(
        f"{side} px: {groups} groups of convolutions, {', '.join(map(str, widths))} wide"
        + (f", half as wide for {count:,} images" if half == 2 else "")
    )
    epochs = float(max(EPOCHS[0], min(EPOCHS[1], round(PIXELS / (count * spec.height * spec.width)))))
    batch = max(BATCHES[0], min(BATCHES[1], count // STEPS_AN_EPOCH // 32 * 32))
    batch = min(batch, max(1, count // 2))
    reasons.append(f"{count:,} images: {epochs:g} epochs in batches of {batch}")
    steps: list[Trick | Set] = [
        Set("net.widths", list(widths)),
        Set("net.logit_scale", 1 / widths[-1]),
        Set("batch_size", batch),
        Set("epochs", epochs),
        Set("target", 0.0),
    ]
    without = []
    pixels = max(1, round(side / 16))
    steps.append(Translate(pixels))
    if handed(spec.class_names):
        without += ["alternating-flip", "multi-crop-tta", "uncertain-tta"]
        reasons.append(
            "classes are called like characters, which a mirror would turn into others: no mirror images"
            " (--with alternating-flip brings them)"
        )
    else:
        reasons.append("mirror images: no class is called like a character (--without alternating-flip)")
    if side < 24:
        without.append("progressive-resolution")
        reasons.append(f"{side} px throughout: smaller ones would not fit the net")
    if spec.channels == 1:
        reasons.append("one channel: no colour to change, brightness and contrast are")
    smoothing = 0.09 if spec.classes >= 10 else 0.05
    steps.append(LabelSmoothing(smoothing))
    whitening = next(t for t in FAST94_UNIFORM.tricks if isinstance(t, PatchWhitening))
    if whitening.images > count:
        reasons.append(f"whitening from all {count:,} images")
    made = FAST94_UNIFORM.then(
        NAME, *steps, without=without, summary="fitted to the data by rules, from fast94-uniform"
    )
    return Fitted(replace(made, data=""), tuple(reasons))


def handed(class_names: tuple[str, ...]) -> bool:
    """Whether classes are called like digits, letters or numbers: `7`, `b`, `seven`, `digit_7`."""
    bare = [PREFIXES.sub("", name.strip()) for name in class_names]
    like = [len(name) <= 1 or name.isdigit() or name.lower() in NUMBERS for name in bare]
    return sum(like) >= HANDED * len(like)
