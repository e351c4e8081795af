"""`train-embedding app`: the standalone web app."""

from __future__ import annotations

import argparse
import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from train_embedding.cli.common import Commands, add_command, add_host_options, open_services
from train_embedding.errors import HostFailed, InvalidInput
from train_embedding.messages import msg
from train_embedding.services.typed_paths import typed_path
from train_embedding.translations import LANGUAGES

if TYPE_CHECKING:
    from train_embedding.app.access import Access
    from train_embedding.services import Services

PORT = 7860
AUTH_VARIABLE = "TRAIN_EMBEDDING_AUTH"
"Environment variable with accounts, one per line."


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands, "app", run, "serve the standalone web app", "Serve the standalone web app until you press Ctrl-C."
    )
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"port to listen on; 0 for any free port (default: {PORT})"
    )
    parser.add_argument(
        "--listen", action="store_true",
        help="also serve other machines, protected by a password or a token; training images must then be in the data folder",
    )  # fmt: skip
    parser.add_argument("--host", default="", metavar="ADDRESS", help="like --listen, but only at this address of the machine")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="also accept requests for this host name, such as that of a reverse proxy; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD",
        help=f"require a user name and password; may be given several times. The environment variable {AUTH_VARIABLE}, with one "
        "account per line, does the same and is not visible in the list of processes. Without an account, --listen prints an "
        "address that contains a token",
    )  # fmt: skip
    parser.add_argument(
        "--train-embedding-allow", action="append", type=typed_path, default=[], metavar="FOLDER",
        help="with --listen or --host: another folder that may contain training images; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--language", choices=("auto", *LANGUAGES), default="auto",
        help="language of the page; auto uses that of the browser (default: auto)",
    )  # fmt: skip
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        from train_embedding.app import server
    except ImportError as problem:
        raise HostFailed(
            msg('The web app needs the package "{name}".', name=problem.name),
            msg('Install Train Embedding with the extra "app".'),
        ) from problem
    access = _read_access(arguments)
    allowed = (arguments.data.resolve(), *(folder.resolve() for folder in arguments.train_embedding_allow))
    services = open_services(arguments, allowed if access.listens else None)
    services.queue.serve()
    try:
        languages = LANGUAGES if arguments.language == "auto" else (arguments.language,)
        server.serve(services, arguments.port, access, languages=languages)
    except KeyboardInterrupt:
        print("The web app was stopped.")
    finally:
        _stop_training(services)
    return 0


def _read_access(arguments: argparse.Namespace) -> Access:
    """Read from the options who may connect.

    Raises:
        InvalidInput: An account has no name or no password.
    """
    from train_embedding.app.access import EVERYWHERE, LOOPBACK, Access

    accounts = (*arguments.auth, *filter(None, os.environ.get(AUTH_VARIABLE, "").splitlines()))
    for account in accounts:
        if not all(account.partition(":")):
            raise InvalidInput(
                msg("An account is not of the form USER:PASSWORD."),
                msg("Check {option} and each line of {variable}.", option="--auth", variable=AUTH_VARIABLE),
            )
    host = arguments.host or (EVERYWHERE[0] if arguments.listen else LOOPBACK)
    access = Access(host, tuple(arguments.allow_host), accounts)
    return replace(access, token=secrets.token_urlsafe(24)) if access.listens and not accounts else access


def _stop_training(services: Services) -> None:
    state = services.runs.current()
    if state is not None and state.active:
        print(f"Stopping the training of {state.embedding}; the result is kept.")
    services.queue.close()
    if state is not None and state.active:
        services.runs.stop(state.id)
        services.runs.wait(state.id)
