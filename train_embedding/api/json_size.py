"""Limits on JSON text, checked before it is parsed: 25 MB of brackets would become 1.3 GB of lists."""

from __future__ import annotations

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg

MAX_NODES = 20_000
"Largest number of values in a body, on all levels together."
MAX_DEPTH = 32
"Largest number of lists and objects inside each other."
_QUOTES_PER_NODE = 4
"Those of a key and of a text."
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_json_size(data: bytes, max_nodes: int = MAX_NODES) -> None:
    """Check the number and the depth of values in a JSON text, in time and memory proportional to its length.

    Brackets, commas and quotes are counted; whether the text is valid JSON is left to the parser.

    Args:
        data: The text.
        max_nodes: Largest number of values.

    Raises:
        InvalidInput: There are too many values, or they are nested too deeply.
    """
    # Pairs of backslashes first: a quote after an escaped backslash ends the text.
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in data else data
    if plain.count(b'"') > _QUOTES_PER_NODE * max_nodes:
        raise _too_many(max_nodes)
    outside = b"".join(plain.split(b'"')[::2])
    if outside.count(b",") + outside.count(b"[") + outside.count(b"{") > max_nodes:
        raise _too_many(max_nodes)
    depth = 0
    for bracket in outside.translate(None, _NOT_BRACKETS)[: 2 * max_nodes]:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidInput(msg("The body has more than {limit} levels of lists and objects.", limit=MAX_DEPTH))


def _too_many(max_nodes: int) -> InvalidInput:
    return InvalidInput(msg("The body has more than {limit:,} values.", limit=max_nodes), msg("Split it into several requests."))
