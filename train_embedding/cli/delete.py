"""`train-embedding delete`: embeddings into the trash."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_file_option, add_host_options, services_of


def add_to(verbs: Any) -> None:
    what = "Puts embeddings into the trash, with all that belongs to them; `trash restore` brings them back."
    parser = verbs.add_parser("delete", help="put embeddings into the trash", description=what)
    parser.add_argument("names", nargs="+", metavar="name")
    parser.add_argument("--permanently", action="store_true", help="delete them at once; nothing can bring them back")
    add_file_option(parser)
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    library = services_of(arguments).library
    for name in arguments.names:
        library.delete(name, arguments.file, arguments.permanently)
        print(f"{name} was deleted permanently." if arguments.permanently else f"{name} is in the trash.")
    return 0
