"""The Library panel: the cards of the embeddings, the selected embedding, and tools."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.messages import msg
from train_embedding.services import importing
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.comparing import embeddings as compare_embeddings
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, upload_button
from train_embedding.ui.library import chosen as library_chosen
from train_embedding.ui.library import tools as library_tools
from train_embedding.ui.library import undo as library_undo
from train_embedding.ui.library.cards import CardList, toolbar
from train_embedding.ui.library.details import import_message

if TYPE_CHECKING:
    from train_embedding.services import Services

Render = Callable[[], dict[Any, Any]]
"Makes the updates of a part of a page."


@dataclass(frozen=True)
class Hidden:
    """Hidden widgets that must be in the page before the panel is: gradio 6 leaves out what is on a tab until it is opened."""

    shown: gr.Textbox
    "Filled when the page first gets the cards. It is in the page because the server may forget a page's state."
    version: gr.Textbox
    "Changes with the library. The script then refreshes the host's cards."
    update: gr.Button
    "The script then clicks it for the cards of the panel."


@dataclass(frozen=True)
class LibraryPanel:
    """The cards and the widgets."""

    card_list: CardList
    refresh: gr.Button
    upload: gr.UploadButton
    uploaded: gr.Textbox
    "Hidden; the script writes JSON about the uploaded files here: names, folder, overwrite."
    cards: gr.HTML
    status: gr.HTML
    chosen: library_chosen.Chosen
    tools: library_tools.Tools
    together: compare_embeddings.TogetherPanel
    hidden: Hidden


class LibraryVersion:
    """The version of the library, such as "8c1f03ba-0": an id of this server, and a number that rises with every change.

    The number is 0 when the first page opens. The id makes the versions of two servers different.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._server = secrets.token_hex(4)
        self._number = 0
        self._seen: Any = None

    def read(self) -> str:
        """Return the current version."""
        seen = self._facts()
        with self._lock:
            if self._seen is not None and self._seen != seen:
                self._number += 1
            self._seen = seen
            return f"{self._server}-{self._number}"

    def _facts(self) -> Any:
        """Return what is cheap to read every second."""
        loaded = self._services.host.loaded_embeddings()
        return self._services.host.info().checkpoint_name, loaded.names, loaded.left_out, self._services.library.changes


def build_hidden() -> Hidden:
    """Add the hidden widgets to the Blocks being built."""
    return Hidden(
        shown=gr.Textbox("", show_label=False, elem_id="te_library_shown"),
        version=gr.Textbox("", show_label=False, elem_id="te_cards_version"),
        update=gr.Button("Show cards", elem_id="te_library_update"),
    )


def build(services: Services, hidden: Hidden) -> LibraryPanel:
    """Add the panel to the Blocks being built."""
    card_list = CardList(services)
    with gr.Row(elem_classes=["te-heading"]):
        gr.HTML(html.panel_title(msg("Library")))
        with gr.Row(elem_id="te_library_upload"):
            upload = upload_button(t("Import"), file_count="multiple", size="sm", elem_id="te_library_import")
        refresh_button = gr.Button(t("Refresh"), size="sm", elem_id="te_library_refresh")
    with gr.Row(equal_height=False, elem_id="te_library_columns"):
        with gr.Column(scale=5, min_width=300):
            gr.HTML(toolbar(), elem_id="te_library_toolbar")
            cards = gr.HTML("", elem_id="te_library_cards")
        with gr.Column(scale=4, min_width=300):
            status = gr.HTML("", elem_id="te_library_status")
            chosen = library_chosen.build(status, services.host.info().file_suffixes)
            tools = library_tools.build(status)
    together = compare_embeddings.build()
    with gr.Column(elem_classes=["te-hidden"]):
        uploaded = gr.Textbox("", show_label=False, elem_id="te_library_uploaded")
        _connect_previews(card_list)
    return LibraryPanel(card_list, refresh_button, upload, uploaded, cards, status, chosen, tools, together, hidden)


