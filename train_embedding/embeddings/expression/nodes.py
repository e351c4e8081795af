"""What a formula over embeddings is made of: a tree whose every node knows its column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    value: float
    column: int


@dataclass(frozen=True)
class Words:
    """A text, which stands for the token embeddings of its tokens."""

    text: str
    column: int


@dataclass(frozen=True)
class Name:
    """An embedding."""

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
class Joined:
    """Vectors one after the other."""

    parts: tuple[Node, ...]
    column: int


@dataclass(frozen=True)
class Cut:
    """Vectors from place `start` up to but without `stop`; negative places count from the end, None is either end."""

    of: Node
    start: int | None
    stop: int | None
    column: int


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Node, ...]
    column: int


@dataclass(frozen=True)
class Like:
    """`like b`, the second argument of norm."""

    of: Node
    column: int


Node = Number | Words | Name | Sum | Product | Joined | Cut | Call | Like


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
    if isinstance(node, Joined):
        return node.parts
    if isinstance(node, Call):
        return node.arguments
    return (node.of,) if isinstance(node, Cut | Like) else ()
