"""Shared by the commands: options, opening the services, signals, and output."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from train_embedding.cli.streams import can_print, shown
from train_embedding.engine.config import OPTIONS
from train_embedding.errors import NotFound
from train_embedding.messages import Message, msg, replace_labels
from train_embedding.services.json_values import to_json
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.hosts.standalone import StandaloneHost
    from train_embedding.services import Services

DATA_FOLDER = Path("train-embedding-data")
ARGUMENTS = {"embedding": "NAME", "dataset": "FOLDER"}
"Options of a run that are positional arguments, as `--help` shows them."
OPTION_NAMES = {option.name: ARGUMENTS.get(option.name, option.flag) for option in OPTIONS}
"The names of a run's options on the command line."
_NAMES_OF_LABELS = {
    "Overwrite": "--overwrite",
    "Restore under this name": "--as",
    "Replace the present one": "--replace",
    **{option.label.key: OPTION_NAMES[option.name] for option in OPTIONS},
}
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Run = Callable[[argparse.Namespace], int]
"A function that runs a command and returns its exit code."


class Commands(Protocol):
    """The part of argparse's subparsers that commands use."""

    def add_parser(
        self, name: str, *, help: str, description: str, epilog: str | None = None, formatter_class: Any = ...
    ) -> argparse.ArgumentParser: ...


def add_command(commands: Commands, name: str, run: Run, help_text: str, description: str) -> argparse.ArgumentParser:
    """Add a command, and return its parser.

    Args:
        commands: Where to add it.
        name: Its name.
        run: Runs it with the parsed arguments.
        help_text: Its line in `train-embedding --help`.
        description: The first paragraph of its own `--help`.
    """
    parser = commands.add_parser(name, help=help_text, description=description)
    parser.set_defaults(run=run)
    return parser


def add_host_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the data folder and the checkpoint."""
    parser.add_argument(
        "--data", type=typed_path, default=DATA_FOLDER, metavar="FOLDER",
        help=f"folder for embeddings and runs, created if it does not exist (default: {DATA_FOLDER})",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=typed_path, metavar="FILE", help="checkpoint file or diffusers folder (default: the demo checkpoint)"
    )


def add_file_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses among embeddings of the same name."""
    parser.add_argument(
        "--file", default="", metavar="PATH",
        help="if several embeddings have this name, the path of the one to use, relative to the embeddings folder "
        "(default: the one that is loaded)",
    )  # fmt: skip


def open_services(arguments: argparse.Namespace, allowed_folders: tuple[Path, ...] | None = None) -> Services:
    """Open the data folder and the checkpoint that the options name.

    Args:
        arguments: With the options of `add_host_options`.
        allowed_folders: The only folders that may contain training images; None for any folder.

    Raises:
        NotFound: The checkpoint does not exist.
    """
    from train_embedding.services import Services

    host = _open_host(arguments, allowed_folders)
    return _share_index(host, Services(host))


def run_in_main_process(arguments: argparse.Namespace, command: Callable[[Services], int]) -> int:
    """Run a command in the main process of those that a launcher started, with the others as workers; return its exit code.

    Without a launcher, this process is the main one.

    Args:
        arguments: With the options of `add_host_options`.
        command: Runs in the main process.

    Raises:
        NotFound: The checkpoint does not exist.
        TrainingFailed: The other processes cannot be reached.
    """
    from train_embedding.services import Services
    from train_embedding.services.training import process_group, run_worker

    host = _open_host(arguments)
    with process_group() as processes:
        if processes.rank == 0:
            return command(_share_index(host, Services(host, processes)))
        for number in _STOP_SIGNALS:  # signals reach all processes; the main one ends the run, which ends this one
            signal.signal(number, signal.SIG_IGN)
        run_worker(host, processes)
    return 0


@contextmanager
def call_on_stop_signals(stop: Callable[[], object]) -> Generator[None, None, None]:
    """Call `stop` on each Ctrl-C and SIGTERM within the context. Launchers send SIGTERM when one of their processes has died.

    The previous handlers are restored afterwards. In a process of a launcher the signals are ignored instead, because the
    launcher may pass on late what has been handled already.
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


def exit_process(code: int) -> NoReturn:
    """End this process with an exit code.

    A process of a launcher ends at once: threads of gloo may still be releasing Python objects, and an interpreter that shuts
    down meanwhile aborts, which the launcher takes for a failure.
    """
    from train_embedding.services.training import is_distributed

    if is_distributed():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _share_index(host: StandaloneHost, services: Services) -> Services:
    """Let the host use the services' index of files, so that no embedding is read twice."""
    host.known_files = services.library.files
    return services


def _open_host(arguments: argparse.Namespace, allowed_folders: tuple[Path, ...] | None = None) -> StandaloneHost:
    from train_embedding.hosts.standalone import StandaloneHost

    checkpoint = arguments.checkpoint
    if checkpoint is not None and not checkpoint.exists():
        raise NotFound(msg('The checkpoint "{path}" does not exist.', path=checkpoint))
    return StandaloneHost(arguments.data, checkpoint, allowed_folders)


def print_json(values: Any) -> None:
    """Print values as JSON, escaped where standard output cannot encode them."""
    plain = to_json(values)
    text = json.dumps(plain, ensure_ascii=False, indent=2, default=str)
    print(text if can_print(text) else json.dumps(plain, indent=2, default=str))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns; columns of numbers are right-aligned."""
    print("\n".join(table_lines(titles, rows)))


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table as `print_table` prints it."""
    lines = [[shown(cell) for cell in line] for line in (titles, *rows)]
    widths = [max(columns(line[column]) for line in lines) for column in range(len(titles))]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(titles))]
    aligned: list[str] = []
    for line in lines:
        cells = [(cell, " " * (width - columns(cell)), flush) for cell, width, flush in zip(line, widths, right, strict=True)]
        aligned.append("  ".join(gap + cell if flush else cell + gap for cell, gap, flush in cells).rstrip())
    return aligned


def cut(text: str, width: int) -> str:
    """Return the start of a text that takes at most so many columns of a terminal."""
    end = next((end for end in range(1, len(text) + 1) if columns(text[:end]) > width), len(text) + 1)
    return text[: end - 1]


def with_option_names(message: str) -> Message:
    """Replace the labels of the tab in a message by the names that the options have on the command line."""
    return replace_labels(message, _NAMES_OF_LABELS)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 step" or "2 steps"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def columns(text: str) -> int:
    """Return the width of a text on a terminal: Chinese characters take two columns, combining marks 0."""
    return sum(0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("×", "", 1).isdecimal() or text == "-"
