"""`train-embedding resume`: resume an interrupted run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from train_embedding.cli.common import Commands, add_command, add_host_options, run_in_main_process
from train_embedding.cli.train import finish
from train_embedding.errors import NotFound
from train_embedding.messages import msg

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import Runs


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = "Resume a run that was stopped, has failed or was killed. The result is bit-identical to that of an uninterrupted run."
    parser = add_command(commands, "resume", run, "resume an interrupted run", what)
    parser.add_argument(
        "id", metavar="RUN", nargs="?", help="name of the folder of the run (default: the newest run that can be resumed)"
    )
    parser.add_argument("--json", action="store_true", help="print the final state of the run as JSON")
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""

    def resume(services: Services) -> int:
        runs = services.runs
        return finish(runs, runs.resume(arguments.id or _newest(runs)), arguments.json)

    return run_in_main_process(arguments, resume)


def _newest(runs: Runs) -> str:
    for state in runs.list():
        if state.resumable:
            return state.id
    raise NotFound(msg("There is no run that can be resumed."))
