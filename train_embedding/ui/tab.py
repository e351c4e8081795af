"""The tab "Train Embedding": Create, Train and Library side by side, and the poll that keeps a page up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.ui import create_panel, library_panel, train_panel
from train_embedding.ui.compat import AT_ONCE
from train_embedding.ui.edge import errors_in

if TYPE_CHECKING:
    from train_embedding.services import Services


def build(services: Services) -> gr.Blocks:
    """The tab as Blocks of its own, as the WebUI wants it."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        render(services)
    # The WebUI would put values from its ui-config.json over those that the settings service remembers.
    for component in blocks.blocks.values():
        setattr(component, "do_not_save_to_config", True)  # noqa: B010
    return blocks


def render(services: Services) -> None:
    """Adds the tab to the Blocks being built."""
    with gr.Row(equal_height=False, elem_id="te_panels"):
        with gr.Column(scale=3, min_width=260, elem_id="te_create"):
            create = create_panel.build(services)
        with gr.Column(scale=5, min_width=420, elem_id="te_train"):
            train = train_panel.build(services)
        with gr.Column(scale=4, min_width=300, elem_id="te_library"):
            library = library_panel.build(services)
    _keep_up_to_date(services, create, train, library)


def _keep_up_to_date(
    services: Services, create: create_panel.CreatePanel, train: train_panel.TrainPanel, library: library_panel.LibraryPanel
) -> None:
    """The script clicks the hidden button; only what changed since this page last looked is sent."""
    seen = gr.State(None)
    with gr.Column(elem_classes=["te-hidden"]):
        button = gr.Button("Poll", elem_id="te_train_poll")
    embedding, library_version = train.widgets["embedding"], library_panel.LibraryVersion(services)

    @errors_in(train.status)
    def poll(known: dict[str, Any] | None) -> dict[Any, Any]:
        now = train_panel.parts(services, train)
        now |= library_panel.parts(library, library_version.look())
        updates: dict[Any, Any] = {seen: {part: version for part, (version, _) in now.items()}}
        for part, (version, render_part) in now.items():
            if known is None or known.get(part) != version:
                updates.update(render_part())
        if known is None:
            for widget, update in train_panel.remembered(services, train).items():
                if widget is not embedding:
                    updates[widget] = update
        return updates

    def remembered_name() -> dict[Any, Any]:
        return train_panel.remembered(services, train).get(embedding, {})

    outputs = [seen, train.progress, train.status, train.stop, train.resume, train.plot, train.gallery, train.pictures]
    outputs += [library.version, *(widget for widget in train.widgets.values() if widget is not embedding)]
    events = (
        create_panel.connect(services, create, embedding, library_version),
        *train_panel.connect(services, train),
        *library_panel.connect(services, library, library_version),
    )
    for event in events:
        event.then(poll, [seen], outputs, **AT_ONCE)
    library_panel.connect_update(services, library, library_version, embedding, remembered_name)
    button.click(poll, [seen], outputs, **AT_ONCE)
