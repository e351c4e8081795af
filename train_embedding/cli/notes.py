"""`train-embedding notes`: what a person writes about an embedding, and its preview picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import add_file_option, add_host_options, print_json, services_of
from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.services.sidecars import contents_of
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services.library import Entry, Library

FIELDS = {
    "description": "what stands on its card",
    "notes": "anything else",
    "activation_text": "what to write into the prompt besides the name",
    "negative_text": "what to write into the negative prompt",
    "preferred_weight": "a number, 0 for none",
    "sd_version": "the kind of model, such as SD1 or SDXL",
}


def add_to(verbs: Any) -> None:
    what = (
        "Prints the notes of an embedding, or changes them, in the file that the WebUI keeps them in. Empty text removes a note."
    )
    parser = verbs.add_parser("notes", help="notes and preview of an embedding", description=what)
    parser.add_argument("name")
    for field, help_text in FIELDS.items():
        kind = float if field == "preferred_weight" else str
        parser.add_argument(
            f"--{field.replace('_', '-')}", type=kind, metavar="NUMBER" if kind is float else "TEXT", help=help_text
        )
    preview = parser.add_mutually_exclusive_group()
    preview.add_argument("--preview", type=typed_path, metavar="FILE", help="a picture that becomes its preview")
    preview.add_argument("--preview-run", metavar="ID", help="takes the newest preview of a run")
    preview.add_argument("--preview-prompt", metavar="TEXT", help="draws a preview; [name] stands for the embedding")
    parser.add_argument("--json", action="store_true", help="print the embedding as JSON")
    add_file_option(parser)
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    library = services_of(arguments).library
    changes = {field: getattr(arguments, field) for field in FIELDS if getattr(arguments, field) is not None}
    entry = library.change(arguments.name, arguments.file, notes=changes, preview=_preview_of(library, arguments))
    if arguments.json:
        print_json(entry.to_json())
    else:
        _print(entry)
    return 0


def _preview_of(library: Library, arguments: argparse.Namespace) -> bytes | None:
    """The picture that is to become the preview; None where there is none to set."""
    if arguments.preview is not None:
        return _bytes_of(arguments.preview)
    if arguments.preview_run is not None:
        return library.last_preview(arguments.preview_run)
    if arguments.preview_prompt is not None:
        return library.drawn(arguments.name, arguments.preview_prompt, arguments.file)
    return None


def _bytes_of(picture: Path) -> bytes:
    try:
        return contents_of(picture)
    except FileNotFoundError as error:
        raise NotFound(f'There is no picture "{picture}".') from error
    except OSError as error:
        raise UnreadableFile(f'"{picture}" cannot be read: {error.strerror or error}.') from error


def _print(entry: Entry) -> None:
    lines = {field: value for field, value in entry.notes.to_json().items() if value}
    if entry.preview is not None:
        lines["preview"] = str(entry.preview)
    for field, value in lines.items():
        print(f"{field.replace('_', ' ')}: {value}")
    if not lines:
        print(f"{entry.name} has no notes.")