def connect(services: Services, panel: LibraryPanel) -> Sequence[Any]:
    """Make everything in the panel work; return the events that may change the library, which others may follow."""

    @errors_in(panel.status)
    def refresh() -> dict[Any, Any]:
        services.library.reload()
        return {panel.status: ""}

    @errors_in(panel.status)
    def take(files: Any, details: str) -> dict[Any, Any]:
        imported = services.library.import_files(*_uploads(files, details))
        return {panel.status: import_message(imported)}

    compare_embeddings.connect(services, panel.together)
    compare_embeddings.connect_adding(services, panel.together, panel.chosen)
    return (
        panel.refresh.click(refresh, [], [panel.status], **AT_ONCE),
        panel.upload.upload(take, [panel.upload, panel.uploaded], [panel.status], **AT_ONCE),
        *library_chosen.connect(services, panel.chosen),
        *library_undo.connect(services, panel.chosen, panel.tools),
        *library_tools.connect(services, panel.tools),
    )


def parts(panel: LibraryPanel, version: str) -> dict[str, tuple[Any, Render]]:
    """Return what the poll updates: the version alone, after which the script requests the cards."""
    return {"library": (version, lambda: {panel.hidden.version: version})}


def connect_training(services: Services, panel: LibraryPanel, embedding: gr.Dropdown, tabs: gr.Tabs) -> None:
    """Make the button that chooses an embedding for training work, as `chosen.connect_training`."""
    library_chosen.connect_training(services, panel.chosen, embedding, tabs)


def connect_update(
    services: Services, panel: LibraryPanel, version: LibraryVersion, embedding: gr.Dropdown, first: Render
) -> None:
    """Let the script request the cards and the choices of names when the version has changed, and when a page opens.

    They are not outputs of the poll, because gradio processes every output of an event, which is slow for thousands of choices.

    Args:
        services: Have the library.
        panel: The panel.
        version: Of the library.
        embedding: The choice of the Train panel.
        first: Makes the update of `embedding` for a page that opens.
    """

    @errors_in(panel.status)
    def update(shown: str) -> dict[Any, Any]:
        entries, cards = panel.card_list.at_version(version.read())
        choices = gr.update(choices=[entry.name for entry in entries if entry.loaded])
        trash = library_tools.trash_update(services)
        names = choices if shown else {**choices, **first()}
        return {panel.cards: cards, embedding: names, panel.tools.trashed: trash, panel.hidden.shown: "yes"}

    outputs = [panel.status, panel.cards, embedding, panel.tools.trashed, panel.hidden.shown]
    panel.hidden.update.click(update, [panel.hidden.shown], outputs, **AT_ONCE)


def _connect_previews(card_list: CardList) -> None:
    """Add the hidden widgets through which the script requests the previews of the cards in view."""
    wanted = gr.Textbox("", show_label=False, elem_id="te_library_wanted")
    draw = gr.Button("Show previews", elem_id="te_library_draw")
    previews = gr.HTML("", elem_id="te_library_pictures")
    draw.click(card_list.draw_previews, [wanted], [previews], **AT_ONCE)


def _uploads(files: Any, details: str) -> tuple[list[tuple[str, bytes]], bool, str]:
    """Return the uploaded files, whether to overwrite, and the folder to write to.

    The files get the names that they have in the browser, which the script sends because gradio removes some characters. If the
    script has sent the names of other files, those of gradio are used.

    Args:
        files: As gradio passes uploads.
        details: JSON of the script: names, folder, overwrite.
    """
    paths = [Path(file if isinstance(file, str) else file.name) for file in files or ()]
    values: Any = json.loads(details) if details else {}
    names = values.get("names", [])
    if len(names) != len(paths):
        names = [path.name for path in paths]
    contents = [importing.read_upload(str(name), path) for name, path in zip(names, paths, strict=True)]
    return contents, bool(values.get("overwrite")), str(values.get("folder", ""))
