"""The Create panel: a new embedding from a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import TrainEmbeddingError
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in, remember
from train_embedding.ui.gradio_compat import AT_ONCE

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Created
    from train_embedding.ui.library.panel import LibraryVersion


@dataclass(frozen=True)
class CreatePanel:
    name: gr.Textbox
    init_text: gr.Textbox
    start: gr.Radio
    vectors: gr.Textbox
    overwrite: gr.Checkbox
    budget: gr.HTML
    button: gr.Button
    status: gr.HTML


def build(services: Services) -> CreatePanel:
    """Adds the panel to the Blocks being built, with its live token budget."""
    vectors = services.settings.load().get("create_vectors", "auto")
    gr.HTML("<h3 class='te-title'>Create</h3>")
    panel = CreatePanel(
        name=gr.Textbox(
            label="Name", info="The word that you will write in prompts.", placeholder="my-cat", elem_id="te_create_name"
        ),
        init_text=gr.Textbox(
            label="Initialization text", info="What it means at first: words close to your pictures.",
            placeholder="cat", elem_id="te_create_init_text",
        ),
        start=gr.Radio(
            choices=[("Words", "tokens"), ("Words, encoded", "output"), ("An embedding", "embedding")], value="tokens",
            label="Start from", info="The words themselves, what the text encoder makes of them, or the embedding named above.",
            elem_id="te_create_start",
        ),
        vectors=gr.Textbox(
            str(vectors), label="Vectors", info="1 to 75; more hold more. auto: one per token of the text.",
            elem_id="te_create_vectors",
        ),
        budget=gr.HTML("", elem_id="te_create_budget"),
        overwrite=gr.Checkbox(
            False, label="Overwrite", info="Replace an embedding of this name; the old file is kept in a trash folder.",
            elem_id="te_create_overwrite",
        ),
        button=gr.Button("Create embedding", variant="primary", elem_id="te_create_button"),
        status=gr.HTML("", elem_id="te_create_status"),
    )  # fmt: skip
    counted = [panel.init_text, panel.vectors, panel.start]
    for widget in counted:
        widget.change(lambda *values: _budget(services, *values), counted, [panel.budget], **AT_ONCE)
    return panel


def connect(services: Services, panel: CreatePanel, embedding: gr.Dropdown, version: LibraryVersion) -> Any:
    """Makes the button work; `embedding` is set to the new name. Returns the event, for what should follow."""

    @errors_in(panel.status)
    def create(name: str, init_text: str, vectors: str, overwrite: bool, start: str) -> dict[Any, Any]:
        created = services.library.create(name, init_text, vectors, overwrite, start=start)
        version.increase()
        remember(services, {"create_vectors": vectors})
        return {
            panel.status: _created(created),
            panel.overwrite: False,
            embedding: gr.update(choices=trainable(services), value=created.entry.name),
        }

    inputs = [panel.name, panel.init_text, panel.vectors, panel.overwrite, panel.start]
    return panel.button.click(create, inputs, [panel.status, panel.overwrite, embedding], **AT_ONCE)


def trainable(services: Services) -> list[str]:
    """Names of the embeddings that fit the loaded checkpoint."""
    return [entry.name for entry in services.library.list() if entry.loaded]


def _created(created: Created) -> str:
    entry = created.entry
    count = "1 vector" if entry.vectors == 1 else f"{entry.vectors} vectors"
    return html.message("good", f"Created {entry.name} with {count}.", f"Written to {entry.file}", *created.notes)


def _budget(services: Services, init_text: str, vectors: str, start: str) -> str:
    try:
        return html.budget(services.library.budget(init_text, vectors, start))
    except TrainEmbeddingError as problem:
        return html.message("quiet", problem.message, problem.hint)
