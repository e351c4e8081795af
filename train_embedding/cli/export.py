"""`train-embedding export`: an embedding as a file for another program."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from train_embedding.cli.common import add_file_option, add_host_options, services_of


def add_to(verbs: Any) -> None:
    from train_embedding.services.forms import SUFFIXES

    what = "Writes an embedding to a file outside the library, as it is or in another form."
    parser = verbs.add_parser("export", help="write an embedding to a file elsewhere", description=what)
    parser.add_argument("name")
    parser.add_argument("output", nargs="?", type=Path, default=Path(), help="file or folder (default: this folder)")
    parser.add_argument("--format", choices=SUFFIXES, default="", help="of the file (default: as it is)")
    parser.add_argument("--suffix", default="", help="of the file, where the form has several, such as .bin")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    add_file_option(parser)
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from train_embedding.services.forms import written_to

    library = services_of(arguments).library
    file_name, data = library.export(arguments.name, arguments.format, arguments.suffix, arguments.file)
    print(f"Exported {arguments.name}: {written_to(arguments.output, file_name, data, arguments.overwrite)}")
    return 0
