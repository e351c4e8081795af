"""The file of the selected embedding: export it, or convert it to another format or to SDXL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.messages import Message, msg, verbatim
from train_embedding.services.combining import CONVERTIBLE_FORMATS, SDXL
from train_embedding.services.library import PROGRAMS, SHARES
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, dropdown
from train_embedding.ui.library.details import download_link

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

UNCHANGED = "unchanged"
"The value for an export of the file as it is."


@dataclass(frozen=True)
class Files:
    """The widgets."""

    format: gr.Dropdown
    license: gr.Textbox
    export: gr.Button
    exported: gr.HTML
    to: gr.Radio
    name: gr.Textbox
    overwrite: gr.Checkbox
    convert: gr.Button


def build(suffixes: Sequence[str]) -> Files:
    """Add the widgets to the Blocks being built.

    Args:
        suffixes: Suffixes of the files that the host loads.
    """
    with gr.Accordion(t("Export"), open=False):
        with gr.Row(elem_classes=["te-line"]):
            formats = [(t(label), value) for label, value in export_formats()]
            format_choice = dropdown(formats, UNCHANGED, label=t("Format"), elem_id="te_library_form")
            export = gr.Button(t("Export"), elem_id="te_library_export")
        license = gr.Textbox(
            "",
            label=t("License"),
            info=t("For the archive for Civitai: what others may do with the embedding, such as CC BY 4.0."),
            max_lines=1,
            elem_id="te_library_license",
        )
    exported = gr.HTML("", elem_id="te_library_exported")
    with gr.Accordion(t("Convert"), open=False):
        to = gr.Radio(
            choices=[(t(label), value) for label, value in conversions(suffixes)],
            value=SDXL,
            label=t("Convert to"),
            info=t("Conversion to SDXL is approximate: it uses the nearest tokens."),
            elem_id="te_library_convert_to",
        )
        with gr.Row(elem_classes=["te-line"]):
            name = gr.Textbox(
                "",
                label=t("Save as"),
                info=t("If empty: the same name, with -sdxl appended for SDXL."),
                max_lines=1,
                elem_id="te_library_convert_name",
            )
            overwrite = gr.Checkbox(False, label=t("Overwrite"), elem_id="te_library_convert_overwrite")
            convert = gr.Button(t("Convert"), elem_id="te_library_convert")
    return Files(format_choice, license, export, exported, to, name, overwrite, convert)


def connect_export(services: Services, files: Files, status: gr.HTML, key: gr.Textbox, entry_of: Callable[[str], Entry]) -> None:
    """Make the export button work.

    Args:
        services: Export the file.
        files: The widgets.
        status: Gets messages.
        key: Has the key of the selected embedding.
        entry_of: Finds an embedding by its key.
    """

    @errors_in(status)
    def export(key: str, chosen_format: str, license: str = "") -> dict[Any, Any]:
        entry = entry_of(key)
        if chosen_format in PROGRAMS or chosen_format in SHARES:
            made = services.library.export(entry.name, file=entry.path, program=chosen_format, license=license)
            trigger = msg("Trigger word: {trigger}", trigger=made.trigger)
            message = html.message("good", trigger, made.usage)
            return {status: message, files.exported: download_link(made.file_name, made.data)}
        format_name, suffix = ("", "") if chosen_format == UNCHANGED else chosen_format.split()
        made = services.library.export(entry.name, format_name, suffix, entry.path)
        return {status: "", files.exported: download_link(made.file_name, made.data)}

    files.export.click(export, [key, files.format, files.license], [status, files.exported], **AT_ONCE)


def convert(services: Services, entry: Entry, to: str, name: str, overwrite: bool = False) -> tuple[Any, ...]:
    """Convert an embedding.

    Returns:
        The new entry, and messages.

    Raises:
        TrainEmbeddingError: As for `Combining.convert`.
    """
    saved = services.combining.convert(entry.name, to, name.strip(), overwrite)
    return saved.entry, msg("Converted {name}.", name=entry.name), html.saved_to(saved.entry.file), *saved.notes


def conversions(suffixes: Sequence[str]) -> list[tuple[Message, str]]:
    """Return labels and values of what a file can be converted to for a host that loads files with these suffixes."""
    formats = [(name, suffix) for name, suffix in CONVERTIBLE_FORMATS.items() if suffix in suffixes]
    return [
        *((msg("{suffix} file", suffix=suffix), name) for name, suffix in formats),
        (msg("for {program}", program="SDXL"), SDXL),
    ]


def export_formats() -> list[tuple[Message, str]]:
    """Return labels and values of what an export can be: the file itself, one to share, one for a program, or any format."""
    from train_embedding.services.formats import SUFFIXES

    formats = [f"{name} {suffix}" for name, suffixes in SUFFIXES.items() for suffix in suffixes]
    return [
        (msg("unchanged"), UNCHANGED),
        *((share.title, key) for key, share in SHARES.items()),
        *((msg("for {program}", program=program.title), key) for key, program in PROGRAMS.items()),
        *((verbatim(name), name) for name in formats),
    ]
