"""The tab "Train Embedding": its sub-tabs in the order of work, and the poll that keeps a page up to date."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.messages import Message, msg
from train_embedding.translations import Language, in_language, t
from train_embedding.ui import html
from train_embedding.ui.comparing import panel as compare_panel
from train_embedding.ui.datasets import auto_captions
from train_embedding.ui.datasets import editor as image_editor
from train_embedding.ui.datasets import panel as dataset_panel
from train_embedding.ui.datasets.views import Views
from train_embedding.ui.error_handling import PollErrors
from train_embedding.ui.gradio_compat import AT_ONCE, bind_language
from train_embedding.ui.library import panel as library_panel
from train_embedding.ui.queue import panel as queue_panel
from train_embedding.ui.runs import panel as runs_panel
from train_embedding.ui.training import create as create_panel
from train_embedding.ui.training import panel as train_panel

if TYPE_CHECKING:
    from train_embedding.services import Services

Updates = dict[Any, Any]
"Updates by component."
Parts = Mapping[str, tuple[Any, Callable[[], Updates]]]
"The parts that a panel shows: each has a version and a function that makes its updates."
HostCards = Mapping[Any, Callable[[], str]]
"Components with the host's own cards of embeddings, each with a function that renders it."
LOST = msg("The server does not answer.")
CONTINUES = msg("Once it does, this page continues by itself. A run that was interrupted can then be resumed.")
STATUS = "status"
"The part of a panel that is shown where its errors appear."


@dataclass(frozen=True)
class Panels:
    """The panels of the tab, and the sub-tabs that they are on."""

    train: train_panel.TrainPanel
    datasets: dataset_panel.DatasetPanel
    queue: queue_panel.QueuePanel
    runs: runs_panel.RunsPanel
    compare: compare_panel.ComparePanel
    library: library_panel.LibraryPanel
    tabs: gr.Tabs


@dataclass(frozen=True)
class Sources:
    """What several handlers share, and the poll reads."""

    views: Views
    interrogators: auto_captions.Interrogators
    library: library_panel.LibraryVersion


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
        dataset_hidden, queue_hidden = dataset_panel.build_hidden(), queue_panel.build_hidden()
    with gr.Column(elem_id="te_panels"):
        gr.HTML(html.message("bad", LOST, CONTINUES), elem_id="te_lost")  # shown by the script
        with gr.Tabs(elem_id="te_tabs") as tabs:
            with _sub_tab(msg("Train"), "te_tab_train"), gr.Column(elem_id="te_train"):
                train = train_panel.build(services)
            with _sub_tab(msg("Dataset"), dataset_panel.TAB), gr.Column(elem_id="te_dataset"):
                datasets = dataset_panel.build(services, dataset_hidden)
            with _sub_tab(msg("Runs"), "te_tab_runs"):
                with gr.Column(elem_id="te_queue"):
                    queue = queue_panel.build(queue_hidden)
                with gr.Column(elem_id="te_runs"):
                    runs = runs_panel.build(runs_hidden)
                    compare = compare_panel.build()
            with _sub_tab(msg("Library"), "te_tab_library"), gr.Column(elem_id="te_library"):
                library = library_panel.build(services, hidden)
    _keep_up_to_date(services, Panels(train, datasets, queue, runs, compare, library, tabs))
    _draw_host_cards(host_cards)


def _sub_tab(label: Message, elem_id: str) -> gr.Tab:
    return gr.Tab(t(label), id=elem_id, elem_id=elem_id)


def _keep_up_to_date(services: Services, on: Panels) -> None:
    """Connect the panels, and add the poll: the script clicks a hidden button, and the answer updates what changed meanwhile.

    The server keeps what a page has seen, and may forget it: gradio 6 after an hour without a connection, and every version at a
    restart. `opened` is kept in the page. A page that the server has forgotten gets everything again except the fields that the
    user fills in.
    """
    seen = gr.State(None)
    with gr.Column(elem_classes=["te-hidden"]):
        opened = gr.Textbox("", show_label=False, elem_id="te_page_opened")
        button = gr.Button("Poll", elem_id="te_train_poll")
    embedding, errors = on.train.widgets["embedding"], PollErrors()
    sources = Sources(Views(services), auto_captions.Interrogators(services), library_panel.LibraryVersion(services))
    panels = _polled_panels(services, on, sources)

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
            return train_panel.remembered(services, on.train).get(embedding, {})
        return {}

    outputs = [seen, opened, *_polled_widgets(on)]
    for event in _connect(services, on, sources):
        event.then(poll, [seen, opened], outputs, **AT_ONCE)
    library_panel.connect_training(services, on.library, embedding, on.tabs)
    library_panel.connect_update(services, on.library, sources.library, embedding, remembered_name)
    button.click(poll, [seen, opened], outputs, **AT_ONCE)


def _polled_panels(services: Services, on: Panels, sources: Sources) -> Sequence[tuple[str, Any, Callable[[str], Parts]]]:
    """Return, per panel, its name, where its errors appear, and a function that returns its parts, which is given `opened`."""
    embedding = on.train.widgets["embedding"]

    def last_used() -> Updates:
        updates = train_panel.remembered(services, on.train)
        return {widget: update for widget, update in updates.items() if widget is not embedding}

    def train_parts(page: str) -> Parts:
        parts = train_panel.parts(services, on.train)
        return parts if page else {**parts, "fields": (True, last_used)}

    def dataset_parts(_page: str) -> Parts:
        captions = auto_captions.parts(services, on.datasets, sources.views, sources.interrogators)
        return {**captions, **image_editor.parts(services, on.datasets, sources.views)}

    def queue_parts(_page: str) -> Parts:
        return queue_panel.parts(services, on.queue, on.train)

    def runs_parts(_page: str) -> Parts:
        return runs_panel.parts(services, on.runs)

    def library_parts(_page: str) -> Parts:
        return library_panel.parts(on.library, sources.library.read())

    return (
        ("train", on.train.status, train_parts),
        ("dataset", on.datasets.status, dataset_parts),
        ("queue", on.queue.status, queue_parts),
        ("runs", on.runs.status, runs_parts),
        ("library", on.library.status, library_parts),
    )


def _polled_widgets(on: Panels) -> Sequence[Any]:
    """Return the widgets that the parts of the panels update."""
    train, embedding = on.train, on.train.widgets["embedding"]
    return [
        *train_panel.polled_widgets(train),
        *(widget for widget in train.widgets.values() if widget is not embedding),
        *auto_captions.outputs(on.datasets), *image_editor.outputs(on.datasets), on.datasets.status,
        on.queue.hidden.version, on.queue.status,
        on.runs.hidden.version, on.runs.status,
        on.library.hidden.version, on.library.status,
    ]  # fmt: skip


def _connect(services: Services, on: Panels, sources: Sources) -> Sequence[Any]:
    """Make the panels work, and return the events after which the page polls."""
    of_runs = runs_panel.connect(services, on.runs, on.train.widgets, on.tabs)
    train_panel.follow_filling(services, on.train, of_runs[-1])
    return (
        create_panel.connect(services, on.train.create, on.train.widgets["embedding"]),
        *train_panel.connect(services, on.train, sources.views),
        *dataset_panel.connect(services, on.datasets, sources.views, on.train, on.tabs),
        *queue_panel.connect(services, on.queue, on.train),
        *of_runs,
        *compare_panel.connect(services, on.compare, on.runs),
        *library_panel.connect(services, on.library),
    )


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
