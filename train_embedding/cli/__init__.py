"""The command line. Until a command runs, only the standard library is imported."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from train_embedding import __version__
from train_embedding.cli import (
    app,
    bench,
    comparing,
    dataset,
    demo,
    doctor,
    inspect,
    library,
    merge,
    presets,
    queue,
    resume,
    runs,
    study,
    tokens,
    train,
)
from train_embedding.cli.common import with_option_names
from train_embedding.cli.streams import closed_pipe_ends_quietly, escape_what_cannot_be_printed
from train_embedding.errors import TrainEmbeddingError, refusal_of

COMMANDS = (
    library.add_create,
    train.add_to,
    resume.add_to,
    runs.add_to,
    queue.add_to,
    study.add_to,
    presets.add_to,
    library.add_list,
    inspect.add_to,
    tokens.add_to,
    merge.add_to,
    comparing.add_compare_embeddings,
    library.add_convert,
    library.add_sanitize,
    library.add_rename,
    library.add_copy,
    library.add_delete,
    library.add_trash,
    library.add_import,
    library.add_export,
    library.add_notes,
    dataset.add_to,
    app.add_to,
    demo.add_to,
    bench.add_to,
    doctor.add_to,
)
"Functions that each add one command to the parser, in the order of `--help`."
INTERRUPTED = 130
"Exit code after Ctrl-C, by the convention of shells: 128 + SIGINT."
EXAMPLES = """\
examples:
  train-embedding demo
  train-embedding create my-cat --init-text cat --checkpoint model.safetensors
  train-embedding train my-cat ~/images/cat --checkpoint model.safetensors

`train-embedding COMMAND --help` shows the options of a command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or that of the error, which is printed to stderr as one line.

    Args:
        arguments: The command and its options; by default those of the process.

    Raises:
        SystemExit: Wrong usage (exit code 2), --help, or a closed pipe on standard output.
    """
    escape_what_cannot_be_printed()
    with closed_pipe_ends_quietly():
        return _run(arguments)


def _print_error(problem: TrainEmbeddingError) -> None:
    print(f"error: {' '.join(with_option_names(problem.text).split())}", file=sys.stderr)


def _run(arguments: Sequence[str] | None) -> int:
    parsed = parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except TrainEmbeddingError as problem:
        _print_error(problem)
        return problem.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None or isinstance(problem, BrokenPipeError):
            raise
        _print_error(refusal)
        return refusal.exit_code


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. The parsed arguments have the function of the command as `run`."""
    built = argparse.ArgumentParser(
        prog="train-embedding",
        description="Create, train and manage textual-inversion embeddings.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    built.add_argument("--version", action="version", version=__version__, help="show the version and exit")
    commands = built.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add_to in COMMANDS:
        add_to(commands)
    return built
