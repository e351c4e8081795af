"""The WebUI's prompt syntax for comments, extra networks, AND, attention weights and BREAK, as in WebUI 1.10.1."""

from __future__ import annotations

import re

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg

BREAK = ("BREAK", -1.0)
"The piece that ends a chunk of 75 tokens."
BRACKET_FACTOR = 1.1
"Weight of `(text)`, and the inverse of that of `[text]`."

_COMMENT_LINE = re.compile(r"(^|\n)#[^\n]*(\n|$)")
_COMMENT = re.compile(r"#[^\n]*(\n|$)")
_NETWORK = re.compile(r"<\w+:[^>]+>")
_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"[-+]?(?:\d+\.?|\d*\.\d+)")
_BREAK = re.compile(r"\bBREAK\b")
_PIECE = re.compile(
    r"\\(?P<escaped>[()\[\]\\]?)|(?P<opening>[(\[])|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|(?P<closing>[)\]])|[^\\()\[\]:]+|:"
)
_OPENING_OF = {")": "(", "]": "["}


def remove_comments(prompt: str) -> str:
    """Remove comments, from a "#" to the end of the line."""
    return _COMMENT.sub("\n", _COMMENT_LINE.sub("\n", prompt))


def extract_networks(prompt: str) -> tuple[str, tuple[str, ...]]:
    """Split a prompt into its text and its extra networks, such as `<lora:…>`."""
    return _NETWORK.sub("", prompt), tuple(match[0] for match in _NETWORK.finditer(prompt))


def split_at_and(prompt: str) -> list[tuple[str, float]]:
    """Split a prompt at AND, as in "a cat :1.2 AND a dog", into prompts that are encoded separately, with their weights."""
    parts: list[tuple[str, float]] = []
    for part in _AND.split(prompt):
        text, colon, weight = part.rpartition(":")
        weighs = colon and _WEIGHT.fullmatch(weight.strip())
        parts.append((text.rstrip(), float(weight)) if weighs else (part.rstrip(), 1.0))
    return parts


def parse_attention(prompt: str) -> list[tuple[str, float]]:
    """Parse the attention weights of a prompt.

    `(a)` has weight 1.1, `(a:1.3)` 1.3 and `[a]` 1/1.1. The weights of nested brackets are multiplied. An unclosed bracket
    extends to the end of the prompt.

    Args:
        prompt: A prompt without comments, extra networks and AND.

    Returns:
        Pieces of text without brackets, each with its weight. BREAK is a separate piece.

    Raises:
        InvalidInput: A weight is not a number; the WebUI fails on it too.
    """
    pieces: list[list[str | float]] = []
    opened: list[tuple[str, int]] = []  # each open bracket and its first piece
    for match in _PIECE.finditer(prompt):
        bracket = "(" if match["weight"] else _OPENING_OF.get(match["closing"] or "", "")
        inside = next((place for place in reversed(opened) if place[0] == bracket), None)
        if match["escaped"] is not None:
            pieces.append([match["escaped"], 1.0])
        elif match["opening"]:
            opened.append((match["opening"], len(pieces)))
        elif inside is not None:
            del opened[len(opened) - 1 - opened[::-1].index(inside)]
            _multiply(pieces[inside[1] :], _number(match["weight"]) if match["weight"] else _factor(bracket))
        else:
            first, *others = _BREAK.split(match[0])
            pieces.append([first.rstrip() if others else first, 1.0])
            for index, text in enumerate(others):
                pieces += [[*BREAK], [text.lstrip() if index == len(others) - 1 else text.strip(), 1.0]]
    for bracket in ("(", "["):
        for _, first in (place for place in opened if place[0] == bracket):
            _multiply(pieces[first:], _factor(bracket))
    return _merge_equal_weights(pieces) or [("", 1.0)]


def split_at_commas(prompt: str) -> list[str]:
    """Split a prompt at commas outside matched brackets, as in `(red, blue:1.2), star`."""
    parts = [""]
    opened: list[tuple[str, int]] = []  # each open bracket and the part in which it begins
    for mark in re.findall(r"\\.|[()\[\],]|[^\\()\[\],]+|\\", prompt):
        if mark == ",":
            parts.append("")
            continue
        parts[-1] += mark
        if mark in ("(", "["):
            opened.append((mark, len(parts) - 1))
        elif mark in _OPENING_OF:
            bracket, first = opened.pop() if opened else ("", 0)
            if bracket == _OPENING_OF[mark]:
                parts[first:] = [",".join(parts[first:])]
    return parts


def escape_prompt(text: str) -> str:
    """Escape brackets and backslashes, so that the prompt means this text."""
    return re.sub(r"[()\[\]\\]", r"\\\g<0>", text)


def _factor(bracket: str) -> float:
    return BRACKET_FACTOR if bracket == "(" else 1 / BRACKET_FACTOR


def _multiply(pieces: list[list[str | float]], factor: float) -> None:
    for piece in pieces:
        piece[1] = float(piece[1]) * factor


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(
            msg('"{weight}" is not a number.', weight=text),
            msg(r"Fix the weight, or write \( and \) for literal brackets."),
        ) from error


def _merge_equal_weights(pieces: list[list[str | float]]) -> list[tuple[str, float]]:
    """Merge adjacent pieces of equal weight, because the name of an embedding may span them."""
    merged: list[tuple[str, float]] = []
    for text, weight in pieces:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + str(text), merged[-1][1])
        else:
            merged.append((str(text), float(weight)))
    return merged
