"""Contact sheets: a PNG of each class with some of its images, evenly picked, under its name."""

from __future__ import annotations

import importlib.util
import io
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from hotlap.data.decoding import Decoding, decoded
from hotlap.data.listing import Listing, Pixels, counted
from hotlap.errors import UserError
from hotlap.files import slug, why, write_atomic

_COLUMNS, _ROWS = 8, 6
_CELL, _GAP, _MARGIN = 112, 6, 14
_NARROWEST = 4  # columns: the caption needs some room
_HEAD = 62
_INK, _FAINT, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_CLASSES = 16  # whose images are decoded, and held, at a time
_MARK = ("Software", "hotlap contact sheet")
_NAME_BYTES = 120
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Sheet:
    """A sheet to be made.

    Args:
        name: of the class.
        items: places of its images in the listing.
        splits: of each of these, its split.
    """

    name: str
    items: Sequence[int]
    splits: Sequence[str]


def check_folder(folder: Path, origin: str) -> Path:
    """The folder that sheets go into, absolute; looked at before anything is decoded.

    Raises:
        UserError: it lies within the data, is no folder, cannot be written, or holds PNGs that are no sheets.
    """
    try:
        target, source = folder.expanduser().resolve(), Path(origin).resolve()
        if source.is_dir() and target.is_relative_to(source):
            raise UserError(
                f"--sheets {folder} lies in the data, {source}, where the sheets would be taken for images;"
                " give a folder outside it"
            )
        there = next(p for p in (target, *target.parents) if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            state = "cannot be written" if there.is_dir() else "is a file"
            raise UserError(f"--sheets {folder}: {there} {state}; give another folder, made if need be")
        files = sorted(p for p in target.iterdir() if p.suffix.lower() == ".png") if target.exists() else []
    except (OSError, RuntimeError, ValueError) as err:
        raise UserError(f"--sheets {folder}: {why(err)}; give another folder") from err
    if other := next((p for p in files if not _is_sheet(p)), None):
        raise UserError(
            f"{other} is no contact sheet and might be written over; give --sheets another folder"
        )
    return target


def write_sheets(
    folder: Path, listing: Listing, sheets: Sequence[Sheet], size: tuple[int, int]
) -> tuple[Path, ...]:
    """Write each sheet into `folder`; the same images are picked every time.

    Args:
        size: (height, width) that the set's images are brought to; small ones are shown so, enlarged.

    Returns:
        The files, in the order of the sheets.

    Raises:
        UserError: a file cannot be written.
    """
    files = [folder / name for name in file_names([s.name for s in sheets])]
    largest = max(size)
    factor = max(1, _CELL // largest)
    side = size if factor > 1 else (_CELL, _CELL)
    how = Decoding(side, "crop" if factor > 1 else "pad", 3)
    for start in range(0, len(sheets), _CLASSES):
        some = sheets[start : start + _CLASSES]
        chosen = [[s.items[k] for k in evenly(len(s.items), _COLUMNS * _ROWS)] for s in some]
        pixels: dict[int, Pixels] = {}
        for items, made, bad, _ in decoded(listing, sorted({i for c in chosen for i in c}), how, {}):
            pixels.update(zip((i for i in items if i not in bad), made, strict=True))
        for sheet, items, file in zip(some, chosen, files[start:], strict=False):
            shown = [pixels[i].repeat(factor, 0).repeat(factor, 1) for i in items if i in pixels]
            write_atomic(file, _png(_drawn(sheet, shown, (side[0] * factor, side[1] * factor))))
    return tuple(files)


def file_names(names: Sequence[str]) -> list[str]:
    """A file name for each class: what a file system and a shell take, no two alike in any case."""
    made: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = slug(name).lstrip(".-").encode()[:_NAME_BYTES].decode("utf-8", "ignore") or "class"
        unique, number = stem, 1
        while unique.casefold() in taken:
            number += 1
            unique = f"{stem}-{number}"
        taken.add(unique.casefold())
        made.append(f"{unique}.png")
    return made


def evenly(count: int, most: int) -> list[int]:
    """Up to `most` places among `count`: one, drawn with a fixed seed, of each of as many stretches."""
    if count <= most:
        return list(range(count))
    bounds = np.arange(most + 1) * count // most
    drawn: list[int] = np.random.default_rng(0).integers(bounds[:-1], bounds[1:]).tolist()
    return drawn


def _is_sheet(file: Path) -> bool:
    try:
        with Image.open(file, formats=("PNG",)) as image:
            return bool(image.info.get(_MARK[0]) == _MARK[1])
    except (OSError, SyntaxError, ValueError):
        return False


def _png(image: Image.Image) -> bytes:
    about, file = PngImagePlugin.PngInfo(), io.BytesIO()
    about.add_text(*_MARK)
    image.save(file, "PNG", pnginfo=about)
    return file.getvalue()


def _drawn(sheet: Sheet, images: Sequence[Pixels], size: tuple[int, int]) -> Image.Image:
    down, across = size[0] + _GAP, size[1] + _GAP
    columns = min(_COLUMNS, max(_NARROWEST, len(images)))
    rows = -(-len(images) // columns)
    width = 2 * _MARGIN + columns * across - _GAP
    paper = Image.new("RGB", (width, _HEAD + rows * down - _GAP + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(paper)
    room = width - 2 * _MARGIN
    lines = ((12, 22, _INK, sheet.name), (39, 14, _FAINT, _caption(sheet, len(images))))
    for top, points, ink, text in lines:
        font, written = _font(text, points)
        pen.text((_MARGIN, top), _shortened(written, font, room), ink, font)
    for k, pixels in enumerate(images):
        row, column = divmod(k, columns)
        paper.paste(Image.fromarray(pixels), (_MARGIN + column * across, _HEAD + row * down))
    return paper


def _caption(sheet: Sheet, shown: int) -> str:
    total = len(sheet.items)
    by_split = ", ".join(f"{n:,} {split}" for split, n in Counter(sheet.splits).items())
    part = f"; {shown} of them here" if shown < total else ""
    return f"{counted(total, 'image')}: {by_split}{part}"


def _font(text: str, points: int) -> tuple[_Font, str]:
    """A font that has every letter of the text, and the text; if none has, its other letters as numbers.

    Pillow's own font has plain Latin letters only; others are looked for where fonts are installed.
    """
    own = ImageFont.load_default(points)
    if text.isascii():
        return own, text
    for name in _fonts():
        with suppress(OSError):
            font = ImageFont.truetype(name, points)
            missing = font.getmask("\uffff")
            if not any(_alike(font.getmask(c), missing) for c in set(text) if not c.isspace()):
                return font, text
    return own, text.encode("ascii", "backslashreplace").decode()


def _fonts() -> list[str]:
    """Fonts to try: names for Pillow to look for, and the one that comes with matplotlib."""
    names = ["NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf"]
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        names.append(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"))
    return names


def _alike(one: Any, other: Any) -> bool:
    return bool(one.size == other.size and bytes(one) == bytes(other))


def _shortened(text: str, font: _Font, room: int) -> str:
    """As much of the text as there is room for."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}...") > room:
        text = text[:-1]
    return f"{text}..."
