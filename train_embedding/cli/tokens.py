"""`train-embedding tokens`: how the WebUI splits a prompt into tokens."""

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
    what = "Shows how the WebUI splits a prompt into tokens and chunks of 75, and which parts of it are embeddings."
    parser = add_command(commands, "tokens", run, "show the tokens of a prompt", what)
    parser.add_argument("prompt", help="the prompt, as you type it into the WebUI")
    parser.add_argument("--negative", action="store_true", help="read it as a negative prompt, in which AND is a plain word")
    parser.add_argument("--step", type=int, default=1, help="sampling step to show, for [a:b:10] and [a|b] (default: 1)")
    parser.add_argument("--steps", type=int, default=20, help="number of sampling steps (default: 20)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_host_options(parser)


def run(arguments: argparse.Namespace) -> int:
    read = open_services(arguments).inspection.tokenize(arguments.prompt, arguments.negative, arguments.step, arguments.steps)
    if arguments.json:
        print_json(read)
        return 0
    for part in read.parts:
        if len(read.parts) > 1:
            print(f"Part of weight {part.weight:g}: {part.text.strip()}")
        print_table(("chunk", "place", "id", "text", "weight", "embedding"), _rows(part))
    print(f"{count(read.count, 'token')} of {read.limit}, {read.remaining} left.")
    if read.networks:
        print(f"Left out: {' '.join(read.networks)}")
    for note in read.notes:
        print(note)
    return 0


def _rows(part: PromptPart) -> Sequence[Sequence[str]]:
    return [
        (
            str(number),
            str(place),
            "-" if token.id is None else str(token.id),
            token.text,
            f"{token.weight:.3f}",
            f"{token.embedding}, vector {token.vector}" if token.embedding else "",
        )
        for number, chunk in enumerate(part.chunks)
        for place, token in enumerate(chunk.tokens)
    ]
