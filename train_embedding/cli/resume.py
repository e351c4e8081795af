"""`train-embedding resume`: goes on with a run that ended too early."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import add_host_options, together
from train_embedding.cli.train import finish
from train_embedding.errors import NotFound

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import Runs


def add_to(verbs: Any) -> None:
    what = "Goes on with a run that was stopped, failed or killed, to the same vectors as if it had never ended."
    parser = verbs.add_parser("resume", help="go on with a run that ended too early", description=what)
    parser.add_argument("id", metavar="RUN", nargs="?", help="the run's folder name (default: the newest that can go on)")
    parser.add_argument("--json", action="store_true", help="print the run's final state as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    def resume(services: Services) -> int:
        runs = services.runs
        return finish(runs, runs.resume(arguments.id or _newest(runs)), arguments.json)

    return together(arguments, resume)


def _newest(runs: Runs) -> str:
    for state in runs.list():
        if state.resumable:
            return state.id
    raise NotFound("There is no run that could go on.")
