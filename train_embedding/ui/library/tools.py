"""The tools below the cards: importing by path, combining embeddings, a prompt's tokens, the trash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import NotFound
from train_embedding.services.typed_paths import typed_path
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE
from train_embedding.ui.library import combine as library_combine
from train_embedding.ui.library.details import import_message, restore_message, trash_label
from train_embedding.ui.library.inspection import prompt_tokens

if TYPE_CHECKING:
    from train_embedding.services import Services


@dataclass(frozen=True)
class Tools:
    status: gr.HTML
    "The panel's, for what became of an action."
    paths: gr.Textbox
    bring: gr.Button
    combine: library_combine.Combine
    prompt: gr.Textbox
    tokens: gr.HTML
    trashed: gr.Dropdown
    restore: gr.Button
    empty: gr.Button
    sure: gr.Row
    "Shown once the trash is to be emptied."
    really: gr.Button
    keep: gr.Button


def build(status: gr.HTML) -> Tools:
    with gr.Accordion("Import by path", open=False, elem_id="te_library_by_path"):
        info = "Paths of files on the server, one per line; their previews and notes are imported too."
        paths = gr.Textbox("", label="Paths", info=info, lines=2, elem_id="te_library_paths")
        bring = gr.Button("Import these files", size="sm", elem_id="te_library_bring")
    with gr.Accordion("Combine", open=False, elem_id="te_library_mix"):
        combine = library_combine.build()
    with gr.Accordion("Tokens of a prompt", open=False, elem_id="te_library_tokenizer"):
        prompt = gr.Textbox("", label="Prompt", lines=2, elem_id="te_library_tokens_prompt")
        tokens = gr.HTML("", elem_id="te_library_tokens")
    with gr.Accordion("Trash", open=False, elem_id="te_library_trash"):
        trashed = gr.Dropdown(choices=[], label="In the trash", allow_custom_value=True, elem_id="te_library_trashed")
        with gr.Row():
            restore = gr.Button("Restore", size="sm", elem_id="te_library_restore")
            empty = gr.Button("Empty the trash", size="sm", elem_id="te_library_empty")
        with gr.Row(visible=False) as sure:
            really = gr.Button("Delete all of it for good", variant="stop", size="sm", elem_id="te_library_empty_really")
            keep = gr.Button("Keep it", size="sm", elem_id="te_library_empty_not")
    return Tools(status, paths, bring, combine, prompt, tokens, trashed, restore, empty, sure, really, keep)


def connect(services: Services, tools: Tools, changed: Callable[[], None]) -> Sequence[Any]:
    """Makes the tools work; `changed` is called after a change. Returns the events that may have changed the library."""

    @errors_in(tools.tokens)
    def tokenize(prompt: str) -> dict[Any, Any]:
        return {tools.tokens: prompt_tokens(services.inspection.tokenize(prompt)) if prompt.strip() else ""}

    @errors_in(tools.status)
    def bring(text: str) -> dict[Any, Any]:
        paths = [typed_path(line) for line in text.splitlines() if line.strip()]
        done = services.library.import_files(paths)
        changed()
        return {tools.status: import_message(done), tools.paths: text if any(result.problem for result in done) else ""}

    tools.prompt.change(tokenize, [tools.prompt], [tools.tokens], **AT_ONCE)
    return (
        tools.bring.click(bring, [tools.paths], [tools.status, tools.paths], **AT_ONCE),
        library_combine.connect(services, tools.combine, changed),
        _connect_trash(services, tools, changed),
    )


def trash_update(services: Services) -> Any:
    """The choices of what can be restored, the newest first."""
    return gr.update(choices=[trash_label(item) for item in services.library.trashed()], value=None)


def _connect_trash(services: Services, tools: Tools, changed: Callable[[], None]) -> Any:
    @errors_in(tools.status)
    def restore(label: str | None) -> dict[Any, Any]:
        if not label:
            raise NotFound("Nothing is chosen.", "Choose what to bring back.")
        chosen = [item.id for item in services.library.trashed() if trash_label(item) == label]
        entries = services.library.restore(chosen[0] if chosen else label)
        changed()
        return {tools.status: restore_message(entries), tools.trashed: trash_update(services)}

    @errors_in(tools.status)
    def empty() -> dict[Any, Any]:
        said = html.message("good", f"{html.count(services.library.empty_trash(), 'item')} deleted for good.")
        return {tools.status: said, tools.trashed: trash_update(services), tools.sure: gr.update(visible=False)}

    outputs = [tools.status, tools.trashed, tools.sure]
    tools.empty.click(lambda: gr.update(visible=True), [], [tools.sure], **AT_ONCE)
    tools.keep.click(lambda: gr.update(visible=False), [], [tools.sure], **AT_ONCE)
    tools.really.click(empty, [], outputs, **AT_ONCE)
    return tools.restore.click(restore, [tools.trashed], outputs, **AT_ONCE)
