"""Syntax tree of a formula over embeddings. The `column` of a node counts characters from 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A number."""

    value: float
    column: int


@dataclass(frozen=True)
class Text:
    """A text in double quotes, which stands for the token embeddings of its tokens."""

    text: str
    column: int


@dataclass(frozen=True)
class EmbeddingName:
    """The name of an embedding."""

    name: str
    column: int


@dataclass(frozen=True)
class Sum:
    """Terms, each with its sign, 1 or -1."""

    terms: tuple[tuple[int, Node], ...]
    column: int


@dataclass(frozen=True)
class Product:
    """Factors, each with the operator before it, "*" or "/"; for the first factor it is "*"."""

    factors: tuple[tuple[str, Node], ...]
    column: int


@dataclass(frozen=True)
class Concat:
    """Concatenation, `a & b`."""

    parts: tuple[Node, ...]
    column: int


@dataclass(frozen=True)
class Slice:
    """A slice, as in Python: from index `start` up to but not including `stop`; None means from the start or to the end."""

    of: Node
    start: int | None
    stop: int | None
    column: int


@dataclass(frozen=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple[Node, ...]
    column: int


@dataclass(frozen=True)
class Like:
    """`like b`, the second argument of norm."""

    of: Node
    column: int


Node = Number | Text | EmbeddingName | Sum | Product | Concat | Slice | Call | Like


def nodes_of(node: Node) -> Iterator[Node]:
    """Yield the node and all nodes below it, from left to right."""
    yield node
    for child in _children(node):
        yield from nodes_of(child)


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Sum):
        return tuple(term for _, term in node.terms)
    if isinstance(node, Product):
        return tuple(factor for _, factor in node.factors)
    if isinstance(node, Concat):
        return node.parts
    if isinstance(node, Call):
        return node.arguments
    return (node.of,) if isinstance(node, Slice | Like) else ()
