"""`train-embedding list`: the embeddings there are."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import add_host_options, print_json, print_table, services_of

if TYPE_CHECKING:
    from train_embedding.services.library import Entry

_ALWAYS = ("name", "family", "vectors", "step", "not loaded")


def add_to(verbs: Any) -> None:
    parser = verbs.add_parser("list", help="list the embeddings", description="Lists the embeddings in the data folder.")
    parser.add_argument(
        "--remarks", action="store_true", help="also print what should be known of each: names and vectors that collide"
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    entries = services_of(arguments).library.list()
    if arguments.json:
        print_json([entry.to_json() for entry in entries])
    elif entries:
        _print(entries)
        for entry in entries:
            remarks = entry.remarks if arguments.remarks else ()
            for remark in filter(None, (entry.unsafe_reason, *remarks)):
                print(f"{entry.path}: {remark}")
    else:
        print(f"No embedding in {arguments.data}. Make one with: train-embedding create NAME --init-text TEXT")
    return 0


def _print(entries: list[Entry]) -> None:
    """Columns that hold nothing are left out."""
    rows = [_row(entry) for entry in entries]
    titles = [title for title in rows[0] if title in _ALWAYS or any(row[title] for row in rows)]
    print_table(titles, [[row[title] for title in titles] for row in rows])


def _row(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.name,
        "family": entry.family or "-",
        "vectors": str(entry.vectors),
        "step": str(entry.step or 0),
        "checkpoint": entry.checkpoint or "",
        "folder": entry.folder,
        "form": entry.format,
        "KB": f"{entry.size / 1000:.1f}",
        "changed": time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.modified)) if entry.modified else "",
        "hash": entry.hash,
        "not loaded": entry.reason,
    }
