"""`train-embedding create`: a new embedding from a few words."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_host_options, count, print_json, services_of
from train_embedding.services.library import STARTS

FORMATS = {"pt": ".pt", "safetensors": ".safetensors"}


def add_to(verbs: Any) -> None:
    what = "Makes an embedding out of a text's token embeddings."
    parser = verbs.add_parser("create", help="make an embedding", description=what)
    parser.add_argument("name", help="the word that calls the embedding in a prompt, and the file's name")
    parser.add_argument("--init-text", default="", metavar="TEXT", help="what it means before training; left out: zeros")
    parser.add_argument(
        "--vectors", default="auto", metavar="N", help="tokens that it takes, 1 to 75, or auto: as many as the text has (default)"
    )
    parser.add_argument(
        "--start", choices=STARTS, default=STARTS[0],
        help="take the text's token embeddings (default), what the text encoders put out for them, or the embedding it names",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace one of that name, which goes to the trash folder")
    parser.add_argument("--format", choices=FORMATS, default="pt", help="of the file (default: pt)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    library = services_of(arguments).library
    created = library.create(
        arguments.name,
        arguments.init_text,
        arguments.vectors,
        arguments.overwrite,
        FORMATS[arguments.format],
        arguments.start,
    )
    if arguments.json:
        print_json({**created.entry.to_json(), "tokens": created.tokens, "notes": created.notes})
        return 0
    print(f"Created {created.entry.name} with {count(created.entry.vectors, 'vector')}: {created.entry.file}")
    for note in created.notes:
        print(note)
    return 0
