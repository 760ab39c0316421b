"""Pixels of every mode as L, LA, RGB or RGBA, and laid over a background where they are transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from hotlap.data.fit import shade
from hotlap.data.formats.unreadable import SAVE, Unreadable


def standard(image: Any, kind: str, depth: int, remarks: list[str]) -> Any:
    """The loaded image as L, LA, RGB or RGBA, whatever its mode."""
    mode, key = image.mode, image.info.get("transparency")
    if depth == 16 or mode.startswith("I"):
        remarks.append("16 bits scaled to 8")
    if mode == "RGB":
        if not isinstance(key, tuple):
            return image
        if depth == 16:  # Pillow has dropped the low bytes of the pixels, not those of the one to leave out
            image.info["transparency"] = tuple(level >> 8 for level in key)
        return image.convert("RGBA")
    if mode in ("L", "1"):
        plain = image if mode == "L" else image.convert("L")
        if not isinstance(key, int):
            return plain
        # A PNG of 2 or 4 bits says it in its own levels, while its pixels are already 0 to 255.
        level = key * 255 // ((1 << depth) - 1) if mode == "L" and depth < 8 else key
        return with_alpha(plain, plain.point([0 if v == level else 255 for v in range(256)]))
    if mode in ("P", "PA"):
        if image.palette is None:
            raise Unreadable("corrupt", "no palette")
        return image.convert("RGBA" if key is not None or mode == "PA" else "RGB")
    if mode in ("LA", "RGBA"):
        return image
    if mode in ("La", "RGBa"):
        return image.convert(mode.upper())
    if mode.startswith("I"):
        return from_integers(image, kind, key)
    if mode == "F":
        remarks.append("floats of 0 to 1 scaled to 0 to 255")
        return from_floats(image)
    if mode == "LAB":
        return from_lab(image)
    if mode in ("CMYK", "YCbCr", "HSV", "RGBX"):
        return image.convert("RGB")
    raise Unreadable(f"pixels of a kind that is not read ({mode})")


def from_integers(image: Any, kind: str, key: object) -> Any:
    values = np.asarray(image)
    if image.mode == "I":
        lowest, highest = image.getextrema()
        if lowest < 0 or highest > 0xFFFF:
            raise Unreadable("integers outside 0 to 65535")
    elif kind == "TIFF" and image.tag_v2.get(262) == 0:  # 0 is white, which Pillow heeds for 8 bits only
        values = 0xFFFF - values
    plain = Image.fromarray((values >> 8).astype(np.uint8))
    if not isinstance(key, int):
        return plain
    return with_alpha(plain, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))


def from_floats(image: Any) -> Any:
    values = np.asarray(image)
    lowest, highest = float(values.min()), float(values.max())
    if lowest != lowest:
        raise Unreadable("floats that are no numbers (NaN)")
    if lowest < 0 or highest > 1:
        raise Unreadable("floats outside 0 to 1")
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


def from_lab(image: Any) -> Any:
    try:
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    except ImportError:
        transform = None
    if transform is None:
        raise Unreadable(f"LAB colours, {SAVE}")
    return ImageCms.applyTransform(image, transform)


def with_alpha(plain: Any, alpha: Any) -> Any:
    return Image.merge("LA", (plain, alpha))


def gray_palette(image: Any) -> bool:
    colours = np.asarray(image.getpalette() or [], np.uint8)
    triples = colours[: len(colours) // 3 * 3].reshape(-1, 3)
    return bool((triples == triples[:, :1]).all())


def over(image: Any, background: tuple[int, int, int], channels: int, remarks: list[str]) -> Any:
    """An LA or RGBA image laid over the background, as L or RGB."""
    mode = "L" if image.mode == "LA" and channels == 1 else "RGB"
    plain, alpha = image.convert(mode), image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return plain
    remarks.append("transparent: laid over the background")
    under = Image.new(mode, image.size, background if mode == "RGB" else shade(background, 1)[0])
    under.paste(plain, mask=alpha)
    return under
