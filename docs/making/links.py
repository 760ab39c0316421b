"""Dead links: in a built site, and in the Markdown files that are kept.

    python docs/making/links.py build/site README.md docs

A link within must lead to a file or folder that is there, and its fragment to an element of that page. Of a
link to elsewhere only the form is looked at; nothing is fetched.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin

PAGES = (".html", ".md", ".ipynb")
NO_PAGES = ("making", "reference")  # of docs/: what the site is made with, and what was generated for it
MARKDOWN = MarkdownIt("commonmark").enable(["table"]).use(anchors_plugin, max_level=6)


class Page(HTMLParser):
    """What of a page can be linked to, and what it links to."""

    def __init__(self, html: str):
        super().__init__()
        self.anchors, self.links = {""}, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value is not None:
                self.links.append(value)


@cache
def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return Page(text if path.suffix == ".html" else MARKDOWN.render(text))


def dead(path: Path) -> list[str]:
    """The links of a page that lead nowhere, each with why."""
    return [f"{path}: {link}: {why}" for link in read(path).links if (why := wrong(link, path))]


def wrong(link: str, page: Path) -> str:
    """What is wrong with a link of a page, or nothing."""
    url = urlsplit(link)
    if url.scheme in ("http", "https"):
        return "" if url.hostname and "." in url.hostname and " " not in link else "no address"
    if url.scheme or url.netloc:
        return "" if url.scheme in ("data", "mailto") else "no scheme that a page may use"
    target = page.parent / unquote(url.path) if url.path else page
    if not target.exists():
        return "no such file"
    if target.suffix in PAGES and unquote(url.fragment) not in read(target.resolve()).anchors:
        return "no such place in that page"
    return ""


def pages(place: Path) -> list[Path]:
    """A page, or all pages in a folder but what Sphinx brings, and in docs/ what is no page of its own."""
    if place.is_file():
        return [place.resolve()]
    found = sorted(p for suffix in PAGES for p in place.rglob(f"*{suffix}"))
    ours = [p for p in found if not {"_static", *NO_PAGES} & set(p.relative_to(place).parts[:1])]
    return [p.resolve() for p in ours]


def main(places: list[str]) -> int:
    found = [p for place in places for p in pages(Path(place))]
    lines = [line for page in found for line in dead(page)]
    print(
        "\n".join(
            [*lines, f"{len(found)} pages, {sum(len(read(p).links) for p in found)} links, {len(lines)} dead"]
        )
    )
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
