"""Tokenizer for formulas over embeddings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from train_embedding.errors import InvalidExpression
from train_embedding.messages import NOTHING, Message, msg

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SYMBOLS = "+-*/&()[]:,"
_ENDS_WORD = frozenset("()[]{}<>:|,*?\\/&\"'")
_CURLY = "“”„‟«»"


@dataclass(frozen=True)
class FormulaToken:
    """One token of a formula."""

    kind: str
    '"number", "text" (in double quotes), "name" (in single quotes), "word" (without quotes), "end", or a symbol.'
    text: str
    column: int
    "Position of its first character, from 1."


def tokens_of(expression: str) -> Iterator[FormulaToken]:
    """Split a formula into tokens; the last one has the kind "end".

    Raises:
        InvalidExpression: A character is not allowed, or a quote is not closed.
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
    """Return a name as it is written in a formula: in single quotes if necessary."""
    bare = name != "like" and name[:1] not in ("+", "-", ".", *_CURLY) and not _NUMBER.fullmatch(name)
    if bare and name and not any(letter in _ENDS_WORD or letter.isspace() for letter in name):
        return name
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _quoted_token(expression: str, start: int) -> tuple[FormulaToken, int]:
    r"""Read a text or name in quotes, in which \' \" and \\ are escapes; return it with the position after it."""
    quote, text, position = expression[start], "", start + 1
    kind = "text" if quote == '"' else "name"
    while position < len(expression) and expression[position] != quote:
        if expression[position] == "\\" and expression[position + 1 : position + 2] in ("\\", "'", '"'):
            position += 1
        text += expression[position]
        position += 1
    if position == len(expression):
        _refuse(expression, start, msg("the closing {quote} is missing.", quote=quote))
    if not text.strip():
        _refuse(expression, start, msg("the text is empty.") if kind == "text" else msg("the name is empty."))
    return FormulaToken(kind, text, start + 1), position + 1


def _word(expression: str, start: int) -> tuple[FormulaToken, int]:
    """Read a number or a word without quotes; return it with the position after it."""
    end = start
    while end < len(expression) and expression[end] not in _ENDS_WORD and not expression[end].isspace():
        letter = expression[end]
        if unicodedata.category(letter) in ("Cc", "Cs"):
            _refuse(expression, end, msg("the control character {code} is not allowed.", code=f"U+{ord(letter):04X}"))
        if letter in _CURLY and end == start:
            problem = msg("{quote} is not supported as a quotation mark.", quote=letter)
            _refuse(expression, end, problem, msg("Use straight quotes, as in \"red\" or 'my cat'."))
        end += 1
    if end == start:
        _refuse(expression, start, msg('unexpected "{text}".', text=expression[start]))
    text = expression[start:end]
    if text[0] == "." and not _NUMBER.fullmatch(text):
        _refuse(expression, start, msg('"{text}" is neither a number nor a name.', text=text))
    return FormulaToken("number" if _NUMBER.fullmatch(text) else "word", text, start + 1), end


def _refuse(expression: str, position: int, message: Message, hint: Message = NOTHING) -> NoReturn:
    raise InvalidExpression(message, hint, expression=expression, column=position + 1)
