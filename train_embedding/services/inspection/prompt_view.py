"""How the WebUI reads a prompt: its parts, their tokens and embeddings, and the remaining room."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.errors import InvalidInput
from train_embedding.messages import Message, msg
from train_embedding.services.library.entries import Entry
from train_embedding.services.library.library import Library

if TYPE_CHECKING:
    from train_embedding.engine.prompts.chunking import Chunk, ChunkedPrompt, EmbeddingNames

MAX_PROMPT = 20_000
"Largest number of characters of a prompt."
MAX_STEPS = 1000
"Largest number of sampling steps."


@dataclass(frozen=True)
class PromptPart:
    """A text that is encoded separately: the whole prompt, or one of several joined by AND."""

    text: str
    weight: float
    chunks: tuple[Chunk, ...]
    count: int
    "Number of tokens as the WebUI counts them: a chunk followed by another chunk or BREAK counts as 75."

    @property
    def limit(self) -> int:
        """The number of tokens in whole chunks: 75, or the next multiple of it."""
        return -(-max(self.count, 1) // CHUNK) * CHUNK


@dataclass(frozen=True)
class PromptTokens:
    """A prompt as the WebUI reads it at one sampling step."""

    parts: tuple[PromptPart, ...]
    count: int
    "Number of tokens of the longest part, as the WebUI's counter shows it."
    limit: int
    "75, or the next multiple of it."
    remaining: int
    "Number of tokens that can be added before another chunk is needed."
    embeddings: tuple[str, ...]
    "Names of the embeddings in the prompt, in order."
    networks: tuple[str, ...]
    "Extra networks, such as `<lora:…>`."
    notes: tuple[Message, ...]
    "What may be unexpected."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        values = asdict(self)
        for part, shown in zip(self.parts, values["parts"], strict=True):
            shown["chunks"] = [{"tokens": [asdict(token) for token in chunk.tokens], "free": chunk.free} for chunk in part.chunks]
        return values


class PromptView:
    """Reads prompts. The tokens of the library's names are cached until the names change. Safe to call from any thread."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._known: tuple[tuple[Any, ...], EmbeddingNames] | None = None

    def tokenize(self, prompt: str, negative: bool, step: int, steps: int) -> PromptTokens:
        """Split a prompt into tokens; see `Inspection.tokenize`."""
        from train_embedding.engine.prompts.attention_syntax import extract_networks, remove_comments, split_at_and
        from train_embedding.engine.prompts.chunking import chunk_prompt
        from train_embedding.engine.prompts.prompt_editing import changes_over_steps, has_unmatched_brackets, text_at_step

        _check(prompt, step, steps)
        entries = self._library.list()
        names = self._names([entry for entry in entries if entry.loaded])
        text, networks = extract_networks(remove_comments(prompt))
        notes: list[Message] = []
        parts: list[PromptPart] = []
        for part, weight in [(text, 1.0)] if negative else split_at_and(text):
            if changes_over_steps(part, steps):
                notes.append(msg("The prompt changes during sampling; shown is step {step} of {steps}.", step=step, steps=steps))
                if has_unmatched_brackets(part):
                    notes.append(msg("Brackets do not match, so the WebUI may ignore the prompt editing."))
            layout = chunk_prompt(text_at_step(part, step, steps), names)
            notes += [*layout.notes, *_not_loaded(text_at_step(part, step, steps), layout, entries)]
            parts.append(PromptPart(part, weight, layout.chunks, layout.count))
        longest = max(parts, key=lambda part: part.count)
        found = (token.embedding for part in parts for chunk in part.chunks for token in chunk.tokens if token.embedding)
        return PromptTokens(
            parts=tuple(parts),
            count=longest.count,
            limit=longest.limit,
            remaining=longest.limit - longest.count,
            embeddings=tuple(dict.fromkeys(found)),
            networks=networks,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _names(self, loaded: list[Entry]) -> EmbeddingNames:
        from train_embedding.engine.prompts.chunking import EmbeddingNames

        vectors = tuple((entry.name, entry.vectors) for entry in loaded if entry.vectors <= CHUNK)
        known = self._known
        if known is None or known[0] != vectors:
            known = self._known = (vectors, EmbeddingNames(vectors))
        return known[1]


def _not_loaded(text: str, layout: ChunkedPrompt, entries: list[Entry]) -> list[Message]:
    """Explain why names that are whole words of the prompt do not trigger their embeddings."""
    import re

    found = {token.embedding for chunk in layout.chunks for token in chunk.tokens}
    words = text.casefold()
    return [
        msg('"{name}" is not loaded. {reason}', name=entry.name, reason=entry.reason)
        for entry in entries
        if not entry.loaded
        and entry.name.casefold() in words
        and entry.name not in found
        and re.search(rf"(?<![\w-]){re.escape(entry.name.casefold())}(?![\w-])", words)
    ]


def _check(prompt: object, step: object, steps: object) -> None:
    if not isinstance(prompt, str):
        raise InvalidInput(msg("The prompt must be text, not {type}.", type=type(prompt).__name__))
    if len(prompt) > MAX_PROMPT:
        raise InvalidInput(
            msg("The prompt has {length} characters; at most {limit} are allowed.", length=len(prompt), limit=MAX_PROMPT)
        )
    for what, number, most in (("steps", steps, MAX_STEPS), ("step", step, steps)):
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(most, int) or not 1 <= number <= most:
            raise InvalidInput(
                msg(
                    '"{name}" is {value}; it must be a whole number from {low} to {high}.',
                    name=what,
                    value=repr(number),
                    low=1,
                    high=most,
                )
            )
