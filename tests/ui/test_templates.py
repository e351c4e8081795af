"""The tab's HTML templates: every value is escaped, and what is missing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gradio")

from jinja2 import UndefinedError

from tests.ui.reading import EVIL, Reader
from train_embedding.ui import templates
from train_embedding.ui.templates import FOLDER, read_source, render


def test_values_are_escaped() -> None:
    read = Reader(render("deleted", text=EVIL))
    assert read.text == EVIL
    assert "onerror" not in read.names


def test_a_piece_of_html_is_inserted_as_it_is() -> None:
    inner = render("deleted", text="<b>")
    assert str(inner) in render("deleted", text=inner)


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="text"):
        render("deleted")


def test_no_template_switches_escaping_off() -> None:
    sources = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.html")}
    assert sources
    assert [name for name, source in sources.items() if "| safe" in source or "|safe" in source or "autoescape" in source] == []


def test_line_breaks_between_tags_are_not_part_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.html").write_text('<p\n  id="a">\n  {% if x %}\n    <b>one\n    two</b>\n  {% endif %}\n</p>\n')
    monkeypatch.setattr(templates, "FOLDER", tmp_path)
    assert read_source("a.html") == '<p id="a">{% if x %}<b>one two</b>{% endif %}</p>'
