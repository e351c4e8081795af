"""Evaluation of a formula's syntax tree to vectors."""

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
from train_embedding.messages import NOTHING, Message, joined, msg, plural

MAX_VECTORS = CHUNK
"Of the result: a full prompt."
MAX_BETWEEN = MAX_COUNT
"Of an intermediate result."


class Sources(Protocol):
    """Provides the vectors; all must have the same text encoders and widths."""

    def embedding(self, name: str) -> Tables:
        """Return the vectors of an embedding."""
        ...

    def token_embeddings(self, text: str) -> Tables:
        """Return the token embeddings of a text; there may be none."""
        ...

    def usual_norms(self) -> dict[str, float]:
        """Return the mean norm of the vocabulary's token embeddings by text encoder."""
        ...


class Calculation:
    """The evaluation of one formula.

    Attributes:
        notes: Sentences about results that you may not expect.
    """

    def __init__(self, expression: str, sources: Sources) -> None:
        self._expression = expression
        self._sources = sources
        self.notes: list[Message] = []

    def result(self, node: Node) -> Tables:
        """Compute the formula.

        Returns:
            1 to 75 finite vectors by text encoder, [n, d].

        Raises:
            InvalidExpression: The formula cannot be computed.
            TrainEmbeddingError: A source could not provide its vectors.
        """
        tables = self._vectors(node)
        if count_of(tables) > MAX_VECTORS:
            self._fail(
                msg("the result has {count} vectors; at most {limit} are allowed.", count=count_of(tables), limit=MAX_VECTORS),
                node,
                msg("Shorten it with reduce or a slice."),
            )
        return tables

    def _vectors(self, node: Node) -> Tables:
        value = self._value(node)
        if isinstance(value, Mapping):
            return value
        self._fail(msg("{value:g} is a number, but vectors are needed here.", value=value), node)

    def _number(self, node: Node) -> float:
        value = self._value(node)
        if isinstance(value, Mapping):
            self._fail(msg("a number is needed here, not vectors."), node)
        return value

    def _count(self, node: Node, function: str) -> int:
        number = self._number(node)
        if not number.is_integer() or not 1 <= number <= MAX_VECTORS:
            problem = msg(
                "{function} needs a whole number from 1 to {limit}, not {number:g}.",
                function=function,
                limit=MAX_VECTORS,
                number=number,
            )
            self._fail(problem, node)
        return int(number)

    def _value(self, node: Node) -> float | Tables:
        """Evaluate a node to finite numbers."""
        value = self._raw_value(node)
        if isinstance(value, Mapping):
            finite = all(bool(torch.isfinite(table).all()) for table in value.values())
        else:
            finite = math.isfinite(value)
        if not finite:
            self._fail(msg("the result is infinite or not a number."), node)
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
            self._fail(msg('the text "{text}" has no tokens.', text=node.text), node)
        return tables

    def _concat(self, parts: tuple[Node, ...], node: Node) -> Tables:
        tables = [self._vectors(part) for part in parts]
        count = sum(map(count_of, tables))
        width = max(table.shape[1] for table in tables[0].values())
        if count > min(MAX_BETWEEN, MAX_ELEMENTS // width):
            self._fail(msg("this part of the formula has {count} vectors, which is too many.", count=count), node)
        return operations.concatenated(tables)

    def _sum(self, node: Sum) -> float | Tables:
        values = [(sign, self._value(term)) for sign, term in node.terms]
        numbers = [sign * value for sign, value in values if not isinstance(value, Mapping)]
        tables = [value if sign == 1 else operations.scaled(value, -1) for sign, value in values if isinstance(value, Mapping)]
        if numbers and tables:
            wrong = next(term for (_, term), (_, value) in zip(node.terms, values, strict=True) if not isinstance(value, Mapping))
            hint = msg("Numbers can only multiply vectors, as in 0.5 * my-cat.")
            self._fail(msg("a number cannot be added to vectors."), wrong, hint)
        if numbers:
            return sum(numbers)
        counts = sorted({count_of(table) for table in tables})
        if len(counts) > 1:
            self._note(
                msg(
                    "A sum has terms with different numbers of vectors ({counts}); missing vectors count as zeros. "
                    "To add one vector to each of four, write spread(a, 4).",
                    counts=joined(map(str, counts)),
                )
            )
        return operations.added(tables)

    def _product(self, node: Product) -> float | Tables:
        factor, tables = 1.0, None
        for operator, part in node.factors:
            value = self._value(part)
            if operator == "/":
                factor = self._divide(factor, value, part)
            elif not isinstance(value, Mapping):
                factor *= value
            elif tables is None:
                tables = value
            else:
                hint = msg("Multiply by a number, or add them.")
                self._fail(msg("vectors cannot be multiplied by vectors."), part, hint)
        return factor if tables is None else operations.scaled(tables, factor)

    def _divide(self, factor: float, value: float | Tables, part: Node) -> float:
        if isinstance(value, Mapping):
            self._fail(msg("dividing by vectors is not possible."), part)
        if not value:
            self._fail(msg("division by zero."), part)
        return factor / value

    def _slice(self, node: Slice) -> Tables:
        tables = self._vectors(node.of)
        count = count_of(tables)
        start, stop = node.start or 0, count if node.stop is None else node.stop
        start, stop = (index + count if index < 0 else index for index in (start, stop))
        if not 0 <= start < stop <= count:
            problem = plural(
                "the slice is empty or out of range: there is {count} vector, with index 0.",
                "the slice is empty or out of range: there are {count} vectors, with indices 0 to {last}.",
                count,
                last=count - 1,
            )
            self._fail(problem, node)
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
                self._fail(msg("all vectors are zero, so none would remain."), node)
            return kept
        if node.function == "norm":
            return operations.with_norm(tables, self._wanted_norms(tables, rest))
        count = self._count(rest[0], node.function)
        if node.function == "spread":
            return operations.spread(tables, count)
        if count > count_of(tables):
            problem = plural(
                "{count} vector cannot be reduced to {wanted}.",
                "{count} vectors cannot be reduced to {wanted}.",
                count_of(tables),
                wanted=count,
            )
            self._fail(problem, rest[0])
        return operations.reduced(tables, count)

    def _wanted_norms(self, tables: Tables, arguments: tuple[Node, ...]) -> dict[str, float]:
        if not arguments:
            usual = self._sources.usual_norms()
            return {key: usual[key] for key in tables}
        if isinstance(arguments[0], Like):
            return operations.mean_norms(self._vectors(arguments[0]))
        norm = self._number(arguments[0])
        if norm < 0:
            self._fail(msg("a norm cannot be negative ({norm:g}).", norm=norm), arguments[0])
        return dict.fromkeys(tables, norm)

    def _note(self, sentence: Message) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _fail(self, message: Message, node: Node, hint: Message = NOTHING) -> NoReturn:
        raise InvalidExpression(message, hint, expression=self._expression, column=node.column)
