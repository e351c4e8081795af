"""Prompts that change while an image is drawn, as in WebUI 1.10.1: `[before:after:when]` and `[one|other]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from train_embedding.engine.prompts.attention_syntax import extract_networks, remove_comments, split_at_and
from train_embedding.errors import InvalidInput

DEEPEST = 50
"Brackets within brackets that are read."
MANY_STEPS = 1000
"Sampling steps over which a prompt is looked at that is to be one text."
_PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
_STRAY = "[]():"
"What stands for itself where it belongs to no bracket; a stray bar or backslash makes the WebUI read the whole prompt as it is."
_WHEN = re.compile(r":\s*([+-]?(?:\d+[eE][+-]?\d+|(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+))\s*\]", re.ASCII)


@dataclass(frozen=True)
class ScheduledPrompt:
    """One of the texts that AND joins, each predicted on its own. texts: the different ones it becomes."""

    weight: float
    texts: tuple[str, ...]
    index: tuple[int, ...]
    "Which of `texts` each sampling step takes."


@dataclass(frozen=True)
class _Change:
    """`[before:after:when]`; when: a step, or a part of all where it has a point."""

    before: Sequence[_Part]
    after: Sequence[_Part]
    when: str

    def at(self, step: int, steps: int) -> str:
        number = float(self.when) * (steps if "." in self.when else 1)
        return _text(self.before if step <= int(min(steps, number)) else self.after, step, steps)


@dataclass(frozen=True)
class _Turns:
    """`[one|other|…]`: each step takes the next."""

    options: Sequence[Sequence[_Part]]

    def at(self, step: int, steps: int) -> str:
        return _text(self.options[(step - 1) % len(self.options)], step, steps)


@dataclass(frozen=True)
class _Emphasis:
    """Brackets that only weigh; they stay as they are."""

    inside: Sequence[_Part]

    def at(self, step: int, steps: int) -> str:
        return _text(self.inside, step, steps)


_Part = str | _Change | _Turns | _Emphasis


def schedule_prompt(prompt: str, steps: int) -> list[ScheduledPrompt]:
    """A prompt over so many sampling steps. Raises InvalidInput where too many brackets are open."""
    text = extract_networks(remove_comments(prompt))[0]
    return [_planned(part, weight, steps) for part, weight in split_at_and(text)]


def schedule_negative_prompt(prompt: str, steps: int) -> ScheduledPrompt:
    """A negative prompt, in which the WebUI reads AND and `<lora:…>` as text."""
    return _planned(remove_comments(prompt), 1.0, steps)


def single_text(prompt: str) -> str:
    """A prompt that is one text at every step, without comments and networks. Raises InvalidInput for any other."""
    text = extract_networks(remove_comments(prompt))[0]
    (first, _weight), *others = split_at_and(text)
    if others:
        raise InvalidInput(
            "The prompt to distil joins several prompts with AND; there is no single prediction to learn.",
            "Distil one of them, or put a comma in place of AND.",
        )
    if changes_over_steps(first, MANY_STEPS):
        raise InvalidInput(
            "The prompt to distil changes while an image is drawn ([before:after:when] or [one|other]); an embedding cannot.",
            "Write one of its texts in place of the brackets.",
        )
    return text_at_step(first, 1, MANY_STEPS)


def text_at_step(prompt: str, step: int, steps: int) -> str:
    """What the prompt says at a step, from 1, of so many steps. Raises InvalidInput where too many brackets are open."""
    parts = _read(prompt)
    return prompt if parts is None else _text(parts, step, steps)


def changes_over_steps(prompt: str, steps: int) -> bool:
    """Whether it says different things at different steps."""
    parts = _read(prompt)
    return parts is not None and len({_text(parts, step, steps) for step in range(1, steps + 1)}) > 1


def has_unmatched_brackets(prompt: str) -> bool:
    """Whether a bracket has no partner. Beside one, the WebUI at times takes `[before:after:when]` for plain text."""
    return any(part in ("(", ")", "[", "]") for part in _read(prompt) or ())


def _planned(text: str, weight: float, steps: int) -> ScheduledPrompt:
    if not changes_over_steps(text, steps):
        return ScheduledPrompt(weight, (text_at_step(text, 1, steps),), (0,) * steps)
    said = [
        text_at_step(text, max(step, 1), steps) for step in range(steps)
    ]  # the WebUI counts from 0, and its first two are alike
    texts = tuple(dict.fromkeys(said))
    return ScheduledPrompt(weight, texts, tuple(texts.index(one) for one in said))


def _read(prompt: str) -> list[_Part] | None:
    """The prompt's parts, None where the WebUI cannot read it and takes it as it is."""
    reader = _Reader(prompt)
    parts: list[_Part] = []
    position = 0
    while position < len(prompt):
        found, position = reader.parts(position)
        parts += found
        if position < len(prompt):
            if prompt[position] not in _STRAY:
                return None
            parts.append(prompt[position])
            position += 1
    return parts


class _Reader:
    """Reads brackets that match; what was read at a place is kept, for brackets that turn out not to match."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._known: dict[int, tuple[_Part, int] | None] = {}
        self._depth = 0

    def parts(self, position: int) -> tuple[list[_Part], int]:
        """Text and matching brackets as far as they go, and where they end."""
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
        if start not in self._known:
            if self._depth == DEEPEST:
                raise InvalidInput(f"More than {DEEPEST} brackets are open at character {start + 1} of the prompt.")
            read = self._round if self._prompt[start] == "(" else self._square
            self._depth += 1
            self._known[start] = read(start)
            self._depth -= 1
        return self._known[start]

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
            return self._turns(first, end)
        if when := _WHEN.match(self._prompt, end):
            return _Change([], first, when[1]), when.end()
        if self._next(end) == ":":
            second, end = self.parts(end + 1)
            if when := _WHEN.match(self._prompt, end):
                return _Change(first, second, when[1]), when.end()
        return None

    def _turns(self, first: list[_Part], end: int) -> tuple[_Part, int] | None:
        options = [first]
        while self._next(end) == "|":
            option, end = self.parts(end + 1)
            options.append(option)
        return (_Turns(options), end + 1) if self._next(end) == "]" else None

    def _next(self, position: int) -> str:
        return self._prompt[position : position + 1]


def _text(parts: Sequence[_Part], step: int, steps: int) -> str:
    return "".join(part if isinstance(part, str) else part.at(step, steps) for part in parts)
