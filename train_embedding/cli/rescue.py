"""`train-embedding rescue`: the vectors of a file that could do harm, in one that cannot."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_file_option, add_host_options, services_of


def add_to(verbs: Any) -> None:
    what = (
        "Puts the vectors of a file that asks for more than data, which some programs would run, into one that asks for nothing. "
        "Nothing of the old file is run; it goes to the trash folder."
    )
    parser = verbs.add_parser("rescue", help="make a dangerous file harmless", description=what)
    parser.add_argument("name")
    add_file_option(parser)
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    entry = services_of(arguments).library.sanitize(arguments.name, arguments.file)
    print(f"{entry.name} holds nothing but its vectors now: {entry.file}")
    return 0
