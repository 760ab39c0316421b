"""Pages for what other pages link to that is no page itself: folders, and files of code."""

from __future__ import annotations

import re
from os.path import normpath, relpath
from pathlib import Path

from sphinx.application import Sphinx

FOLDER = "docs/reference/files"
PAGES = (".md", ".ipynb")
CODE = {".py": "python", ".cpp": "cpp", ".h": "cpp", ".toml": "toml"}
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(?=(?:#[^)\s]*)?\))")  # in Markdown, to a place in the repository


def stand_ins(root: Path, code: set[str]) -> dict[str, str]:
    """A page for each folder without README and each file of code that a page links to, and for `code`."""
    kept = list(root.glob("*.md"))
    for folder in ("docs", "records", "benchmarks"):
        kept += [p for s in PAGES for p in (root / folder).rglob(f"*{s}")]
    linked = (Path(normpath(p.parent / link)) for p in kept for link in LINK.findall(p.read_text()))
    names = {str(p.relative_to(root)) for p in linked if needs_one(p)}
    return {f"{name}.md": stand_in(root, name) for name in sorted(names | code)}


def needs_one(place: Path) -> bool:
    return place.suffix in CODE if place.is_file() else place.is_dir() and not (place / "README.md").is_file()


def stand_in(root: Path, name: str) -> str:
    """A page that shows what lies in a folder, or a file's text."""
    place, up = root / name, "../" * len(Path(FOLDER, name).parent.parts)
    if place.is_file():
        return f"# {name}\n\n```{{literalinclude}} {up}{name}\n:language: {CODE[place.suffix]}\n```\n"
    found = sorted(place.iterdir())
    lines = [f"- [{title(p)}]({up}{name}/{p.name})" if p.suffix in PAGES else f"- `{p.name}`" for p in found]
    return f"# {name}/\n\n" + "\n".join(lines) + "\n"


def title(page: Path) -> str:
    return page.read_text().partition("\n")[0].removeprefix("# ") if page.suffix == ".md" else page.stem


def point(app: Sphinx, name: str, text: list[str]) -> None:
    """In a page's text, links to folders and code as links to the pages that show them."""
    root, here = Path(app.srcdir), Path(name).parent

    def target(match: re.Match[str]) -> str:
        place = normpath(here / match[1])
        if needs_one(root / place):
            return relpath(f"{FOLDER}/{place}.md", here)
        return relpath(f"{place}/README.md", here) if (root / place).is_dir() else match[1]

    text[0] = LINK.sub(target, text[0])
