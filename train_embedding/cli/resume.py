"""`train-embedding resume`: resume an interrupted run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from train_embedding.cli.common import Commands, add_command, add_host_options, run_in_main_process
from train_embedding.cli.train import finish
from train_embedding.errors import NotFound

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import Runs


def add_to(commands: Commands) -> None:
    what = (
        "Resumes a run that was stopped, failed or was killed. The result is bit-identical to that of a run without the "
        "interruption."
    )
    parser = add_command(commands, "resume", run, "resume an interrupted run", what)
    parser.add_argument("id", metavar="RUN", nargs="?", help="the run's folder name (default: the newest that can be resumed)")
    parser.add_argument("--json", action="store_true", help="print the run's final state as JSON")
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    def resume(services: Services) -> int:
        runs = services.runs
        return finish(runs, runs.resume(arguments.id or _newest(runs)), arguments.json)

    return run_in_main_process(arguments, resume)


def _newest(runs: Runs) -> str:
    for state in runs.list():
        if state.resumable:
            return state.id
    raise NotFound("There is no run that can be resumed.")
