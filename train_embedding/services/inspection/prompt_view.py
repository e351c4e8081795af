"""How the WebUI reads a prompt: what is left out, which parts are encoded, their tokens, and what room remains."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.errors import InvalidInput
from train_embedding.services.library.entries import Entry
from train_embedding.services.library.library import Library

if TYPE_CHECKING:
    from train_embedding.engine.prompts.chunking import Chunk, ChunkedPrompt, EmbeddingNames

MAX_PROMPT = 20_000
"Characters."
MAX_STEPS = 1000


@dataclass(frozen=True)
class PromptPart:
    """A text that is encoded on its own: the whole prompt, or one of those that AND joins."""

    text: str
    weight: float
    chunks: tuple[Chunk, ...]
    count: int
    "Tokens, as the WebUI counts them: a chunk that another or a BREAK follows counts as 75."

    @property
    def limit(self) -> int:
        return -(-max(self.count, 1) // CHUNK) * CHUNK


@dataclass(frozen=True)
class PromptTokens:
    """A prompt as the WebUI reads it at one step."""

    parts: tuple[PromptPart, ...]
    count: int
    "Tokens of the longest part, as the WebUI's counter shows them."
    limit: int
    "75, or the next multiple of it."
    remaining: int
    "Tokens that are free before one chunk more is needed."
    embeddings: tuple[str, ...]
    "Names of the embeddings in it, in their order."
    networks: tuple[str, ...]
    "What stands in angle brackets and is no text."
    notes: tuple[str, ...]
    "What may surprise, in sentences."

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        for part, shown in zip(self.parts, values["parts"], strict=True):
            shown["chunks"] = [{"tokens": [asdict(token) for token in one.tokens], "free": one.free} for one in part.chunks]
        return values


class PromptView:
    """Keeps the tokens of the library's names until these change. Safe to call from any thread."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._known: tuple[tuple[Any, ...], EmbeddingNames] | None = None

    def tokenize(self, prompt: str, negative: bool, step: int, steps: int) -> PromptTokens:
        """negative: whether it is the negative prompt, in which AND is a word. step: from 1, of so many. Raises InvalidInput."""
        from train_embedding.engine.prompts.attention_syntax import extract_networks, remove_comments, split_at_and
        from train_embedding.engine.prompts.chunking import chunk_prompt
        from train_embedding.engine.prompts.prompt_editing import changes_over_steps, has_unmatched_brackets, text_at_step

        _check(prompt, step, steps)
        entries = self._library.list()
        names = self._names([entry for entry in entries if entry.loaded])
        text, networks = extract_networks(remove_comments(prompt))
        notes: list[str] = []
        parts: list[PromptPart] = []
        for part, weight in [(text, 1.0)] if negative else split_at_and(text):
            if changes_over_steps(part, steps):
                notes.append(f"The prompt changes while the image is drawn; this is step {step} of {steps}.")
                if has_unmatched_brackets(part):
                    notes.append("Brackets that do not match may keep the WebUI from seeing that a part is to change.")
            layout = chunk_prompt(text_at_step(part, step, steps), names)
            notes += [*layout.notes, *_not_in_use(text_at_step(part, step, steps), layout, entries)]
            parts.append(PromptPart(part, weight, layout.chunks, layout.count))
        longest = max(parts, key=lambda one: one.count)
        found = (token.embedding for one in parts for chunk in one.chunks for token in chunk.tokens if token.embedding)
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


def _not_in_use(text: str, layout: ChunkedPrompt, entries: list[Entry]) -> list[str]:
    """Why names that stand in the prompt as whole words do not call their embeddings."""
    import re

    found = {token.embedding for chunk in layout.chunks for token in chunk.tokens}
    words = text.casefold()
    return [
        f'"{entry.name}" is not in use. {entry.reason}'
        for entry in entries
        if not entry.loaded
        and entry.name.casefold() in words
        and entry.name not in found
        and re.search(rf"(?<![\w-]){re.escape(entry.name.casefold())}(?![\w-])", words)
    ]


def _check(prompt: object, step: object, steps: object) -> None:
    if not isinstance(prompt, str):
        raise InvalidInput(f"The prompt must be text, not {type(prompt).__name__}.")
    if len(prompt) > MAX_PROMPT:
        raise InvalidInput(f"The prompt has {len(prompt)} characters; at most {MAX_PROMPT} are allowed.")
    for what, number, most in (("steps", steps, MAX_STEPS), ("step", step, steps)):
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(most, int) or not 1 <= number <= most:
            raise InvalidInput(f'"{what}" is {number!r}; it must be a whole number from 1 to {most}.')
