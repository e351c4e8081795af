"""Links between pages of the documentation lead to pages and headings that exist, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import fill_in

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {page.name: fill_in(page.read_text(encoding="utf-8")) for page in DOCS.glob("*.md")}
LINK = re.compile(r"\]\((?P<page>[\w.-]*)(?:#(?P<anchor>[^)]*))?\)")
FILE_LINK = re.compile(r"\]\((?!\w+:|#)(?P<file>[^)#\s]+)(?:#(?P<anchor>[^)]*))?\)")
HEADING = re.compile(r"^#+ (.*?)(?: \{ #(.*) \})?$", re.MULTILINE)
ID = re.compile(r'<a id="([^"]*)"></a>')
CODE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def _anchors(page: str) -> set[str]:
    text = CODE.sub("", PAGES[page])
    return {given or _slug(title) for title, given in HEADING.findall(text)} | set(ID.findall(text))


def _slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")


def _chinese(page: str) -> str:
    """Return the page that the Chinese site shows: the translation, or else the English one."""
    translated = page.replace(".md", ".zh.md")
    return translated if translated in PAGES else page


def _broken(page: str, chinese: bool) -> list[str]:
    found: list[str] = []
    for link in LINK.finditer(CODE.sub("", PAGES[page])):
        linked = link["page"] or page.replace(".zh.md", ".md")
        if not linked.endswith(".md"):
            continue
        target = _chinese(linked) if chinese else linked
        if target not in PAGES or (link["anchor"] and link["anchor"] not in _anchors(target)):
            found.append(f"{page}: {link[0]}")
    return found


def test_english_links_work() -> None:
    pages = [page for page in PAGES if not page.endswith(".zh.md")]
    assert [link for page in pages for link in _broken(page, chinese=False)] == []


def test_chinese_links_work() -> None:
    pages = {_chinese(page) for page in PAGES if not page.endswith(".zh.md")}
    assert any(page.endswith(".zh.md") for page in pages)
    assert [link for page in sorted(pages) for link in _broken(page, chinese=True)] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_links_from_the_repository_work(path: Path) -> None:
    broken: list[str] = []
    for link in FILE_LINK.finditer(path.read_text(encoding="utf-8")):
        target = (path.parent / link["file"]).resolve()
        page = target.name if target.parent == DOCS else ""
        if not target.exists() or (link["anchor"] and page and link["anchor"] not in _anchors(page)):
            broken.append(link[0])
    assert broken == []


def test_broken_links_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    links = "[a](missing.md) [b](#nowhere) [c](#made-up) [d](options.md#learning-rate) [e](options.md#no)"
    monkeypatch.setitem(PAGES, "made-up.md", f"# Made up\n\n{links}\n")
    assert _broken("made-up.md", chinese=False) == [
        "made-up.md: ](missing.md)",
        "made-up.md: ](#nowhere)",
        "made-up.md: ](options.md#no)",
    ]
