"""`train-embedding app`: the tab beside a small txt2img page, in the browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import add_host_options, services_of
from train_embedding.errors import HostFailed

if TYPE_CHECKING:
    from train_embedding.services.runs import Runs

PORT = 7860


def add_to(verbs: Any) -> None:
    parser = verbs.add_parser("app", help="open the standalone web app", description="Serves the web app until Ctrl-C.")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"0 for any that is free (default: {PORT})")
    parser.add_argument(
        "--listen", action="store_true", help="serve other machines too; picture folders must then lie under the data folder"
    )
    parser.add_argument(
        "--train-embedding-allow", action="append", type=Path, default=[], metavar="FOLDER",
        help="with --listen, a further folder whose pictures may be trained on; may be given several times",
    )  # fmt: skip
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        from train_embedding.app import server
    except ImportError as problem:
        raise HostFailed(f'The web app needs the package "{problem.name}".', 'Install the extra "app".') from problem
    allowed = (arguments.data.resolve(), *(folder.resolve() for folder in arguments.train_embedding_allow))
    services = services_of(arguments, allowed if arguments.listen else None)
    try:
        server.serve(services, arguments.port, arguments.listen)
    except KeyboardInterrupt:
        print("The app has ended.")
    finally:
        _end_training(services.runs)
    return 0


def _end_training(runs: Runs) -> None:
    state = runs.current()
    if state is not None and state.active:
        print(f"Ending the training of {state.embedding} and keeping the result.")
        runs.stop(state.id)
        runs.wait(state.id)
