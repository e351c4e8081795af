"""The tab in another language: every text of its own is translated, and no name."""

from __future__ import annotations

import gettext
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

import gradio as gr

from tests.entries import entry
from tests.event_loops import inside_a_loop
from train_embedding import translations
from train_embedding.app import server
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.messages import msg
from train_embedding.services import Services
from train_embedding.services.run_records import RunState
from train_embedding.testing import FakeHost
from train_embedding.translations import in_language
from train_embedding.ui import html, tab
from train_embedding.ui.library.cards import cards
from train_embedding.ui.library.details import entry_details, import_message, restore_message

MARK = "⟦"
"The beginning of every translated text."
SHOWN_ATTRIBUTES = ("placeholder", "title", "aria-label", "aria-valuetext", "alt")
HIDDEN = {
    "te_library_select", "te_library_update", "te_library_draw", "te_runs_select", "te_runs_update", "te_train_poll",
    "te_host_cards", "te_dataset_update", "te_dataset_select", "te_dataset_draw", "te_queue_update", "te_queue_carry_out",
    "te_compare_use", "te_compare_update", "te_train_reset", "te_train_images_again",
    "te_together_update", "te_dataset_edit_apply",
}  # fmt: skip
"Buttons that only the script clicks."
NAME = "Steps"
"A name that is also a text of the tab."


class MarkingCatalogue(gettext.NullTranslations):
    """Marks every text instead of translating it."""

    def gettext(self, message: str) -> str:
        return message if message in (", ", " ", ": ") else f"{MARK}{message}"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


@pytest.fixture(autouse=True)
def marking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(translations, "_catalogue", lambda _language: MarkingCatalogue())
    with in_language("zh_CN"):
        yield


class ShownTexts(HTMLParser):
    """The texts of a piece of HTML, and its attributes that people read or hear."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if value and name in SHOWN_ATTRIBUTES]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def shown_texts(blocks: Any) -> Iterator[str]:
    for component in blocks.blocks.values():
        if component.elem_id in HIDDEN:
            continue
        labelled = getattr(component, "show_label", True) and not isinstance(component, gr.HTML | gr.State | gr.Tab)
        yield from (getattr(component, name, None) or "" for name in ("info", *(("label",) if labelled else ())))
        if isinstance(component, gr.Button):
            yield component.value
        if isinstance(component, gr.Radio):
            yield from (choice[0] for choice in component.choices)
        if isinstance(component, gr.HTML) and component.value:
            yield from ShownTexts(component.value).found
        yield from (getattr(component, name, None) or "" for name in ("x_title", "y_title", "color_title"))


def untranslated(texts: Iterable[str]) -> list[str]:
    return sorted({text for text in texts if text.strip() and not text.startswith(MARK) and not text.isdigit()})


def test_every_text_of_the_tab_is_translated(tmp_path: Path) -> None:
    blocks = inside_a_loop(lambda: tab.build(Services(FakeHost(tmp_path)), language="zh_CN"))
    texts = list(shown_texts(blocks))
    assert {f"{MARK}{text}" for text in ("Create", "Train", "Library", "Search", "Advanced settings", "Loss", "Fast")} <= set(
        texts
    )
    assert untranslated(texts) == []


def test_every_text_of_the_standalone_page_is_translated(tmp_path: Path) -> None:
    blocks = inside_a_loop(lambda: server.build(Services(FakeHost(tmp_path)), "zh_CN"))
    texts = list(shown_texts(blocks))
    assert {f"{MARK}{text}" for text in ("Generate", "Negative prompt", "Sampling steps", "Textual Inversion")} <= set(texts)
    assert untranslated(texts) == []


def test_values_of_choices_are_the_same_in_every_language(tmp_path: Path) -> None:
    def values(language: translations.Language) -> dict[str, Any]:
        blocks = inside_a_loop(lambda: tab.build(Services(FakeHost(tmp_path / language)), language=language))
        radios = [component for component in blocks.blocks.values() if isinstance(component, gr.Radio)]
        return {str(radio.elem_id): [choice[1] for choice in radio.choices] for radio in radios}

    assert values("en") == values("zh_CN")


@pytest.mark.parametrize("state", ["running", "queued", "finished", "stopped", "interrupted"])
def test_a_run_is_described_in_the_language(state: Any) -> None:
    run = RunState(
        "1", NAME, Path("/runs/1"), TrainingSpec(NAME, "/images"), status=state, step=100, steps=400, loss=0.5, eta_seconds=9.0,
        losses=((50, 0.5),), evaluations=((50, 10, 0.4),),
    )  # fmt: skip
    parts = ShownTexts(html.progress(run)).found
    assert [part for text in parts for part in text.split(" · ") if not part.startswith(MARK)] == [NAME]
    assert untranslated(ShownTexts(html.run_status(run)).found) == []


def test_no_name_is_translated() -> None:
    card = entry(name=NAME, folder="Library", checkpoint="Train", family="Create")
    texts = [*ShownTexts(cards([card])).found, *ShownTexts(entry_details(card)).found]
    assert {NAME, "Train", "Create"} <= set(texts)
    assert not {f"{MARK}{NAME}", f"{MARK}Train", f"{MARK}Create"} & set(texts)


def test_messages_are_translated_around_names() -> None:
    assert ShownTexts(restore_message([entry(name=NAME)])).found == [f"{MARK}Restored {NAME}."]
    assert ShownTexts(import_message([])).found == [f"{MARK}No file was received.", f"{MARK}Select at least one file."]
    assert ShownTexts(html.message("bad", msg("{name} is taken.", name=msg("Train")))).found == [f"{MARK}{MARK}Train is taken."]
