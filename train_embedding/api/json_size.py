"""How much a JSON text will take in memory, before it is read: 25 MB of brackets become 1.3 GB of lists."""

from __future__ import annotations

from train_embedding.errors import InvalidInput

MAX_NODES = 20_000
"Values in one body, all levels together."
MAX_DEPTH = 32
_QUOTES_PER_NODE = 4
"A key and a text."
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def check_json_size(data: bytes, max_nodes: int = MAX_NODES) -> None:
    """Raises InvalidInput for a text with too many values, or too many within each other. Takes time and memory as its length.

    Only as much is understood of it as counting needs; what is not JSON is for the parser to say.
    """
    # In this order: a pair of backslashes is a backslash, and a quote after it ends the text.
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
            raise InvalidInput(f"The body has more than {MAX_DEPTH} levels of lists and objects.", "Send fewer.")


def _too_many(max_nodes: int) -> InvalidInput:
    return InvalidInput(f"The body has more than {max_nodes:,} values.", "Send fewer at once.")
