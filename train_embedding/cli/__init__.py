"""The command line: one module per verb, the standard library and tqdm only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from train_embedding import __version__
from train_embedding.cli import (
    app,
    bench,
    convert,
    copy,
    create,
    delete,
    demo,
    export,
    import_,
    inspect,
    list,
    merge,
    notes,
    rename,
    rescue,
    resume,
    tokens,
    train,
    trash,
)
from train_embedding.cli.streams import closed_pipe_ends_quietly, escape_what_cannot_be_printed
from train_embedding.errors import TrainEmbeddingError, refusal_of

VERBS = (
    create, train, resume, list, inspect, tokens, merge, convert, rescue, rename, copy, delete, trash, import_, export, notes,
    app, demo, bench,
)  # fmt: skip
INTERRUPTED = 130
"What shells answer for a program that Ctrl-C ended."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code: 0, 2 for wrong usage, or that of the error, which stands on one line of stderr.

    Raises SystemExit for wrong usage, --help, and where a closed pipe ends the verb.
    """
    escape_what_cannot_be_printed()
    with closed_pipe_ends_quietly():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    parsed = parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except TrainEmbeddingError as problem:
        print(f"error: {' '.join(str(problem).split())}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None or isinstance(problem, BrokenPipeError):
            raise
        print(f"error: {' '.join(str(refusal).split())}", file=sys.stderr)
        return refusal.exit_code


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(
        prog="train-embedding", description="Creates, trains and manages textual-inversion embeddings."
    )
    built.add_argument("--version", action="version", version=__version__)
    verbs = built.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_to(verbs)
    return built
