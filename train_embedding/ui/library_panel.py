"""The Library panel: the embeddings there are, and the details of one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.ui import html
from train_embedding.ui.compat import AT_ONCE
from train_embedding.ui.edge import errors_in

if TYPE_CHECKING:
    from train_embedding.services import Services

Render = Callable[[], dict[Any, Any]]
"Makes the updates that bring a part of a page up to date."


@dataclass(frozen=True)
class LibraryPanel:
    refresh: gr.Button
    cards: gr.HTML
    details: gr.HTML
    selected: gr.Textbox
    "Hidden: the script writes the name of the clicked card here,"
    select: gr.Button
    "and clicks this."
    version: gr.Textbox
    "Hidden: a number that rises whenever the library changed; the script then refreshes the host's cards."


class LibraryVersion:
    """A number that rises whenever the host's embeddings have changed; 0 when the first page opens."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._number = 0
        self._seen: Any = None

    def look(self) -> int:
        seen = self._facts()
        with self._lock:
            if self._seen is not None and self._seen != seen:
                self._number += 1
            self._seen = seen
            return self._number

    def rise(self) -> None:
        """For changes that leave the names as they were."""
        with self._lock:
            self._number += 1

    def _facts(self) -> Any:
        """What is cheap to ask once a second; the end of a run stands for the file that it has written."""
        loaded, state = self._services.host.loaded_embeddings(), self._services.runs.current()
        ended = state.id if state is not None and not state.active else ""
        return self._services.host.info().checkpoint_name, loaded.names, loaded.left_out, ended


def build(services: Services) -> LibraryPanel:
    with gr.Row(elem_classes=["te-heading"]):
        gr.HTML("<h3 class='te-title'>Library</h3>")
        refresh_button = gr.Button("Refresh", size="sm", elem_id="te_library_refresh")
    cards = gr.HTML("", elem_id="te_library_cards")
    details = gr.HTML("", elem_id="te_library_details")
    with gr.Column(elem_classes=["te-hidden"]):
        selected = gr.Textbox("", show_label=False, elem_id="te_library_selected")
        select_button = gr.Button("Show details", elem_id="te_library_select")
        version = gr.Textbox("0", show_label=False, elem_id="te_cards_version")
    panel = LibraryPanel(refresh_button, cards, details, selected, select_button, version)

    @errors_in(panel.details)
    def select(name: str) -> dict[Any, Any]:
        return {panel.details: html.details(services.library.get(name))}

    panel.select.click(select, [panel.selected], [panel.details], **AT_ONCE)
    return panel


def connect(services: Services, panel: LibraryPanel, version: LibraryVersion) -> Any:
    """Makes the refresh button work. Returns the event, for what should follow."""

    @errors_in(panel.details)
    def refresh() -> dict[Any, Any]:
        services.library.reload()
        version.rise()
        return {panel.details: ""}

    return panel.refresh.click(refresh, [], [panel.details], **AT_ONCE)


def parts(services: Services, panel: LibraryPanel, embedding: gr.Dropdown, number: int) -> dict[str, tuple[Any, Render]]:
    """What a page shows of the library, at the version `number`: part to (version, its updates)."""

    def render() -> dict[Any, Any]:
        entries = services.library.list()
        names = [entry.name for entry in entries if entry.loaded]
        return {panel.cards: html.cards(entries), panel.version: str(number), embedding: gr.update(choices=names)}

    return {"library": (number, render)}
