"""`train-embedding rename`: another name for an embedding and all that belongs to it."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_file_option, add_host_options, services_of


def add_to(verbs: Any) -> None:
    what = "Renames an embedding, with its preview, notes and whatever else belongs to it."
    parser = verbs.add_parser("rename", help="rename an embedding", description=what)
    parser.add_argument("name")
    parser.add_argument("new_name")
    add_file_option(parser)
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    entry = services_of(arguments).library.rename(arguments.name, arguments.new_name, arguments.file)
    print(f"Renamed {arguments.name} to {entry.name}: {entry.file}")
    return 0
