"""Creating an embedding from an initialization text, in the first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import TrainEmbeddingError
from train_embedding.messages import Message, msg, plural
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in, remember
from train_embedding.ui.gradio_compat import AT_ONCE

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services
    from train_embedding.services.library import Created

INIT_TEXT = msg("Initialization text")
STARTS: tuple[tuple[Message, str], ...] = (
    (msg("Words"), "tokens"),
    (msg("Text-encoder output (Cross Initialization)"), "output"),
    (msg("An existing embedding"), "embedding"),
)
"Labels and values of what the vectors can start from."
START_INFO = msg(
    "Token embeddings of the words, or the text encoder's output for them. For an existing embedding, type its name into "
    '"{field}".',
    field=INIT_TEXT,
)
VECTORS_INFO = msg(
    "1 to 75. More vectors store more detail but use more of the 75-token prompt. auto: 2, or one per token of a longer "
    "text; the first training may use one more or fewer."
)


@dataclass(frozen=True)
class CreatePanel:
    """The widgets of the panel."""

    name: gr.Textbox
    init_text: gr.Textbox
    start: gr.Radio
    vectors: gr.Textbox
    overwrite: gr.Checkbox
    budget: gr.HTML
    form: gr.Accordion
    button: gr.Button
    status: gr.HTML


def build(services: Services, *, is_open: bool) -> CreatePanel:
    """Add the form, with its token budget, to the Blocks being built.

    Args:
        services: Have the last used values.
        is_open: Whether the form is unfolded.
    """
    with gr.Accordion(t("Create an embedding"), open=is_open, elem_id="te_create") as form:
        widgets = _build_form(str(services.settings.load().get("create_vectors", "auto")))
    panel = CreatePanel(**widgets, form=form, status=gr.HTML("", elem_id="te_create_status"))
    counted = [panel.init_text, panel.vectors, panel.start]

    def show_budget(init_text: str, vectors: str, start: str) -> str:
        return _budget(services, init_text, vectors, start)

    for widget in counted:
        widget.change(show_budget, counted, [panel.budget], **AT_ONCE)
    return panel


def connect(services: Services, panel: CreatePanel, embedding: gr.Dropdown) -> Any:
    """Make the button work.

    Args:
        services: Create the embedding.
        panel: The panel.
        embedding: The choice of the Train panel, which is set to the new name.

    Returns:
        The button's event, which others may follow.
    """

    @errors_in(panel.status)
    def create(name: str, init_text: str, vectors: str, overwrite: bool, start: str) -> dict[Any, Any]:
        created = services.library.create(name, init_text, vectors, overwrite, start=start)
        remember(services, {"create_vectors": vectors})
        return {
            panel.status: _created(created),
            panel.overwrite: False,
            panel.form: gr.update(open=False),
            embedding: gr.update(choices=trainable(services), value=created.entry.name),
        }

    inputs = [panel.name, panel.init_text, panel.vectors, panel.overwrite, panel.start]
    return panel.button.click(create, inputs, [panel.status, panel.overwrite, panel.form, embedding], **AT_ONCE)


def trainable(services: Services) -> list[str]:
    """Return the names of the embeddings that fit the loaded checkpoint."""
    return [entry.name for entry in services.library.list() if entry.loaded]


def created_message(name: str, vectors: int) -> Message:
    """Return the sentence about a new embedding."""
    return plural("Created {name} with {count} vector.", "Created {name} with {count} vectors.", vectors, name=name)


def _created(created: Created) -> Markup:
    entry = created.entry
    return html.message("good", created_message(entry.name, entry.vectors), html.saved_to(entry.file), *created.notes)


def _budget(services: Services, init_text: str, vectors: str, start: str) -> Markup:
    try:
        return html.budget(services.library.budget(init_text, vectors, start))
    except TrainEmbeddingError as problem:
        return html.message("quiet", problem.message, problem.hint)


def _build_form(vectors: str) -> dict[str, Any]:
    """Add the fields and the button; return them by their names in the panel."""
    with gr.Row():
        name = gr.Textbox(
            label=t("Name"),
            info=t("The trigger word: you write it in prompts to use the embedding."),
            placeholder="my-cat",
            min_width=160,
            elem_id="te_create_name",
        )
        init_text = gr.Textbox(
            label=t(INIT_TEXT),
            info=t("Words that describe your images. Training starts from their meaning."),
            placeholder="cat",
            min_width=160,
            elem_id="te_create_init_text",
        )
    start = gr.Radio(
        choices=[(t(label), value) for label, value in STARTS],
        value="tokens",
        label=t("Start from"),
        info=t(START_INFO),
        elem_id="te_create_start",
    )
    with gr.Row():
        vectors_field = gr.Textbox(vectors, label=t("Vectors"), info=t(VECTORS_INFO), min_width=160, elem_id="te_create_vectors")
        overwrite = gr.Checkbox(
            False,
            label=t("Overwrite"),
            info=t("Replaces an embedding of the same name; the old file goes to the trash."),
            min_width=160,
            elem_id="te_create_overwrite",
        )
    budget = gr.HTML("", elem_id="te_create_budget")
    button = gr.Button(t("Create embedding"), variant="primary", elem_id="te_create_button")
    return {
        "name": name, "init_text": init_text, "start": start, "vectors": vectors_field, "overwrite": overwrite,
        "budget": budget, "button": button,
    }  # fmt: skip
