"""The tab "Train Embedding": its sub-tabs in the order of work, and the poll that keeps a page up to date."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.messages import Message, msg
from train_embedding.translations import Language, in_language, t
from train_embedding.ui import create_panel, html, train_panel
from train_embedding.ui.error_handling import PollErrors
from train_embedding.ui.gradio_compat import AT_ONCE, bind_language
from train_embedding.ui.library import panel as library_panel
from train_embedding.ui.runs import panel as runs_panel

if TYPE_CHECKING:
    from train_embedding.services import Services

Updates = dict[Any, Any]
"Updates by component."
Parts = Mapping[str, tuple[Any, Callable[[], Updates]]]
"The parts that a panel shows: each has a version and a function that makes its updates."
HostCards = Mapping[Any, Callable[[], str]]
"Components with the host's own cards of embeddings, each with a function that renders it."
STATUS = "status"
"The part of a panel that is shown where its errors appear."


@dataclass(frozen=True)
class Panels:
    """The panels of the tab, and the sub-tabs that they are on."""

    create: create_panel.CreatePanel
    train: train_panel.TrainPanel
    runs: runs_panel.RunsPanel
    library: library_panel.LibraryPanel
    tabs: gr.Tabs


def build(services: Services, host_cards: HostCards | None = None, language: Language = "en") -> gr.Blocks:
    """Build the tab as Blocks of its own, as the WebUI takes it.

    Args:
        services: What the tab works on.
        host_cards: The components with the host's own cards of embeddings.
        language: Of all texts, including those of later answers.
    """
    with in_language(language), gr.Blocks(analytics_enabled=False) as blocks:
        render(services, host_cards or {})
    bind_language(blocks, language)
    # The WebUI would put values from its ui-config.json over those that the settings service remembers.
    for component in blocks.blocks.values():
        setattr(component, "do_not_save_to_config", True)  # noqa: B010
    return blocks


def build_notice(sentence: Message, language: Language = "en") -> gr.Blocks:
    """Build the tab of a program in which Train Embedding does not work.

    Args:
        sentence: Why it does not work.
        language: Of the sentence.
    """
    with in_language(language), gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(html.message("bad", sentence), elem_id="te_unavailable")
    return blocks


def render(services: Services, host_cards: HostCards) -> None:
    """Add the tab to the Blocks being built.

    Args:
        services: What the tab works on.
        host_cards: The components with the host's own cards of embeddings.
    """
    with gr.Column(elem_classes=["te-hidden"]):
        hidden, runs_hidden = library_panel.build_hidden(), runs_panel.build_hidden()
    with gr.Column(elem_id="te_panels"), gr.Tabs(elem_id="te_tabs") as tabs:
        with _sub_tab(msg("Train"), "te_tab_train"), gr.Row(equal_height=False, elem_id="te_train_columns"):
            with gr.Column(scale=3, min_width=260, elem_id="te_create"):
                create = create_panel.build(services)
            with gr.Column(scale=5, min_width=420, elem_id="te_train"):
                train = train_panel.build(services)
        with _sub_tab(msg("Runs"), "te_tab_runs"), gr.Column(elem_id="te_runs"):
            runs = runs_panel.build(runs_hidden)
        with _sub_tab(msg("Library"), "te_tab_library"), gr.Column(elem_id="te_library"):
            library = library_panel.build(services, hidden)
    _keep_up_to_date(services, Panels(create, train, runs, library, tabs))
    _draw_host_cards(host_cards)


def _sub_tab(label: Message, elem_id: str) -> gr.Tab:
    return gr.Tab(t(label), id=elem_id, elem_id=elem_id)


def _keep_up_to_date(services: Services, on: Panels) -> None:
    """Add the poll: the script clicks a hidden button, and the answer updates what changed since the page's last poll.

    The server keeps what a page has seen, and may forget it: gradio 6 after an hour without a connection, and every version at a
    restart. `opened` is kept in the page. A page that the server has forgotten gets everything again except the fields that the
    user fills in.
    """
    create, train, runs, library = on.create, on.train, on.runs, on.library
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

    def runs_parts(_page: str) -> Parts:
        return runs_panel.parts(services, runs)

    panels = (("train", train.status, train_parts), ("runs", runs.status, runs_parts), ("library", library.status, library_parts))

    def poll(known: dict[str, Any] | None, page: str) -> Updates:
        known, shown = known or {}, dict[str, Any]()
        updates: Updates = {seen: shown} if page else {seen: shown, opened: "yes"}
        for name, status, parts in panels:
            versions, changed, message = collect_updates(name, lambda parts=parts: parts(page), known, errors)
            problem = f"{name} problem"
            if message:  # shown once; the panel's own status returns when the problem is gone
                changed.pop(status, None)
                versions.pop(STATUS, None)
                versions[problem] = message
                if known.get(problem) != message:
                    changed[status] = message
            shown.update(versions)
            updates.update(changed)
        return updates

    def remembered_name() -> Updates:
        with errors.catch("name", []):
            return train_panel.remembered(services, train).get(embedding, {})
        return {}

    outputs = [seen, opened, train.progress, train.status, train.stop, train.resume, train.plot, train.gallery, train.images]
    outputs += [runs.hidden.version, runs.status]
    outputs += [library.hidden.version, library.status, *(widget for widget in train.widgets.values() if widget is not embedding)]
    events = (
        create_panel.connect(services, create, embedding, library_version),
        *train_panel.connect(services, train),
        *runs_panel.connect(services, runs, train.widgets, on.tabs),
        *library_panel.connect(services, library, library_version),
    )
    for event in events:
        event.then(poll, [seen, opened], outputs, **AT_ONCE)
    library_panel.connect_update(services, library, library_version, embedding, remembered_name)
    button.click(poll, [seen, opened], outputs, **AT_ONCE)


def _draw_host_cards(host_cards: HostCards) -> None:
    """Let the script update the host's cards: it clicks a hidden button, and waits until the hidden number has changed."""
    if not host_cards:
        return
    numbers, errors = itertools.count(1), PollErrors()
    with gr.Column(elem_classes=["te-hidden"]):
        button = gr.Button("Show the cards", elem_id="te_host_cards")
        drawn = gr.Textbox("", show_label=False, elem_id="te_host_cards_drawn")

    def draw_host_cards() -> Updates:
        updates: Updates = {drawn: str(next(numbers))}
        for component, render_cards in host_cards.items():
            with errors.catch("the host's cards", []):
                updates[component] = render_cards()
        return updates

    button.click(draw_host_cards, [], [drawn, *host_cards], **AT_ONCE)


def collect_updates(
    panel: str, parts: Callable[[], Parts], known: Mapping[str, Any], errors: PollErrors
) -> tuple[dict[str, Any], Updates, str]:
    """Collect the updates of a panel.

    Args:
        panel: Its name, for the log.
        parts: Returns its parts.
        known: The versions that the page has.
        errors: Catch the errors of single parts.

    Returns:
        The versions of all parts that are shown, the updates of those that changed, and a message if a part failed, which then
        has no version.
    """
    versions: dict[str, Any] = {}
    updates: Updates = {}
    messages: list[str] = []
    with errors.catch(panel, messages):
        for part, (version, render) in parts().items():
            if part in known and known[part] == version:
                versions[part] = version
                continue
            with errors.catch(f"{panel}: {part}", messages):
                updates.update(render())
                versions[part] = version
    return versions, updates, messages[0] if messages else ""
