"""The syntax tree of a formula over embeddings; every node has its column."""

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
    """A text in double quotes: the token embeddings of its tokens."""

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
    """Factors, each with the operator before it, "*" or "/"; that of the first is "*"."""

    factors: tuple[tuple[str, Node], ...]
    column: int


@dataclass(frozen=True)
class Concat:
    """Vectors one after the other, `a & b`."""

    parts: tuple[Node, ...]
    column: int


@dataclass(frozen=True)
class Slice:
    """Vectors from index `start` up to but not including `stop`; negative indices count from the end, None is either end."""

    of: Node
    start: int | None
    stop: int | None
    column: int


@dataclass(frozen=True)
class Call:
    """A function with its arguments."""

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
    """The node and all below it, from left to right."""
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
