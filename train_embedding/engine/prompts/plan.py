"""What a prompt says at each sampling step, as in WebUI 1.10.1: without comments and networks, split at AND, changes resolved."""

from __future__ import annotations

from dataclasses import dataclass

from train_embedding.engine.prompts.attention_syntax import split_at_and, without_comments, without_networks
from train_embedding.engine.prompts.prompt_editing import at_step, changes
from train_embedding.errors import InvalidInput

MANY_STEPS = 1000
"Sampling steps over which a prompt is looked at that is to be one text."


@dataclass(frozen=True)
class PlannedText:
    """One of the texts that AND joins, each predicted on its own. texts: the different ones it becomes."""

    weight: float
    texts: tuple[str, ...]
    index: tuple[int, ...]
    "Which of `texts` each sampling step takes."


def plan(prompt: str, steps: int) -> list[PlannedText]:
    """A prompt over so many sampling steps. Raises InvalidInput where too many brackets are open."""
    text = without_networks(without_comments(prompt))[0]
    return [_planned(part, weight, steps) for part, weight in split_at_and(text)]


def plan_negative(prompt: str, steps: int) -> PlannedText:
    """A negative prompt, in which the WebUI reads AND and `<lora:…>` as text."""
    return _planned(without_comments(prompt), 1.0, steps)


def single_text(prompt: str) -> str:
    """A prompt that is one text at every step, without comments and networks. Raises InvalidInput for any other."""
    text = without_networks(without_comments(prompt))[0]
    (first, _weight), *others = split_at_and(text)
    if others:
        raise InvalidInput(
            "The prompt to distil joins several prompts with AND; there is no single prediction to learn.",
            "Distil one of them, or put a comma in place of AND.",
        )
    if changes(first, MANY_STEPS):
        raise InvalidInput(
            "The prompt to distil changes while an image is drawn ([before:after:when] or [one|other]); an embedding cannot.",
            "Write one of its texts in place of the brackets.",
        )
    return at_step(first, 1, MANY_STEPS)


def _planned(text: str, weight: float, steps: int) -> PlannedText:
    if not changes(text, steps):
        return PlannedText(weight, (at_step(text, 1, steps),), (0,) * steps)
    said = [at_step(text, max(step, 1), steps) for step in range(steps)]  # the WebUI counts from 0, and its first two are alike
    texts = tuple(dict.fromkeys(said))
    return PlannedText(weight, texts, tuple(texts.index(one) for one in said))
