"""Parser for formulas over embeddings. It builds a syntax tree and evaluates nothing.

    formula   = sum { "&" sum }                         concatenation
    sum       = product { ("+" | "-") product }
    product   = signed { ("*" | "/") signed }
    signed    = { "+" | "-" } part
    part      = value [ "[" slice "]" ]                 indices start at 0
    slice     = number | [ number ] ":" [ number ]
    value     = number | name | text | function "(" argument { "," argument } ")" | "(" formula ")"
    argument  = formula | "like" formula
    name      = 'in single quotes' | a word without spaces, quotes or any of ( ) [ ] , : * / &
    text      = "in double quotes"

A "-" or "+" inside a word is part of the word, as in my-cat, so these operators need a space before them.
"""

from __future__ import annotations

from typing import NoReturn

from train_embedding.embeddings.expression.nodes import Call, Concat, EmbeddingName, Like, Node, Number, Product, Slice, Sum, Text
from train_embedding.embeddings.expression.tokens import FormulaToken, tokens_of
from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.errors import InvalidExpression
from train_embedding.messages import NOTHING, Message, joined, msg, plural

MAX_CHARACTERS = 2000
MAX_DEPTH = 20
"Of nested parentheses."

FUNCTIONS = {
    "average": (1, CHUNK, "average(a, b, …)"),
    "concat": (1, CHUNK, "concat(a, b, …)"),
    "drop_zeros": (1, 1, "drop_zeros(a)"),
    "norm": (1, 2, "norm(a), norm(a, 0.4), norm(a, like b)"),
    "reduce": (2, 2, "reduce(a, 4)"),
    "spread": (2, 2, "spread(a, 4)"),
}
"Minimum and maximum number of arguments, and usage, by function."
_INDEX_HINT = msg("Write [0] for the first vector or [0:2] for the first two.")


def parse(expression: str) -> Node:
    """Parse a formula into its syntax tree.

    Raises:
        InvalidExpression: The formula is not valid; the error has the column.
    """
    if len(expression) > MAX_CHARACTERS:
        message = msg(
            "the formula has {length} characters; at most {limit} are allowed.", length=len(expression), limit=MAX_CHARACTERS
        )
        raise InvalidExpression(message, expression=expression[:MAX_CHARACTERS], column=MAX_CHARACTERS + 1)
    return _Parser(expression).whole_formula()


