"""`train-embedding tokens`: show how the WebUI splits a prompt into tokens."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from train_embedding.cli.common import (
    Commands,
    add_command,
    add_host_options,
    count,
    open_services,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from train_embedding.services.inspection import PromptPart


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = "Show how the WebUI splits a prompt into tokens and chunks of 75, and which parts of it are embeddings."
    parser = add_command(commands, "tokens", run, "show the tokens of a prompt", what)
    parser.add_argument("prompt", metavar="PROMPT", help="the prompt, as you type it into the WebUI")
    parser.add_argument("--negative", action="store_true", help="read it as a negative prompt, in which AND is a plain word")
    parser.add_argument(
        "--step", type=int, default=1, metavar="N", help="sampling step to show, for [a:b:10] and [a|b] (default: 1)"
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="number of sampling steps (default: 20)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    read = open_services(arguments).inspection.tokenize(arguments.prompt, arguments.negative, arguments.step, arguments.steps)
    if arguments.json:
        print_json(read)
        return 0
    for part in read.parts:
        if len(read.parts) > 1:
            print(f"Part with weight {part.weight:g}: {part.text.strip()}")
        print_table(("chunk", "position", "id", "text", "weight", "embedding"), _rows(part))
    print(f"{read.count} of {count(read.limit, 'token')} used, {read.remaining} left.")
    if read.networks:
        print(f"Extra networks, not part of the text: {' '.join(read.networks)}")
    for note in read.notes:
        print(note)
    return 0


def _rows(part: PromptPart) -> Sequence[Sequence[str]]:
    return [
        (
            str(number),
            str(position),
            "-" if token.id is None else str(token.id),
            token.text,
            f"{token.weight:.3f}",
            f"{token.embedding}, vector {token.vector}" if token.embedding else "",
        )
        for number, chunk in enumerate(part.chunks)
        for position, token in enumerate(chunk.tokens)
    ]
