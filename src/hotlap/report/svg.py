"""matplotlib's SVG in a fraction of its length, so that a picture can be kept: it looks the same.

Lines go from point to point by tenths of a point of the printer, groups that say nothing and ids that nothing
refers to are left out, a font is named once, and each element is a line of text.
"""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha1
from itertools import pairwise

TAG = re.compile(r"<(/?)(\w+)([^<>]*?)(/?)>")
LINE = re.compile(r"M[^A-Za-z]+(?:L[^A-Za-z]+)+")  # moves to a point and draws straight lines from there
USE = re.compile(r'(<use xlink:href="#(\w+)"[^>]*?) style="([^"]*)"/>')
FAMILY = re.compile(r"font-family:([^;\"]*);")


def compact(svg: str) -> str:
    """The text of an SVG picture by matplotlib, shortened."""
    svg = re.sub(r"<!--.*?-->|<!DOCTYPE[^>]*>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    svg = re.sub(r'(?<= d=")[^"]*', lambda m: path(m[0]), svg)
    svg = re.sub(r'(?<= style=")[^"]*', lambda m: re.sub("([:;]) ", r"\1", m[0]), svg)
    svg = TAG.sub(lambda m: re.sub(r"-?\d+\.\d{3,}", rounded, m[0]), svg)
    svg = without_idle_groups(with_classes(with_one_font(svg)))
    return re.sub(r"\s*\n\s*", "\n", svg).strip() + "\n"


def rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def path(data: str) -> str:
    """A path's data: straight lines of several points as steps from each to the next."""
    data = " ".join(data.split())
    data = LINE.sub(lambda m: steps(m[0]), data) if "C" not in data and "Q" not in data else data
    return re.sub(r" ?([A-Za-z]) ?", r"\1", data).strip()


def steps(line: str) -> str:
    """`M 1 2 L 3 4 L 4 4` as `M1 2l2 2 1 0`, in tenths; points that fall together are one."""
    numbers = [round(10 * float(n)) for n in re.findall(r"-?[\d.]+", line)]
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    moves = [(x - a, y - b) for (a, b), (x, y) in pairwise(points)]
    pairs = merged([move for move in moves if move != (0, 0)]) or [(0, 0)]
    return f"M{tenths(points[:1])}l{tenths(pairs)}"


def tenths(pairs: list[tuple[int, int]]) -> str:
    """Numbers one after the other, with a space only where they would run into each other."""
    words = [re.sub(r"^(-?)0\.", r"\1.", f"{n / 10:g}") for pair in pairs for n in pair]
    text = words[0]
    for before, word in pairwise(words):
        text += word if word[0] == "-" or (word[0] == "." and "." in before) else f" {word}"
    return text


def merged(moves: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The moves with those in the very same direction, one after the other, taken together."""
    made: list[tuple[int, int]] = []
    for x, y in moves:
        a, b = made[-1] if made else (0, 0)
        if a * y == b * x and a * x + b * y > 0:
            made[-1] = (a + x, b + y)
        else:
            made.append((x, y))
    return made


def with_classes(svg: str) -> str:
    """Styles that stand several times as classes, called by what they say: on a page with other pictures a
    name means the same in all of them."""
    own = dict(re.findall(r'<path id="(\w+)"[^>]*? style="([^"]*)"', svg))
    # what is used is drawn in its own style, which need not be said again
    svg = USE.sub(lambda m: f"{m[1]}/>" if own.get(m[2]) == m[3] else m[0], svg)
    counts = Counter(re.findall(r' style="([^"]*)"', svg.partition(">")[2]))
    names = {style: f"s{sha1(style.encode()).hexdigest()[:6]}" for style, n in counts.items() if n > 2}
    for style, name in names.items():
        svg = svg.replace(f' style="{style}"', f' class="{name}"')
    rules = "".join(f"\n.{name}{{{style}}}" for style, name in names.items())
    return svg.replace("</style>", f"{rules}</style>", 1)


def with_one_font(svg: str) -> str:
    """The first font as the whole picture's, no longer named where it is used."""
    first = FAMILY.search(svg)
    if first is None:
        return svg
    svg = FAMILY.sub(lambda m: "" if m[1] == first[1] else m[0], svg)
    return svg.replace("<svg ", f'<svg style="font-family:{first[1]}" ', 1)


def without_idle_groups(svg: str) -> str:
    """Groups with nothing said of them are left out, what is in them stays."""
    open_groups: list[bool] = []

    def keep(found: re.Match[str]) -> str:
        closing, name, said, whole = found.groups()
        if name != "g" or whole:
            return found[0]
        if not closing:
            open_groups.append(bool(said.strip()))
            return found[0] if open_groups[-1] else ""
        return found[0] if open_groups.pop() else ""

    return TAG.sub(keep, svg)