class _Parser:
    """Recursive descent parser with one method per rule of the grammar."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = [*tokens_of(expression)]
        self._at = 0
        self._depth = 0

    def whole_formula(self) -> Node:
        if self._now.kind == "end":
            self._fail(msg("the formula is empty."), msg('Enter a formula, such as my-cat + 0.5 * "red".'))
        node = self._formula()
        if self._now.kind != "end":
            self._unexpected()
        return node

    def _formula(self) -> Node:
        column = self._now.column
        parts = [self._sum()]
        while self._take("&"):
            parts.append(self._sum())
        return parts[0] if len(parts) == 1 else Concat(tuple(parts), column)

    def _sum(self) -> Node:
        column = self._now.column
        terms = [(1, self._product())]
        while self._now.kind in ("+", "-"):
            sign = 1 if self._next().kind == "+" else -1
            terms.append((sign, self._product()))
        return terms[0][1] if len(terms) == 1 else Sum(tuple(terms), column)

    def _product(self) -> Node:
        column = self._now.column
        factors = [("*", self._signed())]
        while self._now.kind in ("*", "/"):
            operator = self._next().kind
            factors.append((operator, self._signed()))
        return factors[0][1] if len(factors) == 1 else Product(tuple(factors), column)

    def _signed(self) -> Node:
        column, sign = self._now.column, 1
        while self._now.kind in ("+", "-"):
            sign *= 1 if self._next().kind == "+" else -1
        part = self._part()
        return part if sign == 1 else Sum(((-1, part),), column)

    def _part(self) -> Node:
        value = self._value()
        return self._slice(value) if self._now.kind == "[" else value

    def _slice(self, of: Node) -> Node:
        column = self._next().column
        start = self._index()
        if self._take(":"):
            node = Slice(of, start, self._index(), column)
        elif start is None:
            self._fail(msg("the index is missing."), _INDEX_HINT)
        else:
            node = Slice(of, start, start + 1 or None, column)
        self._expect("]")
        return node

    def _index(self) -> int | None:
        sign = -1 if self._take("-") else 1
        if sign == 1 and self._now.kind in (":", "]"):
            return None
        if self._now.kind != "number" or not self._now.text.isdecimal():
            self._fail(msg("an index must be a whole number."), _INDEX_HINT)
        return sign * int(self._next().text)

    def _value(self) -> Node:
        token = self._now
        if token.kind == "number":
            return Number(float(self._next().text), token.column)
        if token.kind == "text":
            return Text(self._next().text, token.column)
        if token.kind in ("name", "word"):
            self._next()
            called = token.kind == "word" and self._now.kind == "("
            return self._call(token) if called else EmbeddingName(token.text, token.column)
        if token.kind == "(":
            self._open()
            node = self._formula()
            self._close()
            return node
        return self._unexpected()

    def _call(self, name: FormulaToken) -> Node:
        if name.text not in FUNCTIONS:
            self._at -= 1
            self._fail(
                msg('there is no function "{name}".', name=name.text),
                msg("Available functions: {names}.", names=joined(FUNCTIONS)),
            )
        fewest, most, usage = FUNCTIONS[name.text]
        self._open()
        arguments: list[Node] = []
        while True:
            arguments.append(self._argument(name.text, len(arguments)))
            if not self._take(","):
                break
        self._close()
        if not fewest <= len(arguments) <= most:
            problem = plural(
                "{function} does not take {count} argument.",
                "{function} does not take {count} arguments.",
                len(arguments),
                function=name.text,
            )
            self._fail(problem, msg("Usage: {usage}.", usage=usage), name.column)
        return Call(name.text, tuple(arguments), name.column)

    def _argument(self, function: str, index: int) -> Node:
        token = self._now
        follows = self._tokens[self._at + 1].kind if token.kind != "end" else "end"
        if (token.kind, token.text) == ("word", "like") and follows in ("name", "word", "text", "("):
            if (function, index) != ("norm", 1):
                self._fail(msg('"like" can be used only in norm.'), msg("Usage: {usage}.", usage=FUNCTIONS["norm"][2]))
            self._next()
            return Like(self._formula(), token.column)
        return self._formula()

    @property
    def _now(self) -> FormulaToken:
        return self._tokens[self._at]

    def _next(self) -> FormulaToken:
        token = self._now
        self._at += 1
        return token

    def _take(self, kind: str) -> bool:
        if self._now.kind != kind:
            return False
        self._at += 1
        return True

    def _open(self) -> None:
        if self._depth == MAX_DEPTH:
            self._fail(
                msg("parentheses are nested more than {limit} deep.", limit=MAX_DEPTH),
                msg("Simplify the formula, or save a part of it as an embedding first."),
            )
        self._depth += 1
        self._expect("(")

    def _close(self) -> None:
        self._expect(")")
        self._depth -= 1

    def _expect(self, kind: str) -> None:
        if not self._take(kind):
            self._unexpected(kind)

    def _unexpected(self, expected: str = "") -> NoReturn:
        """Raise an error for the current token; `expected` is the symbol that should be there, if only one is possible."""
        token = self._now
        if token.kind == "end" and expected:
            self._fail(msg('the formula ends where "{symbol}" is expected.', symbol=expected))
        if token.kind == "end":
            self._fail(msg("the formula is incomplete."))
        values = ("number", "text", "name", "word")
        after_value = self._at > 0 and self._tokens[self._at - 1].kind in (*values, ")", "]")
        if token.kind in (*values, "(") and after_value:
            hint = msg("Put names with spaces in single quotes, texts in double quotes, and spaces around operators.")
            self._fail(msg('an operator is missing before "{text}".', text=token.text), hint)
        if expected:
            self._fail(msg('unexpected "{text}"; "{symbol}" is expected here.', text=token.text, symbol=expected))
        self._fail(msg('unexpected "{text}".', text=token.text))

    def _fail(self, message: Message, hint: Message = NOTHING, column: int = 0) -> NoReturn:
        raise InvalidExpression(message, hint, expression=self._expression, column=column or self._now.column)
