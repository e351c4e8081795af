"""Prompt editing as in WebUI 1.10.1: `[before:after:when]` and `[first|second]` change a prompt over the sampling steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from train_embedding.engine.prompts.attention_syntax import extract_networks, remove_comments, split_at_and
from train_embedding.errors import InvalidInput
from train_embedding.messages import msg

DEEPEST = 50
"Limit for the nesting of brackets."
MANY_STEPS = 1000
"Number of sampling steps over which `single_text` compares a prompt."
_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
_STRAY = "[]():"
"Characters that are literal outside matched brackets. With a stray bar or backslash, the WebUI takes the whole prompt literally."
_WHEN = re.compile(r":\s*([+-]?(?:\d+[eE][+-]?\d+|(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+))\s*\]", re.ASCII)


@dataclass(frozen=True)
class ScheduledPrompt:
    """The texts of a prompt, or of a part between ANDs, over the sampling steps.

    Attributes:
        weight: Weight of the part; 1 without AND.
        texts: All different texts.
        index: Index into `texts` for each sampling step.
    """

    weight: float
    texts: tuple[str, ...]
    index: tuple[int, ...]


@dataclass(frozen=True)
class _Change:
    """`[before:after:when]`.

    Attributes:
        before: Parts up to the step.
        after: Parts after the step.
        when: A step or, with a decimal point, a fraction of all steps.
    """

    before: Sequence[_Part]
    after: Sequence[_Part]
    when: str

    def at(self, step: int, steps: int) -> str:
        number = float(self.when) * (steps if "." in self.when else 1)
        return _text(self.before if step <= int(min(steps, number)) else self.after, step, steps)


@dataclass(frozen=True)
class _Alternation:
    """`[first|second|…]`: each step uses the next option."""

    options: Sequence[Sequence[_Part]]

    def at(self, step: int, steps: int) -> str:
        return _text(self.options[(step - 1) % len(self.options)], step, steps)


@dataclass(frozen=True)
class _Emphasis:
    """Brackets with an attention weight, which stay in the text."""

    inside: Sequence[_Part]

    def at(self, step: int, steps: int) -> str:
        return _text(self.inside, step, steps)


_Part = str | _Change | _Alternation | _Emphasis


def schedule_prompt(prompt: str, steps: int) -> list[ScheduledPrompt]:
    """Resolve a prompt for each of `steps` sampling steps. Raises InvalidInput if brackets are nested too deeply."""
    text = extract_networks(remove_comments(prompt))[0]
    return [_schedule(part, weight, steps) for part, weight in split_at_and(text)]


def schedule_negative_prompt(prompt: str, steps: int) -> ScheduledPrompt:
    """Resolve a negative prompt, in which AND and `<lora:…>` are text."""
    return _schedule(remove_comments(prompt), 1.0, steps)


def single_text(prompt: str) -> str:
    """Return a prompt without comments and extra networks.

    Raises:
        InvalidInput: The prompt is not the same text at every step, or contains AND.
    """
    text = extract_networks(remove_comments(prompt))[0]
    (first, _weight), *others = split_at_and(text)
    if others:
        raise InvalidInput(
            msg("The prompt to pack contains AND, which combines several prompts."),
            msg("Pack only one of them, or replace AND by a comma."),
        )
    if changes_over_steps(first, MANY_STEPS):
        raise InvalidInput(
            msg(
                "The prompt to pack changes over the sampling steps ([before:after:when] or [a|b]), which an embedding cannot do."
            ),
            msg("Replace the brackets by one of their texts."),
        )
    return text_at_step(first, 1, MANY_STEPS)


def text_at_step(prompt: str, step: int, steps: int) -> str:
    """Resolve a prompt at a step, counted from 1, of `steps`. Raises InvalidInput if brackets are nested too deeply."""
    parts = _parse(prompt)
    return prompt if parts is None else _text(parts, step, steps)


def changes_over_steps(prompt: str, steps: int) -> bool:
    """Return whether a prompt changes over the sampling steps."""
    parts = _parse(prompt)
    return parts is not None and len({_text(parts, step, steps) for step in range(1, steps + 1)}) > 1


def has_unmatched_brackets(prompt: str) -> bool:
    """Return whether a prompt has unmatched brackets. The WebUI then may take `[before:after:when]` literally."""
    return any(part in ("(", ")", "[", "]") for part in _parse(prompt) or ())


def _schedule(text: str, weight: float, steps: int) -> ScheduledPrompt:
    if not changes_over_steps(text, steps):
        return ScheduledPrompt(weight, (text_at_step(text, 1, steps),), (0,) * steps)
    resolved = [
        text_at_step(text, max(step, 1), steps) for step in range(steps)
    ]  # the WebUI counts from 0; its first two steps use the same text
    texts = tuple(dict.fromkeys(resolved))
    return ScheduledPrompt(weight, texts, tuple(texts.index(text) for text in resolved))


def _parse(prompt: str) -> list[_Part] | None:
    """Parse a prompt; None if the WebUI cannot parse it and takes it literally."""
    parser = _Parser(prompt)
    parts: list[_Part] = []
    position = 0
    while position < len(prompt):
        found, position = parser.parts(position)
        parts += found
        if position < len(prompt):
            if prompt[position] not in _STRAY:
                return None
            parts.append(prompt[position])
            position += 1
    return parts


class _Parser:
    """Recursive descent parser with memoization: each bracket is parsed once, even if an outer bracket is unmatched.

    The WebUI uses a grammar for lark's Earley parser, whose time grows with the square of the length: 20 seconds for 18,000
    characters with unmatched brackets. This parser takes 0.1 seconds.
    """

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._parsed: dict[int, tuple[_Part, int] | None] = {}
        self._depth = 0

    def parts(self, position: int) -> tuple[list[_Part], int]:
        """Parse text and matched brackets from a position. Return the parts and the position after them."""
        parts: list[_Part] = []
        while position < len(self._prompt):
            if self._prompt[position] in "([":
                found = self._bracket(position)
                if found is None:
                    break
                part, position = found
                parts.append(part)
            elif plain := _PLAIN.match(self._prompt, position):
                parts.append(plain[0])
                position = plain.end()
            else:
                break
        return parts, position

    def _bracket(self, start: int) -> tuple[_Part, int] | None:
        if start not in self._parsed:
            if self._depth == DEEPEST:
                raise InvalidInput(
                    msg(
                        "More than {most} brackets are open at character {position} of the prompt.",
                        most=DEEPEST,
                        position=start + 1,
                    )
                )
            read = self._round if self._prompt[start] == "(" else self._square
            self._depth += 1
            self._parsed[start] = read(start)
            self._depth -= 1
        return self._parsed[start]

    def _round(self, start: int) -> tuple[_Part, int] | None:
        inside, end = self.parts(start + 1)
        if self._next(end) == ":":
            weight, end = self.parts(end + 1)
            inside = [*inside, ":", *weight]
        return (_Emphasis(["(", *inside, ")"]), end + 1) if self._next(end) == ")" else None

    def _square(self, start: int) -> tuple[_Part, int] | None:
        first, end = self.parts(start + 1)
        if self._next(end) == "]":
            return _Emphasis(["[", *first, "]"]), end + 1
        if self._next(end) == "|":
            return self._alternation(first, end)
        if when := _WHEN.match(self._prompt, end):
            return _Change([], first, when[1]), when.end()
        if self._next(end) == ":":
            second, end = self.parts(end + 1)
            if when := _WHEN.match(self._prompt, end):
                return _Change(first, second, when[1]), when.end()
        return None

    def _alternation(self, first: list[_Part], end: int) -> tuple[_Part, int] | None:
        options = [first]
        while self._next(end) == "|":
            option, end = self.parts(end + 1)
            options.append(option)
        return (_Alternation(options), end + 1) if self._next(end) == "]" else None

    def _next(self, position: int) -> str:
        return self._prompt[position : position + 1]


def _text(parts: Sequence[_Part], step: int, steps: int) -> str:
    return "".join(part if isinstance(part, str) else part.at(step, steps) for part in parts)
