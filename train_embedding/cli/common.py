"""What the verbs share: where the data lies, and how results are printed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from train_embedding.cli.streams import can_print, shown
from train_embedding.errors import NotFound
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.hosts.standalone import StandaloneHost
    from train_embedding.services import Services

DATA_FOLDER = Path("train-embedding-data")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def add_host_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=typed_path, default=DATA_FOLDER, metavar="FOLDER",
        help=f"folder that holds the embeddings and the runs, made where it is missing (default: {DATA_FOLDER})",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=typed_path, metavar="FILE", help="checkpoint file or diffusers folder (default: the demo checkpoint)"
    )


def add_file_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file", default="", metavar="PATH",
        help="of several embeddings with that name, the one in this file below the embeddings folder (default: the one in use)",
    )  # fmt: skip


def services_of(arguments: argparse.Namespace, allowed_folders: tuple[Path, ...] | None = None) -> Services:
    """Services over the data folder and the checkpoint that the options name. Raises NotFound without the latter."""
    from train_embedding.services import Services

    host = _host_of(arguments, allowed_folders)
    return _connected(host, Services(host))


def together(arguments: argparse.Namespace, verb: Callable[[Services], int]) -> int:
    """Calls the verb in the main one of the processes that a launcher started, while the others help; returns its exit code.

    Without a launcher that is the only one. Raises what `services_of` and the verb raise, and TrainingFailed where the others
    cannot be reached.
    """
    from train_embedding.services import Services
    from train_embedding.services.training import process_group, run_worker

    host = _host_of(arguments)
    with process_group() as processes:
        if processes.rank == 0:
            return verb(_connected(host, Services(host, processes)))
        for number in _STOP_SIGNALS:  # they reach all; the main process ends the run, and then this one
            signal.signal(number, signal.SIG_IGN)
        run_worker(host, processes)
    return 0


@contextmanager
def on_stop_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Within the context, Ctrl-C and SIGTERM call `stop`, however often they come. Launchers send SIGTERM when a process died.

    Afterwards they do what they did before, or nothing in a process of a launcher, which passes on late what has come already.
    """
    from train_embedding.services.training import is_distributed

    def call(_number: int, _frame: object) -> None:
        stop()

    before = {number: signal.signal(number, call) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_distributed() else handler)


def leave(code: int) -> NoReturn:
    """Ends this process with an exit code. One of a launcher's ends at once: threads of gloo may still be letting go of Python's
    objects, and an interpreter that tears itself down meanwhile aborts, which the launcher takes for a failure."""
    from train_embedding.services.training import is_distributed

    if is_distributed():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _connected(host: StandaloneHost, services: Services) -> Services:
    """The services, from whose index the host now learns what the embedding files hold."""
    host.known_files = services.library.files
    return services


def _host_of(arguments: argparse.Namespace, allowed_folders: tuple[Path, ...] | None = None) -> StandaloneHost:
    from train_embedding.hosts.standalone import StandaloneHost

    checkpoint = arguments.checkpoint
    if checkpoint is not None and not checkpoint.exists():
        raise NotFound(f'There is no checkpoint "{checkpoint}".')
    return StandaloneHost(arguments.data, checkpoint, allowed_folders)


def print_json(values: Any) -> None:
    text = json.dumps(values, ensure_ascii=False, indent=2, default=str)
    print(text if can_print(text) else json.dumps(values, indent=2, default=str))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; numbers stand to the right."""
    lines = [[shown(cell) for cell in line] for line in (titles, *rows)]
    widths = [max(_columns(line[column]) for line in lines) for column in range(len(titles))]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(titles))]
    for line in lines:
        columns = [(cell, " " * (width - _columns(cell)), flush) for cell, width, flush in zip(line, widths, right, strict=True)]
        print("  ".join(gap + cell if flush else cell + gap for cell, gap, flush in columns).rstrip())


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _columns(text: str) -> int:
    """How many columns a text takes on a terminal: Chinese characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("×", "", 1).isdecimal() or text == "-"
