"""The tools below the cards: import by path, combine, the tokens of a prompt, and the trash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg, plural
from train_embedding.services.typed_paths import typed_path
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE
from train_embedding.ui.library import combine as library_combine
from train_embedding.ui.library.details import import_message, trash_label
from train_embedding.ui.library.inspection import prompt_tokens

if TYPE_CHECKING:
    from train_embedding.services import Services

PATHS = msg("Paths")
IN_TRASH = msg("In the trash")


@dataclass(frozen=True)
class Tools:
    """The widgets."""

    status: gr.HTML
    "Of the panel; shows the messages of actions."
    paths: gr.Textbox
    bring: gr.Button
    combine: library_combine.Combine
    prompt: gr.Textbox
    tokens: gr.HTML
    trashed: gr.Dropdown
    restore: gr.Button
    empty: gr.Button
    sure: gr.Row
    "Shown after a click on `empty`."
    really: gr.Button
    keep: gr.Button


def build(status: gr.HTML) -> Tools:
    """Add the widgets to the Blocks being built.

    Args:
        status: Shows the messages of actions.
    """
    with gr.Accordion(t("Import by path"), open=False, elem_id="te_library_by_path"):
        info = t("Paths of files on the server, one per line. Previews and notes of the same name are imported too.")
        paths = gr.Textbox("", label=t(PATHS), info=info, lines=2, elem_id="te_library_paths")
        bring = gr.Button(t("Import files"), size="sm", elem_id="te_library_bring")
    with gr.Accordion(t("Combine"), open=False, elem_id="te_library_mix"):
        combine = library_combine.build()
    with gr.Accordion(t("Tokens of a prompt"), open=False, elem_id="te_library_tokenizer"):
        prompt = gr.Textbox("", label=t("Prompt"), lines=2, elem_id="te_library_tokens_prompt")
        tokens = gr.HTML("", elem_id="te_library_tokens")
    with gr.Accordion(t("Trash"), open=False, elem_id="te_library_trash"):
        trashed = gr.Dropdown(choices=[], label=t(IN_TRASH), allow_custom_value=True, elem_id="te_library_trashed")
        with gr.Row():
            restore = gr.Button(t("Restore"), size="sm", elem_id="te_library_restore")
            empty = gr.Button(t("Empty the trash"), size="sm", elem_id="te_library_empty")
        with gr.Row(visible=False) as sure:
            really = gr.Button(t("Delete permanently"), variant="stop", size="sm", elem_id="te_library_empty_really")
            keep = gr.Button(t("Cancel"), size="sm", elem_id="te_library_empty_not")
    return Tools(status, paths, bring, combine, prompt, tokens, trashed, restore, empty, sure, really, keep)


def connect(services: Services, tools: Tools) -> Sequence[Any]:
    """Make the tools work.

    Args:
        services: What the tools work on.
        tools: The widgets.

    Returns:
        The events that may change the library, which others may follow.
    """

    @errors_in(tools.tokens)
    def tokenize(prompt: str) -> dict[Any, Any]:
        return {tools.tokens: prompt_tokens(services.inspection.tokenize(prompt)) if prompt.strip() else ""}

    @errors_in(tools.status)
    def bring(text: str) -> dict[Any, Any]:
        paths = [typed_path(line) for line in text.splitlines() if line.strip()]
        if not paths:
            raise InvalidInput(msg("No path is given."), msg('Enter the path of a file in "{field}".', field=PATHS))
        results = services.library.import_files(paths)
        failed = any(result.problem for result in results)
        return {tools.status: import_message(results), tools.paths: text if failed else ""}

    _connect_trash(services, tools)
    tools.prompt.change(tokenize, [tools.prompt], [tools.tokens], **AT_ONCE)
    return (
        tools.bring.click(bring, [tools.paths], [tools.status, tools.paths], **AT_ONCE),
        library_combine.connect(services, tools.combine),
    )


def trash_update(services: Services) -> Any:
    """Return the update of the items in the trash, the newest first."""
    return gr.update(choices=[trash_label(item) for item in services.library.trashed()], value=None)


def _connect_trash(services: Services, tools: Tools) -> None:
    @errors_in(tools.status)
    def empty() -> dict[Any, Any]:
        count = services.library.empty_trash()
        text = plural("{count} item was deleted permanently.", "{count} items were deleted permanently.", count)
        return {
            tools.status: html.message("good", text),
            tools.trashed: trash_update(services),
            tools.sure: gr.update(visible=False),
        }

    outputs = [tools.status, tools.trashed, tools.sure]
    tools.empty.click(lambda: gr.update(visible=True), [], [tools.sure], **AT_ONCE)
    tools.keep.click(lambda: gr.update(visible=False), [], [tools.sure], **AT_ONCE)
    tools.really.click(empty, [], outputs, **AT_ONCE)
