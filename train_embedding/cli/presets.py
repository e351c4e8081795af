"""`train-embedding presets`: list, show, save, rename, delete, restore and pass on presets of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from train_embedding.cli.common import (
    OPTION_NAMES,
    Commands,
    add_command,
    add_host_options,
    open_services,
    print_json,
    print_table,
)
from train_embedding.cli.train import add_training_options, given_options
from train_embedding.errors import InvalidInput
from train_embedding.messages import msg
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services.presets import OwnPreset


def add_to(commands: Commands) -> None:
    """Add the command with its subcommands."""
    what = (
        "Manage presets of your own: settings of a training run under a name. `train-embedding train --preset NAME` uses one, "
        "and `export` writes it to a small file for others."
    )
    presets = commands.add_parser("presets", help="list and manage your presets", description=what)
    verbs = presets.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(verbs)
    _add_show(verbs)
    _add_save(verbs)
    _add_rename(verbs)
    _add_delete(verbs)
    _add_restore(verbs)
    _add_export(verbs)
    _add_import(verbs)


def _add_list(verbs: Commands) -> None:
    parser = add_command(verbs, "list", list_presets, "list your presets", "List your presets.")
    parser.add_argument("--json", action="store_true", help="print the presets as JSON")
    add_host_options(parser)


def list_presets(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    presets = open_services(arguments).presets.list()
    if arguments.json:
        print_json(presets)
    elif presets:
        print_table(("preset", "based on", "settings"), [(one.name, one.based_on, _settings(one)) for one in presets])
    else:
        print("You have no presets. Save one with: train-embedding presets save NAME --steps 300")
    return 0


def _add_show(verbs: Commands) -> None:
    what = "Show one of your presets: the settings that differ from the preset it is based on."
    parser = add_command(verbs, "show", show, "show a preset", what)
    _add_name(parser)
    parser.add_argument("--json", action="store_true", help="print the preset as JSON")
    add_host_options(parser)


def show(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    preset = open_services(arguments).presets.get(arguments.name)
    if arguments.json:
        print_json(preset)
        return 0
    print(f"{preset.name}, based on {preset.based_on}")
    if preset.description:
        print(preset.description)
    for name, value in preset.options.items():
        print(f"{OPTION_NAMES[name]} {_written(value)}")
    return 0


def _add_save(verbs: Commands) -> None:
    what = (
        "Save settings as a preset: those of a training run, those that you give as options of `train-embedding train`, or both, "
        "in which case your options come first. The embedding, the dataset, the prompt to pack and candidate words are not saved."
    )
    parser = add_command(verbs, "save", save, "save settings as a preset", what)
    parser.usage = "%(prog)s [OPTIONS] NAME"
    _add_name(parser)
    parser.add_argument("--run", dest="from_run", metavar="RUN", help="take the settings of this training run")
    parser.add_argument("--description", metavar="TEXT", help="what the preset is for")
    parser.add_argument("--overwrite", action="store_true", help="replace a preset of this name, which goes to the trash")
    add_host_options(parser)
    add_training_options(parser)


def save(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    services = open_services(arguments)
    options: dict[str, Any] = given_options(arguments, services)
    if arguments.from_run:
        options = {**services.runs.get(arguments.from_run).spec.to_json(), **options}
    elif not options:
        raise InvalidInput(msg("There are no settings to save."), msg("Give a run with --run, or options such as --steps 300."))
    preset = services.presets.save(arguments.name, options, arguments.description, arguments.overwrite)
    print(f"Saved {preset.name}, based on {preset.based_on}: {_settings(preset) or 'no other settings'}")
    return 0


def _add_rename(verbs: Commands) -> None:
    parser = add_command(verbs, "rename", rename, "rename a preset", "Rename one of your presets.")
    _add_name(parser)
    parser.add_argument("new_name", metavar="NEW_NAME", help="the new name")
    add_host_options(parser)


def rename(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    renamed = open_services(arguments).presets.rename(arguments.name, arguments.new_name)
    print(f"Renamed {arguments.name} to {renamed.name}.")
    return 0


def _add_delete(verbs: Commands) -> None:
    what = "Move presets to the trash. `train-embedding presets restore` restores them."
    parser = add_command(verbs, "delete", delete, "move presets to the trash", what)
    parser.add_argument("names", nargs="+", metavar="NAME", help="names of the presets")
    add_host_options(parser)


def delete(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    presets = open_services(arguments).presets
    for name in arguments.names:
        print(f"Moved {name} to the trash as {presets.delete(name)}.")
    return 0


def _add_restore(verbs: Commands) -> None:
    parser = add_command(verbs, "restore", restore, "restore presets from the trash", "Move presets back from the trash.")
    parser.add_argument("ids", nargs="+", metavar="ID", help="ids in the trash, as `delete` prints them")
    add_host_options(parser)


def restore(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    presets = open_services(arguments).presets
    for trash_id in arguments.ids:
        print(f"Restored {presets.restore(trash_id).name}.")
    return 0


def _add_export(verbs: Commands) -> None:
    parser = add_command(verbs, "export", export, "write a preset to a file", "Write one of your presets to a file for others.")
    _add_name(parser)
    parser.add_argument(
        "output",
        nargs="?",
        type=typed_path,
        default=Path(),
        metavar="OUTPUT",
        help="file or folder (default: the current folder)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    add_host_options(parser)


def export(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    path = open_services(arguments).presets.export_to(arguments.output, arguments.name, arguments.overwrite)
    print(f"Exported {arguments.name}: {path}")
    return 0


def _add_import(verbs: Commands) -> None:
    what = "Add presets from files. Unknown settings and values out of bounds are refused, and nothing in a file is executed."
    parser = add_command(verbs, "import", import_files, "add presets from files", what)
    parser.add_argument("files", nargs="+", type=typed_path, metavar="FILE", help="files that `export` wrote")
    parser.add_argument("--name", default="", metavar="NAME", help="name of the preset (default: the one in its file)")
    parser.add_argument("--overwrite", action="store_true", help="replace presets of the same name; they go to the trash")
    add_host_options(parser)


def import_files(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    presets = open_services(arguments).presets
    for file in arguments.files:
        print(f"Imported {presets.import_path(file, arguments.name, arguments.overwrite).name}.")
    return 0


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the preset")


def _settings(preset: OwnPreset) -> str:
    return " ".join(f"{OPTION_NAMES[name]} {_written(value)}" for name, value in preset.options.items())


def _written(value: object) -> str:
    """Return the value of an option as it would be typed."""
    text = " ".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)
    return f'"{text}"' if " " in text else text
