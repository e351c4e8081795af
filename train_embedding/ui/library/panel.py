"""The Library panel: the embeddings there are, the details of one, and what can be done with them."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.services.importing import read_upload
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, upload_button
from train_embedding.ui.library import chosen as library_chosen
from train_embedding.ui.library import tools as library_tools
from train_embedding.ui.library.cards import CardList, toolbar
from train_embedding.ui.library.details import import_message

if TYPE_CHECKING:
    from train_embedding.services import Services

Render = Callable[[], dict[Any, Any]]
"Makes the updates that bring a part of a page up to date."


@dataclass(frozen=True)
class LibraryPanel:
    card_list: CardList
    refresh: gr.Button
    upload: gr.UploadButton
    uploaded: gr.Textbox
    "Hidden: what the script says of the files, as JSON: names, folder, overwrite."
    cards: gr.HTML
    status: gr.HTML
    chosen: library_chosen.Chosen
    tools: library_tools.Tools
    shown: gr.Textbox
    "Hidden: filled once the page has been given the cards; it lies there since the server may forget a page."
    version: gr.Textbox
    "Hidden: another text whenever the library changed; the script then refreshes the host's cards,"
    update: gr.Button
    "and clicks this for ours."


class LibraryVersion:
    """A number that rises whenever the host's embeddings have changed, 0 when the first page opens: "8c1f03ba-0".

    Before it stands what tells this tab from that of another server, whose numbers mean nothing here.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._server = secrets.token_hex(4)
        self._number = 0
        self._seen: Any = None

    def read(self) -> str:
        seen = self._facts()
        with self._lock:
            if self._seen is not None and self._seen != seen:
                self._number += 1
            self._seen = seen
            return f"{self._server}-{self._number}"

    def increase(self) -> None:
        """For changes that leave the names as they were."""
        with self._lock:
            self._number += 1

    def _facts(self) -> Any:
        """What is cheap to ask once a second; the end of a run stands for the file that it has written."""
        loaded, state = self._services.host.loaded_embeddings(), self._services.runs.current()
        ended = state.id if state is not None and not state.active else ""
        return self._services.host.info().checkpoint_name, loaded.names, loaded.left_out, ended


def build(services: Services) -> LibraryPanel:
    card_list = CardList(services)
    with gr.Row(elem_classes=["te-heading"]):
        gr.HTML("<h3 class='te-title'>Library</h3>")
        with gr.Row(elem_id="te_library_upload"):
            upload = upload_button("Import", file_count="multiple", size="sm", elem_id="te_library_import")
        refresh_button = gr.Button("Refresh", size="sm", elem_id="te_library_refresh")
    gr.HTML(toolbar(), elem_id="te_library_toolbar")
    cards = gr.HTML("", elem_id="te_library_cards")
    status = gr.HTML("", elem_id="te_library_status")
    chosen = library_chosen.build(status)
    tools = library_tools.build(status)
    with gr.Column(elem_classes=["te-hidden"]):
        uploaded = gr.Textbox("", show_label=False, elem_id="te_library_uploaded")
        shown = gr.Textbox("", show_label=False, elem_id="te_library_shown")
        version = gr.Textbox("", show_label=False, elem_id="te_cards_version")
        update = gr.Button("Show cards", elem_id="te_library_update")
        _connect_pictures(card_list)
    return LibraryPanel(card_list, refresh_button, upload, uploaded, cards, status, chosen, tools, shown, version, update)


def connect(services: Services, panel: LibraryPanel, version: LibraryVersion) -> Sequence[Any]:
    """Makes everything in the panel work. Returns the events that may have changed the library, for what should follow."""

    @errors_in(panel.status)
    def refresh() -> dict[Any, Any]:
        services.library.reload()
        version.increase()
        return {panel.status: ""}

    @errors_in(panel.status)
    def take(files: Any, told: str) -> dict[Any, Any]:
        imported = services.library.import_files(*_uploads(files, told))
        version.increase()
        return {panel.status: import_message(imported)}

    return (
        panel.refresh.click(refresh, [], [panel.status], **AT_ONCE),
        panel.upload.upload(take, [panel.upload, panel.uploaded], [panel.status], **AT_ONCE),
        *library_chosen.connect(services, panel.chosen, version.increase),
        *library_tools.connect(services, panel.tools, version.increase),
    )


def parts(panel: LibraryPanel, version: str) -> dict[str, tuple[Any, Render]]:
    """What the poll shows of the library, at a version: that alone; the script then asks for the cards."""
    return {"library": (version, lambda: {panel.version: version})}


def connect_update(
    services: Services, panel: LibraryPanel, version: LibraryVersion, embedding: gr.Dropdown, first: Render
) -> None:
    """What the script asks for when the version has changed, and when a page opens: the cards, and the choices of names.

    They are no outputs of the poll: gradio looks at every output of an event, and thousands of choices take it long.
    first: the update of `embedding` for a page that opens.
    """

    @errors_in(panel.status)
    def update(shown: str) -> dict[Any, Any]:
        entries, cards = panel.card_list.at_version(version.read())
        choices = gr.update(choices=[entry.name for entry in entries if entry.loaded])
        trash = library_tools.trash_update(services)
        names = choices if shown else {**choices, **first()}
        return {panel.cards: cards, embedding: names, panel.tools.trashed: trash, panel.shown: "yes"}

    outputs = [panel.status, panel.cards, embedding, panel.tools.trashed, panel.shown]
    panel.update.click(update, [panel.shown], outputs, **AT_ONCE)


def _connect_pictures(card_list: CardList) -> None:
    """The script asks here for the pictures of the cards that came into view, and reads the answer."""
    wanted = gr.Textbox("", show_label=False, elem_id="te_library_wanted")
    draw = gr.Button("Draw pictures", elem_id="te_library_draw")
    pictures = gr.HTML("", elem_id="te_library_pictures")
    draw.click(card_list.draw_previews, [wanted], [pictures], **AT_ONCE)


def _uploads(files: Any, told: str) -> tuple[list[tuple[str, bytes]], bool, str]:
    """The uploaded files under the names that they had in the browser, whether to overwrite, and the folder to write to.

    gradio takes some characters out of names; where the script told of other files, its names are what counts.
    """
    paths = [Path(file if isinstance(file, str) else file.name) for file in files or ()]
    values: Any = json.loads(told) if told else {}
    names = values.get("names", [])
    if len(names) != len(paths):
        names = [path.name for path in paths]
    contents = [read_upload(str(name), path) for name, path in zip(names, paths, strict=True)]
    return contents, bool(values.get("overwrite")), str(values.get("folder", ""))
