"""The commands that manage the library, from `create` to `notes`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.cli.common import (
    Commands,
    add_command,
    add_file_option,
    add_host_options,
    count,
    open_services,
    print_json,
    print_table,
)
from train_embedding.errors import InvalidInput, NotFound, UnreadableFile
from train_embedding.messages import msg, verbatim
from train_embedding.services.combining import CONVERTIBLE_FORMATS, SDXL
from train_embedding.services.formats import SUFFIXES
from train_embedding.services.json_values import to_json
from train_embedding.services.library import PROGRAMS, SHARES, STARTS, Wanted
from train_embedding.services.sidecars import NOTE_FIELDS, read_preview
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services.json_values import to_json
from train_embedding.services.library import Entry, Library, Trashed

NEW_FILE_FORMATS = {"pt": ".pt", "safetensors": ".safetensors"}
TRASH_ACTIONS = ("list", "restore", "empty")
_COLUMNS_ALWAYS_SHOWN = ("name", "family", "vectors", "step", "not loaded")


def add_create(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "create", create, "create an embedding", "Create an embedding from a text or another embedding."
    )
    parser.add_argument("name", metavar="NAME", help="trigger word, which is also the name of the file")
    parser.add_argument("--init-text", default="", metavar="TEXT", help="initialization text; without it, the vectors are zeros")
    parser.add_argument(
        "--vectors",
        default="auto",
        metavar="N",
        help="number of vectors, 1 to 75, or auto for 2, or one per token of a longer text; the first training may use one more "
        "or fewer (default: auto)",
    )
    parser.add_argument(
        "--start", choices=STARTS, default=STARTS[0],
        help="start from the token embeddings of the text, from the text encoder's output for it, or from the embedding "
        f"that --init-text names (default: {STARTS[0]})",
    )  # fmt: skip
    _add_overwrite_option(parser)
    parser.add_argument("--format", choices=NEW_FILE_FORMATS, default="pt", help="file format (default: pt)")
    _add_json_option(parser, "the embedding")
    add_host_options(parser)


def create(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    created = open_services(arguments).library.create(
        arguments.name,
        arguments.init_text,
        arguments.vectors,
        arguments.overwrite,
        NEW_FILE_FORMATS[arguments.format],
        arguments.start,
    )
    if arguments.json:
        print_json({**to_json(created.entry), "tokens": created.tokens, "notes": created.notes})
        return 0
    print(f"Created {created.entry.name} with {count(created.entry.vectors, 'vector')}: {created.entry.file}")
    _print_lines(created.notes)
    return 0


def add_list(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "list", list_entries, "list the embeddings", "List the embeddings in the data folder.")
    parser.add_argument("--warnings", action="store_true", help="also print warnings, for example about names that collide")
    _add_json_option(parser, "the list")
    add_host_options(parser)


def list_entries(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    entries = open_services(arguments).library.list()
    if arguments.json:
        print_json(entries)
    elif entries:
        _print_entries(entries)
        for entry in entries:
            warnings = entry.warnings if arguments.warnings else ()
            _print_lines(f"{entry.path}: {warning}" for warning in filter(None, (entry.unsafe_reason, *warnings)))
    else:
        print(f"There are no embeddings in {arguments.data}. Create one with: train-embedding create NAME --init-text TEXT")
    return 0


def add_convert(commands: Commands) -> None:
    """Add the command."""
    what = "Save an embedding in another file format, or make an approximate SDXL version of an SD1 embedding."
    parser = add_command(commands, "convert", convert, "change an embedding's file format or model family", what)
    parser.add_argument("name", metavar="NAME", help="name of the embedding")
    parser.add_argument(
        "--to", required=True, choices=(*CONVERTIBLE_FORMATS, SDXL), help="file format, or sdxl (needs an SDXL checkpoint)"
    )  # fmt: skip
    parser.add_argument(
        "--name", dest="new_name", default="", metavar="NAME",
        help="name of the result (default: NAME, and the old file goes to the trash; for sdxl NAME-sdxl)",
    )  # fmt: skip
    _add_overwrite_option(parser)
    _add_json_option(parser, "the result")
    add_host_options(parser)


def convert(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    combining = open_services(arguments).combining
    saved = combining.convert(arguments.name, arguments.to, arguments.new_name, arguments.overwrite)
    if arguments.json:
        print_json({**to_json(saved.entry), "notes": saved.notes})
        return 0
    print(f"Saved {saved.entry.name}: {saved.entry.file}")
    _print_lines(saved.notes)
    return 0


def add_sanitize(commands: Commands) -> None:
    """Add the command."""
    what = (
        "Extract the vectors of an unsafe pickle file, from which some programs would run code, into a safe one. No code in "
        "the file is run, and the old file goes to the trash."
    )
    parser = add_command(commands, "sanitize", sanitize, "extract the vectors of an unsafe file into a safe one", what)
    parser.add_argument("name", metavar="NAME", help="name of the embedding")
    add_file_option(parser)
    add_host_options(parser)


def sanitize(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    entry = open_services(arguments).library.sanitize(arguments.name, arguments.file)
    print(f"Sanitized {entry.name}: {entry.file}")
    return 0


def add_rename(commands: Commands) -> None:
    """Add the command."""
    what = "Rename an embedding together with its preview, notes and other files that belong to it."
    _add_new_name_options(add_command(commands, "rename", rename, "rename an embedding", what))


def rename(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    entry = open_services(arguments).library.rename(arguments.name, arguments.new_name, arguments.file)
    print(f"Renamed {arguments.name} to {entry.name}: {entry.file}")
    return 0


def add_copy(commands: Commands) -> None:
    """Add the command."""
    what = "Copy an embedding together with its preview, notes and other files that belong to it."
    _add_new_name_options(add_command(commands, "copy", copy, "copy an embedding", what))


def copy(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    entry = open_services(arguments).library.copy(arguments.name, arguments.new_name, arguments.file)
    print(f"Copied {arguments.name} to {entry.name}: {entry.file}")
    return 0


def add_delete(commands: Commands) -> None:
    """Add the command."""
    what = "Move embeddings with all files that belong to them to the trash. `train-embedding trash restore` restores them."
    parser = add_command(commands, "delete", delete, "move embeddings to the trash", what)
    parser.add_argument("names", nargs="+", metavar="NAME", help="names of the embeddings")
    parser.add_argument("--permanently", action="store_true", help="delete them immediately; this cannot be undone")
    add_file_option(parser)
    add_host_options(parser)


def delete(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    library = open_services(arguments).library
    for name in arguments.names:
        library.delete(name, arguments.file, arguments.permanently)
        print(f"Deleted {name} permanently." if arguments.permanently else f"Moved {name} to the trash.")
    return 0


def add_trash(commands: Commands) -> None:
    """Add the command."""
    what = "List the items in the trash, restore some of them, or delete all of them permanently."
    parser = add_command(commands, "trash", trash, "list, restore or empty the trash", what)
    parser.add_argument(
        "action", nargs="?", choices=TRASH_ACTIONS, default=TRASH_ACTIONS[0], help=f"what to do (default: {TRASH_ACTIONS[0]})"
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="ids of the items to restore, as listed")
    parser.add_argument("--as", dest="new_name", metavar="NAME", help="restore the embedding of one item under this name")
    parser.add_argument("--replace", action="store_true", help="replace an embedding that has the name now; it goes to the trash")
    _add_json_option(parser, "the list")
    add_host_options(parser)


def trash(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if bool(arguments.ids) != (arguments.action == "restore"):
        if arguments.action == "restore":
            raise InvalidInput(msg("There is no id of an item to restore."), msg("`train-embedding trash` lists the ids."))
        raise InvalidInput(msg("`trash {action}` has no arguments.", action=arguments.action))
    if (arguments.new_name is not None or arguments.replace) and arguments.action != "restore":
        raise InvalidInput(msg("{options} are for `trash restore`.", options="--as, --replace"))
    if arguments.new_name is not None and len(arguments.ids) > 1:
        raise InvalidInput(msg("{option} is for one item.", option="--as"))
    library = open_services(arguments).library
    if arguments.action == "restore":
        for trash_id in arguments.ids:
            entries = library.restore(trash_id, arguments.new_name, arguments.replace)
            _print_lines(f"Restored {entry.name}: {entry.file}" for entry in entries)
    elif arguments.action == "empty":
        print(f"Deleted {count(library.empty_trash(), 'item')} permanently.")
    elif arguments.json:
        print_json(library.trashed())
    else:
        _print_trash(library.trashed())
    return 0


def add_import(commands: Commands) -> None:
    """Add the command."""
    what = "Add embedding files to the library. Each file is checked before it is added, and no code in it is run."
    parser = add_command(commands, "import", import_files, "add files to the library", what)
    parser.add_argument("files", nargs="+", type=typed_path, metavar="FILE", help="embedding files, previews and notes")
    parser.add_argument("--overwrite", action="store_true", help="replace embeddings of the same name; they go to the trash")
    parser.add_argument("--name", default="", metavar="NAME", help="name of the embedding (default: that of its file)")
    parser.add_argument("--folder", default="", metavar="FOLDER", help="subfolder of the embeddings folder to add them to")
    _add_json_option(parser, "the outcome for each file")
    add_host_options(parser)


def import_files(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    library = open_services(arguments).library
    results = library.import_files(arguments.files, arguments.overwrite, arguments.folder, arguments.name)
    if arguments.json:
        print_json(results)
    else:
        for result in results:
            entry = result.entry
            print(f"{result.file}: {result.problem}" if entry is None else f"Imported {entry.name}: {entry.file}")
            _print_lines(f"  {line}" for line in (result.note, entry.reason if entry else "") if line)
    return 0 if all(result.entry for result in results) else UnreadableFile.exit_code


def add_export(commands: Commands) -> None:
    """Add the command."""
    what = (
        "Save an embedding as a file outside the library. The suffix of OUTPUT selects the format. If OUTPUT is a folder, the "
        "file keeps its format unless you give --format or --for."
    )
    parser = add_command(commands, "export", export, "save an embedding outside the library", what)
    parser.add_argument("name", metavar="NAME", help="name of the embedding")
    parser.add_argument(
        "output",
        nargs="?",
        type=typed_path,
        default=Path(),
        metavar="OUTPUT",
        help="file or folder (default: the current folder)",
    )
    parser.add_argument(
        "--for", dest="program", choices=(*PROGRAMS, *SHARES), default="",
        help="choose a format and a file name for this program, and print the trigger for its prompts; civitai: a zip archive "
        "with files, previews and texts for a page there; card: an image that shows and contains the embedding",
    )  # fmt: skip
    parser.add_argument("--license", default="", metavar="TEXT", help="license that the texts for civitai state")
    parser.add_argument("--format", choices=SUFFIXES, default="", help="file format (default: that of the suffix of OUTPUT)")
    parser.add_argument(
        "--suffix", default="", metavar="SUFFIX", help="suffix of the file if the format has several, such as .bin"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    _add_json_option(parser, "the result")
    add_file_option(parser)
    add_host_options(parser)


def export(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    wanted = Wanted(arguments.format, arguments.suffix, arguments.program, arguments.license)
    library = open_services(arguments).library
    exported = library.export_to(arguments.output, arguments.name, wanted, arguments.file, arguments.overwrite)
    if arguments.json:
        print_json(exported)
        return 0
    print(f"Exported {arguments.name}: {exported.path}")
    if exported.trigger:
        print(f"{exported.usage}\nTrigger: {exported.trigger}")
    return 0


def add_notes(commands: Commands) -> None:
    """Add the command."""
    what = (
        "Show the notes of an embedding, or change them. They are stored in the WebUI's file of user metadata. An empty text "
        "removes a note."
    )
    parser = add_command(commands, "notes", notes, "show or change the notes and the preview image", what)
    parser.add_argument("name", metavar="NAME", help="name of the embedding")
    for field in NOTE_FIELDS:
        kind, metavar = (float, "NUMBER") if field.is_number else (str, "TEXT")
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, metavar=metavar, help=_as_option_help(field.help))
    preview = parser.add_mutually_exclusive_group()
    preview.add_argument("--preview", type=typed_path, metavar="FILE", help="use this image as the preview")
    preview.add_argument("--preview-run", metavar="RUN", help="use the newest preview of this training run")
    preview.add_argument(
        "--preview-prompt", metavar="TEXT", help="generate the preview with this prompt; [name] stands for the embedding"
    )
    _add_json_option(parser, "the embedding")
    add_file_option(parser)
    add_host_options(parser)


def notes(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    library = open_services(arguments).library
    given = {field.name: getattr(arguments, field.name) for field in NOTE_FIELDS}
    changes = {name: value for name, value in given.items() if value is not None}
    entry = library.change(arguments.name, arguments.file, notes=changes, preview=_new_preview(library, arguments))
    if arguments.json:
        print_json(entry)
    else:
        _print_notes(entry)
    return 0


def _add_overwrite_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace an embedding of this name; it goes to the trash")


def _add_json_option(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def _add_new_name_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the embedding")
    parser.add_argument("new_name", metavar="NEW_NAME", help="new name")
    add_file_option(parser)
    add_host_options(parser)


def _as_option_help(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].removesuffix(".")


def _new_preview(library: Library, arguments: argparse.Namespace) -> bytes | None:
    """Return the image for the preview, or None to leave the preview unchanged."""
    if arguments.preview is not None:
        return _read_image(arguments.preview)
    if arguments.preview_run is not None:
        return library.last_preview(arguments.preview_run)
    if arguments.preview_prompt is not None:
        return library.drawn(arguments.name, arguments.preview_prompt, arguments.file)
    return None


def _read_image(file: Path) -> bytes:
    try:
        return read_preview(file)
    except FileNotFoundError as error:
        raise NotFound(msg('The image "{path}" does not exist.', path=file)) from error
    except OSError as error:
        reason = verbatim(error.strerror or str(error))
        raise UnreadableFile(msg('Cannot read "{path}": {reason}.', path=file, reason=reason)) from error


def _print_entries(entries: Sequence[Entry]) -> None:
    """Print a table without empty columns."""
    rows = [_entry_row(entry) for entry in entries]
    titles = [title for title in rows[0] if title in _COLUMNS_ALWAYS_SHOWN or any(row[title] for row in rows)]
    print_table(titles, [[row[title] for title in titles] for row in rows])


def _entry_row(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.name,
        "family": entry.family or "-",
        "vectors": str(entry.vectors),
        "step": str(entry.step or 0),
        "checkpoint": entry.checkpoint or "",
        "folder": entry.folder,
        "format": entry.format,
        "KB": f"{entry.size / 1000:.1f}",
        "modified": _local_time(entry.modified) if entry.modified else "",
        "hash": entry.hash,
        "not loaded": entry.reason,
    }


def _print_notes(entry: Entry) -> None:
    lines = {field: value for field, value in to_json(entry.notes).items() if value}
    if entry.preview is not None:
        lines["preview"] = str(entry.preview)
    _print_lines(f"{field.replace('_', ' ')}: {value}" for field, value in lines.items())
    if not lines:
        print(f"{entry.name} has no notes.")


def _print_trash(items: Sequence[Trashed]) -> None:
    if not items:
        print("The trash is empty.")
        return
    rows = [
        (item.id, item.name, item.folder or "-", _local_time(item.when), str(len(item.files)), f"{item.size / 1000:.1f}")
        for item in items
    ]
    print_table(("id", "name", "folder", "deleted", "files", "KB"), rows)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
