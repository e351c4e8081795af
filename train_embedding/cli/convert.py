"""`train-embedding convert`: an embedding in another form, or for SDXL."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_host_options, print_json, services_of
from train_embedding.services.combining import FORMS, SDXL


def add_to(verbs: Any) -> None:
    what = "Writes an embedding in another form of file, or makes one for SDXL of one for SD1, approximately."
    parser = verbs.add_parser("convert", help="change an embedding's form or family", description=what)
    parser.add_argument("name", help="of the embedding")
    parser.add_argument(
        "--to", required=True, choices=(*FORMS, SDXL), help="form of the file, or sdxl (needs an SDXL checkpoint)"
    )
    parser.add_argument(
        "--name", dest="new_name", default="", metavar="NAME",
        help="of the result (default: the same, and the old file goes to the trash folder; for sdxl, NAME-sdxl)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace one of that name, which goes to the trash folder")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    combining = services_of(arguments).combining
    saved = combining.convert(arguments.name, arguments.to, arguments.new_name, arguments.overwrite)
    if arguments.json:
        print_json({**saved.entry.to_json(), "notes": saved.notes})
        return 0
    print(f"Saved {saved.entry.name}: {saved.entry.file}")
    for note in saved.notes:
        print(note)
    return 0
