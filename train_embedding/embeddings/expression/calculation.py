"""Computing formulas over embeddings: a syntax tree in, vectors out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn, Protocol

import torch

from train_embedding.embeddings import operations
from train_embedding.embeddings.embedding import MAX_COUNT, MAX_ELEMENTS
from train_embedding.embeddings.expression.nodes import Call, Concat, EmbeddingName, Like, Node, Number, Product, Slice, Sum, Text
from train_embedding.embeddings.operations import Tables, count_of
from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.errors import InvalidExpression

MAX_VECTORS = CHUNK
"Of a result: tokens that a prompt takes at once."
MAX_BETWEEN = MAX_COUNT
"Of a part of a formula: as many as an embedding may have that it names."


class Sources(Protocol):
    """Where vectors come from; all must have the same text encoders and widths."""

    def embedding(self, name: str) -> Tables:
        """Return the vectors of an embedding."""
        ...

    def token_embeddings(self, text: str) -> Tables:
        """Return the token embeddings of the text's tokens, of which there may be none."""
        ...

    def usual_norms(self) -> dict[str, float]:
        """Return the mean norm of the vocabulary's vectors, per text encoder."""
        ...


class Calculation:
    """The calculation of one formula. notes: sentences about what it did that may surprise."""

    def __init__(self, expression: str, sources: Sources) -> None:
        self._expression = expression
        self._sources = sources
        self.notes: list[str] = []

    def result(self, node: Node) -> Tables:
        """Compute the formula.

        Returns:
            1 to 75 finite vectors per text encoder, [n, d].

        Raises:
            InvalidExpression: Where the formula cannot be computed; and whatever the sources raise.
        """
        tables = self._vectors(node)
        if count_of(tables) > MAX_VECTORS:
            hint = "Shorten it with reduce or a slice."
            self._fail(f"the result has {count_of(tables)} vectors; an embedding has at most {MAX_VECTORS}.", node, hint)
        return tables

    def _vectors(self, node: Node) -> Tables:
        value = self._value(node)
        if isinstance(value, Mapping):
            return value
        self._fail(f"{value:g} is a number where vectors should stand.", node)

    def _number(self, node: Node) -> float:
        value = self._value(node)
        if isinstance(value, Mapping):
            self._fail("vectors stand where a number should.", node)
        return value

    def _whole(self, node: Node, what: str) -> int:
        number = self._number(node)
        if not number.is_integer() or not 1 <= number <= MAX_VECTORS:
            self._fail(f"{what} takes a whole number of vectors from 1 to {MAX_VECTORS}, not {number:g}.", node)
        return int(number)

    def _value(self, node: Node) -> float | Tables:
        value = self._raw_value(node)
        if isinstance(value, Mapping):
            finite = all(bool(torch.isfinite(table).all()) for table in value.values())
        else:
            finite = math.isfinite(value)
        if not finite:
            self._fail("the numbers become infinite.", node)
        return value

    def _raw_value(self, node: Node) -> float | Tables:
        match node:
            case Number():
                return node.value
            case EmbeddingName():
                return self._sources.embedding(node.name)
            case Text():
                return self._text(node)
            case Sum():
                return self._sum(node)
            case Product():
                return self._product(node)
            case Concat():
                return self._concat(node.parts, node)
            case Slice():
                return self._slice(node)
            case Call():
                return self._call(node)
            case Like():
                return self._vectors(node.of)

    def _text(self, node: Text) -> Tables:
        tables = self._sources.token_embeddings(node.text)
        if not count_of(tables):
            self._fail(f'the text "{node.text}" has no tokens.', node)
        return tables

    def _concat(self, parts: tuple[Node, ...], node: Node) -> Tables:
        tables = [self._vectors(part) for part in parts]
        count = sum(map(count_of, tables))
        width = max(table.shape[1] for table in tables[0].values())
        if count > min(MAX_BETWEEN, MAX_ELEMENTS // width):
            self._fail(f"a part of the formula has {count} vectors, which is too many.", node)
        return operations.concatenated(tables)

    def _sum(self, node: Sum) -> float | Tables:
        values = [(sign, self._value(term)) for sign, term in node.terms]
        numbers = [sign * value for sign, value in values if not isinstance(value, Mapping)]
        tables = [value if sign == 1 else operations.scaled(value, -1) for sign, value in values if isinstance(value, Mapping)]
        if numbers and tables:
            wrong = next(term for (_, term), (_, value) in zip(node.terms, values, strict=True) if not isinstance(value, Mapping))
            self._fail("a number cannot be added to vectors.", wrong, "Numbers multiply vectors: 0.5 * my-cat.")
        if numbers:
            return sum(numbers)
        counts = sorted({count_of(table) for table in tables})
        if len(counts) > 1:
            self._note(
                f"A sum has terms of {' and '.join(map(str, counts))} vectors; where a term has none left, nothing is added. "
                "To add one vector to each of four, write spread(a, 4)."
            )
        return operations.added(tables)

    def _product(self, node: Product) -> float | Tables:
        factor, tables = 1.0, None
        for operator, part in node.factors:
            value = self._value(part)
            if operator == "/":
                factor = self._divided(factor, value, part)
            elif not isinstance(value, Mapping):
                factor *= value
            elif tables is None:
                tables = value
            else:
                self._fail("vectors cannot be multiplied by vectors.", part, "Multiply by a number, or add them.")
        return factor if tables is None else operations.scaled(tables, factor)

    def _divided(self, factor: float, value: float | Tables, part: Node) -> float:
        if isinstance(value, Mapping):
            self._fail("nothing can be divided by vectors.", part)
        if not value:
            self._fail("this divides by zero.", part)
        return factor / value

    def _slice(self, node: Slice) -> Tables:
        tables = self._vectors(node.of)
        count = count_of(tables)
        start, stop = node.start or 0, count if node.stop is None else node.stop
        start, stop = (place + count if place < 0 else place for place in (start, stop))
        if not 0 <= start < stop <= count:
            has = "1 vector, with the place 0" if count == 1 else f"{count} vectors, with the places 0 to {count - 1}"
            self._fail(f"there is no such piece of {has}.", node)
        return operations.sliced(tables, start, stop)

    def _call(self, node: Call) -> Tables:
        first, rest = node.arguments[0], node.arguments[1:]
        if node.function == "concat":
            return self._concat(node.arguments, node)
        if node.function == "average":
            return operations.average([self._vectors(argument) for argument in node.arguments])
        tables = self._vectors(first)
        if node.function == "drop_zeros":
            kept = operations.without_zeros(tables)
            if not count_of(kept):
                self._fail("every vector is zeros, so none would remain.", node)
            return kept
        if node.function == "norm":
            return operations.with_norm(tables, self._norms(tables, rest))
        count = self._whole(rest[0], node.function)
        if node.function == "spread":
            return operations.spread(tables, count)
        if count > count_of(tables):
            self._fail(f"{count_of(tables)} vectors cannot be reduced to {count}.", rest[0])
        return operations.reduced(tables, count)

    def _norms(self, tables: Tables, arguments: tuple[Node, ...]) -> dict[str, float]:
        if not arguments:
            usual = self._sources.usual_norms()
            return {key: usual[key] for key in tables}
        if isinstance(arguments[0], Like):
            return operations.mean_norms(self._vectors(arguments[0]))
        norm = self._number(arguments[0])
        if norm < 0:
            self._fail(f"a norm cannot be {norm:g}.", arguments[0])
        return dict.fromkeys(tables, norm)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _fail(self, message: str, node: Node, hint: str = "") -> NoReturn:
        raise InvalidExpression(message, hint, expression=self._expression, column=node.column)
