"""`train-embedding tokens`: how the WebUI splits a prompt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import add_host_options, count, print_json, print_table, services_of

if TYPE_CHECKING:
    from train_embedding.services.inspection import PromptPart


def add_to(verbs: Any) -> None:
    what = "Shows how the WebUI splits a prompt into tokens and chunks of 75, and which parts of it are embeddings."
    parser = verbs.add_parser("tokens", help="show the tokens of a prompt", description=what)
    parser.add_argument("prompt", help="as it is typed into the WebUI")
    parser.add_argument("--negative", action="store_true", help="it is a negative prompt, in which AND is a word")
    parser.add_argument("--step", type=int, default=1, help="the step at which to look, for [a:b:10] and [a|b] (default: 1)")
    parser.add_argument("--steps", type=int, default=20, help="steps in all (default: 20)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    read = services_of(arguments).inspection.tokenize(arguments.prompt, arguments.negative, arguments.step, arguments.steps)
    if arguments.json:
        print_json(read.to_json())
        return 0
    for part in read.parts:
        if len(read.parts) > 1:
            print(f"Part of weight {part.weight:g}: {part.text.strip()}")
        print_table(("chunk", "place", "id", "text", "weight", "embedding"), _rows(part))
    print(f"{count(read.count, 'token')} of {read.limit}, {read.remaining} remain.")
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
