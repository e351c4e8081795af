"""`train-embedding app`: the tab beside a small txt2img page, in the browser."""

from __future__ import annotations

import argparse
import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import add_host_options, services_of
from train_embedding.errors import HostFailed, InvalidInput
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.app.access import Access
    from train_embedding.services.training import Runs

PORT = 7860
AUTH_VARIABLE = "TRAIN_EMBEDDING_AUTH"


def add_to(verbs: Any) -> None:
    parser = verbs.add_parser("app", help="open the standalone web app", description="Serves the web app until Ctrl-C.")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"0 for any that is free (default: {PORT})")
    parser.add_argument(
        "--listen", action="store_true",
        help="serve other machines too, behind a password or a token; training images must then lie in the data folder",
    )  # fmt: skip
    parser.add_argument("--host", default="", metavar="ADDRESS", help="as --listen, at this address of the machine only")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="answer to this host name too, such as that of a reverse proxy; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD",
        help=f"ask for a user name and password; may be given several times. The environment variable {AUTH_VARIABLE}, one in "
        "each line, does the same and does not show in the list of processes. With --listen and neither, the address that is "
        "printed contains a token",
    )  # fmt: skip
    parser.add_argument(
        "--train-embedding-allow", action="append", type=typed_path, default=[], metavar="FOLDER",
        help="with --listen or --host, a further folder whose pictures may be trained on; may be given several times",
    )  # fmt: skip
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        from train_embedding.app import server
    except ImportError as problem:
        raise HostFailed(f'The web app needs the package "{problem.name}".', 'Install the extra "app".') from problem
    access = _access_of(arguments)
    allowed = (arguments.data.resolve(), *(folder.resolve() for folder in arguments.train_embedding_allow))
    services = services_of(arguments, allowed if access.listens else None)
    try:
        server.serve(services, arguments.port, access)
    except KeyboardInterrupt:
        print("The app has ended.")
    finally:
        _end_training(services.runs)
    return 0


def _access_of(arguments: argparse.Namespace) -> Access:
    """Raises InvalidInput for an account without a name or a password."""
    from train_embedding.app.access import EVERYWHERE, LOOPBACK, Access

    accounts = (*arguments.auth, *filter(None, os.environ.get(AUTH_VARIABLE, "").splitlines()))
    for account in accounts:
        if not all(account.partition(":")):
            raise InvalidInput("--auth takes USER:PASSWORD.", f"The same goes for each line of {AUTH_VARIABLE}.")
    host = arguments.host or (EVERYWHERE[0] if arguments.listen else LOOPBACK)
    access = Access(host, tuple(arguments.allow_host), accounts)
    return replace(access, token=secrets.token_urlsafe(24)) if access.listens and not accounts else access


def _end_training(runs: Runs) -> None:
    state = runs.current()
    if state is not None and state.active:
        print(f"Ending the training of {state.embedding} and keeping the result.")
        runs.stop(state.id)
        runs.wait(state.id)
