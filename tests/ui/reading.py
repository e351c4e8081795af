"""HTML as a browser would read it, and a text that tries to become some."""

from __future__ import annotations

from html.parser import HTMLParser

EVIL = "<img src=x onerror=alert(1)>'\"&amp;<script>"
OWN_TAGS = {"div", "p", "span", "b", "small", "h4", "table", "tr", "th", "td", "details", "summary", "pre", "a", "button"}


class Reader(HTMLParser):
    """Collects tags, texts and attribute values as a browser would see them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.attributes: list[str] = []
        self.text = ""
        self.feed(str(source))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names.update(name for name, _ in attrs)
        self.attributes += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data
