"""What every page must be: HTML whose tags are balanced, that loads nothing and runs nothing."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "img", "link", "input", "hr"}  # elements that have no end
LOADS = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}


class Page(HTMLParser):
    """Reads a page and keeps what is wrong with it, its elements and its text."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if len(dict(attrs)) < len(attrs):
            self.wrong.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()} closes nothing, or something else")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def check_page(text: str) -> Page:
    """The page, which must be well-formed, load nothing from anywhere and run nothing."""
    page = Page(text)
    assert not page.wrong, page.wrong[:5]
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "link", "object", "embed", "base"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in LOADS:
                assert (value or "").startswith(("data:image/", "#")), (tag, name, value)
    assert "@import" not in text
    assert "url(http" not in text
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert all(link[1:] in ids for link in links), links
    return page
