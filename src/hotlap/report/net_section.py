"""A net on a page: its picture, and its layers in a table."""

from __future__ import annotations

from hotlap.nets.outline import Outline
from hotlap.report.net_picture import net_picture
from hotlap.report.net_words import HEADS, costs, rows
from hotlap.report.page import Block, Details, Heading, Picture, Table

LARGE = 60  # layers of a net whose picture is folded away


def net_section(outline: Outline, title: str) -> list[Block]:
    """The section of a page on a net that is called `title`."""
    picture = Picture(net_picture(outline, title), themed=True)
    large = len(outline.layers) > LARGE
    cells = [(unbroken(name), what, unbroken(size), *numbers) for name, what, size, *numbers in rows(outline)]
    return [
        Heading("The net"),
        *([f"{costs(outline)}.", Details("Its picture", [picture])] if large else [picture]),
        Details("Its layers", [Table(HEADS, cells, words=(1,))]),
    ]


def unbroken(text: str) -> str:
    """The text with spaces that are kept, and at which no line ends."""
    return text.replace(" ", "\u00a0")
