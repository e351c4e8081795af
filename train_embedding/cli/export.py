"""`train-embedding export`: an embedding as a file for another program."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from train_embedding.cli.common import add_file_option, add_host_options, print_json, services_of
from train_embedding.services.formats import SUFFIXES
from train_embedding.services.library import PROGRAMS, Wanted
from train_embedding.services.typed_paths import typed_path


def add_to(verbs: Any) -> None:
    what = (
        "Writes an embedding to a file outside the library. The suffix of the output decides about its format; in a folder it "
        "stays as it is, unless --format or --for says otherwise."
    )
    parser = verbs.add_parser("export", help="write an embedding to a file elsewhere", description=what)
    parser.add_argument("name")
    parser.add_argument("output", nargs="?", type=typed_path, default=Path(), help="file or folder (default: this folder)")
    parser.add_argument(
        "--for", dest="program", choices=PROGRAMS, default="",
        help="choose a format and a name that this program reads, and print what calls the embedding in its prompts",
    )  # fmt: skip
    parser.add_argument("--format", choices=SUFFIXES, default="", help="of the file (default: as the suffix of the output says)")
    parser.add_argument("--suffix", default="", help="of the file, where the format has several, such as .bin")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_file_option(parser)
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    wanted = Wanted(arguments.format, arguments.suffix, arguments.program)
    library = services_of(arguments).library
    done = library.export_to(arguments.output, arguments.name, wanted, arguments.file, arguments.overwrite)
    if arguments.json:
        print_json(done.to_json())
        return 0
    print(f"Exported {arguments.name}: {done.path}")
    if done.trigger:
        print(f"{done.usage}\nTrigger: {done.trigger}")
    return 0
