"""The chosen embedding's file: exported to the browser, converted to another format, or made into one for SDXL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.services.combining import CONVERTIBLE_FORMATS, SDXL
from train_embedding.services.library import PROGRAMS
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE
from train_embedding.ui.library.details import download_link

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

AS_IT_IS = "as it is"
"Among the forms of an export."
FOR_PROGRAMS = {f"for {program.title}": key for key, program in PROGRAMS.items()}
"Among the formats of an export too: what the choice shows, and what the service calls it."
FOR_SDXL = "for SDXL"
KINDS = {**{f"{suffix} file": form for form, suffix in CONVERTIBLE_FORMATS.items()}, FOR_SDXL: SDXL}
"What can be converted to: what the choice shows, and what the service calls it."


@dataclass(frozen=True)
class Files:
    form: gr.Dropdown
    export: gr.Button
    exported: gr.HTML
    to: gr.Radio
    name: gr.Textbox
    convert: gr.Button


def build() -> Files:
    with gr.Accordion("Export", open=False), gr.Row(elem_classes=["te-line"]):
        form = gr.Dropdown(choices=(forms := _forms()), value=forms[0], label="Form", elem_id="te_library_form")
        export = gr.Button("Export", elem_id="te_library_export")
    exported = gr.HTML("", elem_id="te_library_exported")
    with gr.Accordion("Convert", open=False):
        info = "For SDXL: by the nearest words, approximately."
        to = gr.Radio(choices=list(KINDS), value=FOR_SDXL, label="Convert to", info=info, elem_id="te_library_convert_to")
        with gr.Row(elem_classes=["te-line"]):
            name = gr.Textbox(
                "", label="Name of the result", info="Empty: the same, or NAME-sdxl.", max_lines=1,
                elem_id="te_library_convert_name",
            )  # fmt: skip
            convert = gr.Button("Convert", elem_id="te_library_convert")
    return Files(form, export, exported, to, name, convert)


def connect_export(services: Services, files: Files, status: gr.HTML, key: gr.Textbox, entry_of: Callable[[str], Entry]) -> None:
    """key: of the chosen embedding."""

    @errors_in(status)
    def export(key: str, form: str) -> dict[Any, Any]:
        entry = entry_of(key)
        if form in FOR_PROGRAMS:
            made = services.library.export(entry.name, file=entry.path, program=FOR_PROGRAMS[form])
            called = html.message("good", f"Trigger: {made.trigger}", made.usage)
            return {status: called, files.exported: download_link(made.file_name, made.data)}
        format_name, suffix = ("", "") if form == AS_IT_IS else form.split()
        made = services.library.export(entry.name, format_name, suffix, entry.path)
        return {status: "", files.exported: download_link(made.file_name, made.data)}

    files.export.click(export, [key, files.form], [status, files.exported], **AT_ONCE)


def convert(services: Services, entry: Entry, to: str, name: str) -> tuple[Any, ...]:
    """The new entry, and sentences. Raises what `Combining.convert` raises."""
    saved = services.combining.convert(entry.name, KINDS[to], name.strip())
    return saved.entry, f"{entry.name} was converted.", f"Written to {saved.entry.file}", *saved.notes


def _forms() -> list[str]:
    """What an export can be: the file as it is, one for a program, or any format and suffix, as "webui .pt"."""
    from train_embedding.services.formats import SUFFIXES

    return [AS_IT_IS, *FOR_PROGRAMS, *(f"{name} {suffix}" for name, suffixes in SUFFIXES.items() for suffix in suffixes)]
