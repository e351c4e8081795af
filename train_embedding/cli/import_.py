"""`train-embedding import`: files from elsewhere into the library."""

from __future__ import annotations

import argparse
from typing import Any

from train_embedding.cli.common import add_host_options, print_json, services_of
from train_embedding.errors import UnreadableFile
from train_embedding.services.typed_paths import typed_path


def add_to(verbs: Any) -> None:
    what = (
        "Puts embedding files into the library. Each is read to the end before anything of it lies there; nothing in it is run."
    )
    parser = verbs.add_parser("import", help="add files from elsewhere", description=what)
    parser.add_argument("files", nargs="+", type=typed_path, metavar="file")
    parser.add_argument("--overwrite", action="store_true", help="replace embeddings of the same names, which go to the trash")
    parser.add_argument("--name", default="", help="what to call the embedding (default: as its file is called)")
    parser.add_argument("--folder", default="", help="where to put them, below the embeddings folder")
    parser.add_argument("--json", action="store_true", help="print what became of each as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    done = services_of(arguments).library.import_files(arguments.files, arguments.overwrite, arguments.folder, arguments.name)
    if arguments.json:
        print_json([one.to_json() for one in done])
    else:
        for one in done:
            print(f"{one.file}: {one.problem}" if one.entry is None else f"Imported {one.entry.name}: {one.entry.file}")
            for line in filter(None, (one.note, one.entry.reason if one.entry else "")):
                print(f"  {line}")
    return 0 if all(one.entry for one in done) else UnreadableFile.exit_code
