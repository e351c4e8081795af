"""`train-embedding list`: the embeddings there are."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_host_options, print_json, print_table, services_of


def add_to(verbs: Any) -> None:
    parser = verbs.add_parser("list", help="list the embeddings", description="Lists the embeddings in the data folder.")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    entries = services_of(arguments).library.list()
    if arguments.json:
        print_json([entry.to_json() for entry in entries])
    elif entries:
        rows = [(entry.name, entry.family or "-", str(entry.vectors), str(entry.step or 0), entry.reason) for entry in entries]
        print_table(("name", "family", "vectors", "step", "not loaded"), rows)
    else:
        print(f"No embedding in {arguments.data}. Make one with: train-embedding create NAME --init-text TEXT")
    return 0
