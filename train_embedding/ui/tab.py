"""The tab "Train Embedding": Create, Train and Library side by side, and the poll that keeps a page up to date."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.messages import Message
from train_embedding.translations import Language, in_language
from train_embedding.ui import create_panel, html, train_panel
from train_embedding.ui.error_handling import PollErrors
from train_embedding.ui.gradio_compat import AT_ONCE, bind_language
from train_embedding.ui.library import panel as library_panel

if TYPE_CHECKING:
    from train_embedding.services import Services

Updates = dict[Any, Any]
"Component to what becomes of it."
Parts = Mapping[str, tuple[Any, Callable[[], Updates]]]
"What a panel shows: part to (version, what makes its updates)."
HostCards = Mapping[Any, Callable[[], str]]
"Components of the host's own page that hold its cards of embeddings, and what draws each."
STATUS = "status"
"The part of a panel that writes where its errors are told."


def build(services: Services, host_cards: HostCards | None = None, language: Language = "en") -> gr.Blocks:
    """Build the tab as Blocks of its own, as the WebUI takes it.

    Args:
        services: What the tab works on.
        host_cards: Components of the host's own page that hold its cards of embeddings, and what draws each.
        language: Of all texts, those of later answers included.
    """
    with in_language(language), gr.Blocks(analytics_enabled=False) as blocks:
        render(services, host_cards or {})
    bind_language(blocks, language)
    # The WebUI would put values from its ui-config.json over those that the settings service remembers.
    for component in blocks.blocks.values():
        setattr(component, "do_not_save_to_config", True)  # noqa: B010
    return blocks


def build_notice(sentence: Message, language: Language = "en") -> gr.Blocks:
    """Build the tab of a program in which Train Embedding does not work: one sentence that says why."""
    with in_language(language), gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(html.message("bad", sentence), elem_id="te_unavailable")
    return blocks


def render(services: Services, host_cards: HostCards) -> None:
    """Adds the tab to the Blocks being built."""
    with gr.Row(equal_height=False, elem_id="te_panels"):
        with gr.Column(scale=3, min_width=260, elem_id="te_create"):
            create = create_panel.build(services)
        with gr.Column(scale=5, min_width=420, elem_id="te_train"):
            train = train_panel.build(services)
        with gr.Column(scale=4, min_width=300, elem_id="te_library"):
            library = library_panel.build(services)
    _keep_up_to_date(services, create, train, library)
    _draw_host_cards(host_cards)


def _keep_up_to_date(
    services: Services, create: create_panel.CreatePanel, train: train_panel.TrainPanel, library: library_panel.LibraryPanel
) -> None:
    """The script clicks the hidden button; only what changed since this page last looked is sent.

    What a page has seen is kept by the server, which may forget it (gradio 6 does after an hour without a connection, each
    does in a restart). `opened` lies in the page: an old one that the server does not know is shown all, but no field that a
    person fills in is touched.
    """
    seen = gr.State(None)
    with gr.Column(elem_classes=["te-hidden"]):
        opened = gr.Textbox("", show_label=False, elem_id="te_page_opened")
        button = gr.Button("Poll", elem_id="te_train_poll")
    embedding, library_version, errors = train.widgets["embedding"], library_panel.LibraryVersion(services), PollErrors()

    def last_used() -> Updates:
        updates = train_panel.remembered(services, train)
        return {widget: update for widget, update in updates.items() if widget is not embedding}

    def train_parts(page: str) -> Parts:
        parts = train_panel.parts(services, train)
        return parts if page else {**parts, "fields": (True, last_used)}

    def library_parts(_page: str) -> Parts:
        return library_panel.parts(library, library_version.read())

    panels = (("train", train.status, train_parts), ("library", library.status, library_parts))

    def poll(known: dict[str, Any] | None, page: str) -> Updates:
        known, shown = known or {}, dict[str, Any]()
        updates: Updates = {seen: shown} if page else {seen: shown, opened: "yes"}
        for name, status, parts in panels:
            versions, made, sentence = collect_updates(name, lambda parts=parts: parts(page), known, errors)
            trouble = f"{name} trouble"
            if sentence:  # told once; the panel's own words come back when all is well
                made.pop(status, None)
                versions.pop(STATUS, None)
                versions[trouble] = sentence
                if known.get(trouble) != sentence:
                    made[status] = sentence
            shown.update(versions)
            updates.update(made)
        return updates

    def remembered_name() -> Updates:
        with errors.catch("name", []):
            return train_panel.remembered(services, train).get(embedding, {})
        return {}

    outputs = [seen, opened, train.progress, train.status, train.stop, train.resume, train.plot, train.gallery, train.images]
    outputs += [library.version, library.status, *(widget for widget in train.widgets.values() if widget is not embedding)]
    events = (
        create_panel.connect(services, create, embedding, library_version),
        *train_panel.connect(services, train),
        *library_panel.connect(services, library, library_version),
    )
    for event in events:
        event.then(poll, [seen, opened], outputs, **AT_ONCE)
    library_panel.connect_update(services, library, library_version, embedding, remembered_name)
    button.click(poll, [seen, opened], outputs, **AT_ONCE)


def _draw_host_cards(host_cards: HostCards) -> None:
    """The script clicks the hidden button when the library has changed, and waits for another number beside it."""
    if not host_cards:
        return
    drawings, errors = itertools.count(1), PollErrors()
    with gr.Column(elem_classes=["te-hidden"]):
        button = gr.Button("Draw the cards", elem_id="te_host_cards")
        drawn = gr.Textbox("", show_label=False, elem_id="te_host_cards_drawn")

    def draw_host_cards() -> Updates:
        updates: Updates = {drawn: str(next(drawings))}
        for component, draw in host_cards.items():
            with errors.catch("the host's cards", []):
                updates[component] = draw()
        return updates

    button.click(draw_host_cards, [], [drawn, *host_cards], **AT_ONCE)


def collect_updates(
    panel: str, parts: Callable[[], Parts], known: Mapping[str, Any], errors: PollErrors
) -> tuple[dict[str, Any], Updates, str]:
    """The versions of the parts shown, the updates of those not `known`, and a sentence if any failed, which stays unknown."""
    versions: dict[str, Any] = {}
    updates: Updates = {}
    sentences: list[str] = []
    with errors.catch(panel, sentences):
        for part, (version, render) in parts().items():
            if part in known and known[part] == version:
                versions[part] = version
                continue
            with errors.catch(f"{panel}: {part}", sentences):
                updates.update(render())
                versions[part] = version
    return versions, updates, sentences[0] if sentences else ""
