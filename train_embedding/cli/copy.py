"""`train-embedding copy`: a second embedding like the first."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_file_option, add_host_options, services_of


def add_to(verbs: Any) -> None:
    what = "Copies an embedding, with its preview, notes and whatever else belongs to it, to a new name."
    parser = verbs.add_parser("copy", help="copy an embedding", description=what)
    parser.add_argument("name")
    parser.add_argument("new_name")
    add_file_option(parser)
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    entry = services_of(arguments).library.copy(arguments.name, arguments.new_name, arguments.file)
    print(f"Copied {arguments.name} to {entry.name}: {entry.file}")
    return 0
