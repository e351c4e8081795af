"""`train-embedding trash`: what was deleted or overwritten, restored or deleted for good."""

from __future__ import annotations

import argparse
import time
from typing import Any

from train_embedding.cli.common import add_host_options, count, print_json, print_table, services_of
from train_embedding.errors import InvalidInput

ACTIONS = ("list", "restore", "empty")


def add_to(verbs: Any) -> None:
    what = "Lists what lies in the trash, restores items of it, or empties it."
    parser = verbs.add_parser("trash", help="list, restore or empty what was deleted", description=what)
    parser.add_argument("action", nargs="?", choices=ACTIONS, default=ACTIONS[0])
    parser.add_argument("ids", nargs="*", metavar="id", help="what to restore, as the list names it")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if bool(arguments.ids) != (arguments.action == "restore"):
        raise InvalidInput(f"`trash {arguments.action}` takes {'an id' if arguments.action == 'restore' else 'no ids'}.")
    library = services_of(arguments).library
    if arguments.action == "restore":
        for trash_id in arguments.ids:
            for entry in library.restore(trash_id):
                print(f"Restored {entry.name}: {entry.file}")
    elif arguments.action == "empty":
        print(f"Deleted {count(library.empty_trash(), 'item')} for good.")
    elif arguments.json:
        print_json([item.to_json() for item in library.trashed()])
    else:
        _print(library.trashed())
    return 0


def _print(items: list[Any]) -> None:
    if not items:
        print("The trash is empty.")
        return
    times = [time.strftime("%Y-%m-%d %H:%M", time.localtime(item.when)) for item in items]
    rows = [
        (item.id, item.name, item.folder or "-", when, str(len(item.files)), f"{item.size / 1000:.1f}")
        for item, when in zip(items, times, strict=True)
    ]
    print_table(("id", "name", "folder", "since", "files", "KB"), rows)
