"""Splits a formula over embeddings into tokens, each with its column."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from train_embedding.errors import InvalidExpression

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SYMBOLS = "+-*/&()[]:,"
_ENDS_WORD = frozenset("()[]{}<>:|,*?\\/&\"'")
_CURLY = "“”„‟«»"


@dataclass(frozen=True)
class FormulaToken:
    """One token of a formula."""

    kind: str
    '"number", "text" (in double quotes), "name" (in single ones), "word" (bare), "end", or a symbol itself.'
    text: str
    column: int


def tokens_of(expression: str) -> Iterator[FormulaToken]:
    """Split a formula into tokens, the last of kind "end".

    Raises:
        InvalidExpression: Where a character cannot be read.
    """
    position = 0
    while position < len(expression):
        letter = expression[position]
        if letter.isspace():
            position += 1
            continue
        if letter in "\"'":
            token, position = _quoted_token(expression, position)
        elif letter in _SYMBOLS:
            token, position = FormulaToken(letter, letter, position + 1), position + 1
        else:
            token, position = _word(expression, position)
        yield token
    yield FormulaToken("end", "", len(expression) + 1)


def quote_name(name: str) -> str:
    """Write a name as a formula reads it: bare where that is unambiguous, else in single quotes."""
    bare = name != "like" and name[:1] not in ("+", "-", ".", *_CURLY) and not _NUMBER.fullmatch(name)
    if bare and name and not any(letter in _ENDS_WORD or letter.isspace() for letter in name):
        return name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _quoted_token(expression: str, start: int) -> tuple[FormulaToken, int]:
    r"""What stands in quotes; \' \" and \\ are the characters themselves."""
    quote, text, position = expression[start], "", start + 1
    kind = "text" if quote == '"' else "name"
    while position < len(expression) and expression[position] != quote:
        if expression[position] == "\\" and expression[position + 1 : position + 2] in ("\\", "'", '"'):
            position += 1
        text += expression[position]
        position += 1
    if position == len(expression):
        _refuse(expression, start, f"this {quote} is never closed.", f"Put another {quote} after the {kind}.")
    if not text.strip():
        _refuse(expression, start, f"the {kind} is empty.", "")
    return FormulaToken(kind, text, start + 1), position + 1


def _word(expression: str, start: int) -> tuple[FormulaToken, int]:
    end = start
    while end < len(expression) and expression[end] not in _ENDS_WORD and not expression[end].isspace():
        letter = expression[end]
        if unicodedata.category(letter) in ("Cc", "Cs"):
            _refuse(expression, end, f"the control character U+{ord(letter):04X} cannot stand here.", "")
        if letter in _CURLY and end == start:
            _refuse(expression, end, f"{letter} is no quotation mark here.", "Write straight ones, \"red\" or 'my cat'.")
        end += 1
    if end == start:
        _refuse(expression, start, f"{expression[start]} cannot stand here.", "")
    text = expression[start:end]
    if text[0] == "." and not _NUMBER.fullmatch(text):
        _refuse(expression, start, f'"{text}" is neither a number nor a name.', "")
    return FormulaToken("number" if _NUMBER.fullmatch(text) else "word", text, start + 1), end


def _refuse(expression: str, position: int, message: str, hint: str) -> NoReturn:
    raise InvalidExpression(message, hint, expression=expression, column=position + 1)
