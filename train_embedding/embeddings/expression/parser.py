"""The grammar of formulas over embeddings: text in, a syntax tree out, and every error with its column.

    formula   = sum { "&" sum }                         one after the other
    sum       = product { ("+" | "-") product }
    product   = signed { ("*" | "/") signed }
    signed    = { "+" | "-" } part
    part      = value [ "[" place "]" ]                 vectors by their places, from 0
    place     = number | [ number ] ":" [ number ]
    value     = number | name | text | function "(" argument { "," argument } ")" | "(" formula ")"
    argument  = formula | "like" formula
    name      = 'in single quotes' | a word without spaces, quotes or any of ( ) [ ] , : * / &
    text      = "in double quotes"

A dash or plus inside a word belongs to the word, as in my-cat; an operator has a space before it. Nothing is evaluated here.
"""

from __future__ import annotations

from typing import NoReturn

from train_embedding.embeddings.expression.nodes import Call, Concat, EmbeddingName, Like, Node, Number, Product, Slice, Sum, Text
from train_embedding.embeddings.expression.tokens import FormulaToken, tokens_of
from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.errors import InvalidExpression

MAX_CHARACTERS = 2000
MAX_DEPTH = 20
"Brackets within brackets."

FUNCTIONS = {
    "average": (1, CHUNK, "average(a, b, …)"),
    "concat": (1, CHUNK, "concat(a, b, …)"),
    "drop_zeros": (1, 1, "drop_zeros(a)"),
    "norm": (1, 2, "norm(a), norm(a, 0.4) or norm(a, like b)"),
    "reduce": (2, 2, "reduce(a, 4)"),
    "spread": (2, 2, "spread(a, 4)"),
}
"Per function the fewest and the most arguments, and how it is written."


def parse(expression: str) -> Node:
    """Parse a formula into its syntax tree.

    Raises:
        InvalidExpression: With the column at fault.
    """
    if len(expression) > MAX_CHARACTERS:
        message = f"the formula has {len(expression)} characters; at most {MAX_CHARACTERS} are allowed."
        raise InvalidExpression(message, expression=expression[:MAX_CHARACTERS], column=MAX_CHARACTERS + 1)
    return _Parser(expression).formula_alone()


class _Parser:
    """Recursive descent over the tokens; one method per rule of the grammar."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = [*tokens_of(expression)]
        self._at = 0
        self._depth = 0

    def formula_alone(self) -> Node:
        if self._now.kind == "end":
            self._fail("there is nothing to compute.", 'Write something such as: my-cat + 0.5 * "red"')
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
        start = self._place()
        if self._take(":"):
            node = Slice(of, start, self._place(), column)
        elif start is None:
            self._fail("a place is missing.", "Write [0] for the first vector, [0:2] for the first two.")
        else:
            node = Slice(of, start, start + 1 or None, column)
        self._expect("]")
        return node

    def _place(self) -> int | None:
        sign = -1 if self._take("-") else 1
        if sign == 1 and self._now.kind in (":", "]"):
            return None
        if self._now.kind != "number" or not self._now.text.isdecimal():
            self._fail("a place must be a whole number.", "Write [0] for the first vector, [0:2] for the first two.")
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
            self._fail(f'there is no function "{name.text}".', f"Functions are {', '.join(FUNCTIONS)}.")
        fewest, most, written = FUNCTIONS[name.text]
        self._open()
        arguments: list[Node] = []
        while True:
            arguments.append(self._argument(name.text, len(arguments)))
            if not self._take(","):
                break
        self._close()
        if not fewest <= len(arguments) <= most:
            self._fail(f"{name.text} takes other arguments than these {len(arguments)}.", f"Write {written}.", name.column)
        return Call(name.text, tuple(arguments), name.column)

    def _argument(self, function: str, place: int) -> Node:
        token = self._now
        follows = self._tokens[self._at + 1].kind if token.kind != "end" else "end"
        if (token.kind, token.text) == ("word", "like") and follows in ("name", "word", "text", "("):
            if (function, place) != ("norm", 1):
                self._fail('"like" stands in norm only.', f"Write {FUNCTIONS['norm'][2]}.")
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
            self._fail(f"more than {MAX_DEPTH} brackets are open.", "Write a simpler formula, or save a part of it first.")
        self._depth += 1
        self._expect("(")

    def _close(self) -> None:
        self._expect(")")
        self._depth -= 1

    def _expect(self, kind: str) -> None:
        if not self._take(kind):
            self._unexpected(f'"{kind}"')

    def _unexpected(self, wanted: str = "") -> NoReturn:
        token = self._now
        if token.kind == "end":
            self._fail(f"the formula ends where {wanted or 'something'} should follow.")
        values = ("number", "text", "name", "word")
        after_value = self._at > 0 and self._tokens[self._at - 1].kind in (*values, ")", "]")
        if token.kind in (*values, "(") and after_value:
            hint = "Names with spaces stand in single quotes, texts in double ones; operators need a space on both sides."
            self._fail(f'an operator is missing before "{token.text}".', hint)
        self._fail(f'"{token.text}" cannot stand here{f"; {wanted} should" if wanted else ""}.')

    def _fail(self, message: str, hint: str = "", column: int = 0) -> NoReturn:
        raise InvalidExpression(message, hint, expression=self._expression, column=column or self._now.column)
