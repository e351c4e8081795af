"""How the WebUI lays a prompt out in chunks of 75 tokens, and where it finds embeddings in it. As in WebUI 1.10.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.engine.prompts.attention_syntax import BREAK, parse_attention
from train_embedding.engine.prompts.tokenizer import token_ids, token_text

BACKTRACK = 20
"""Tokens that may stand after a comma and move to the next chunk with what follows; the WebUI's setting "Prompt word wrap length
limit" as it comes."""
_COMMA = 267
_LEFT_BEHIND = 0
"The token that the WebUI puts where vectors of an embedding will be."


@dataclass(frozen=True)
class PromptToken:
    """One of the 75. id: in the vocabulary; None for a vector of an embedding, then `vector` counts these from 0."""

    text: str
    weight: float
    id: int | None = None
    embedding: str = ""
    vector: int | None = None


@dataclass(frozen=True)
class Chunk:
    """What the text encoder reads at once. Its last places, `free` of 75, are filled with ends of text."""

    tokens: tuple[PromptToken, ...]

    @property
    def free(self) -> int:
        return CHUNK - len(self.tokens)


@dataclass(frozen=True)
class ChunkedPrompt:
    """A prompt in chunks. count: what the WebUI's counter says, where a chunk that another or a BREAK follows counts in full."""

    chunks: tuple[Chunk, ...]
    count: int
    notes: tuple[str, ...]
    "What may surprise, in sentences."


@dataclass(frozen=True)
class EmbeddingMatch:
    """An embedding in a text. token: the one that its name begins with, or another that is no comma."""

    name: str
    vectors: int
    token: int


class EmbeddingFinder(Protocol):
    """How embeddings are found in a text of one weight."""

    def read(self, text: str) -> Iterator[int | EmbeddingMatch]:
        """The text's tokens and embeddings in their order."""
        ...


class EmbeddingNames:
    """Names of embeddings as their tokens, each with how many vectors it stands for; the longest is found first."""

    def __init__(self, vectors: Iterable[tuple[str, int]]) -> None:
        self._by_first: dict[int, list[tuple[list[int], str, int]]] = {}
        for name, count in vectors:
            ids = token_ids(name)
            if ids:
                self._by_first.setdefault(ids[0], []).append((ids, name, count))
        for entries in self._by_first.values():
            entries.sort(key=lambda entry: -len(entry[0]))

    def at(self, ids: Sequence[int], position: int) -> tuple[str, int, int] | None:
        """The name, its vectors and its tokens, of the embedding whose tokens stand there."""
        for wanted, name, vectors in self._by_first.get(ids[position], ()):
            if [*ids[position : position + len(wanted)]] == wanted:
                return name, vectors, len(wanted)
        return None

    def read(self, text: str) -> Iterator[int | EmbeddingMatch]:
        ids = token_ids(text)
        position = 0
        while position < len(ids):
            found = self.at(ids, position)
            if found is None:
                yield ids[position]
                position += 1
            else:
                name, vectors, length = found
                yield EmbeddingMatch(name, vectors, ids[position])
                position += length


def chunk_prompt(prompt: str, names: EmbeddingFinder, backtrack: int = BACKTRACK, *, keep_moved: bool = False) -> ChunkedPrompt:
    """One prompt, which has no schedules and no AND any more, in chunks.

    backtrack: 0 for splitting wherever a chunk is full. keep_moved: whether an embedding that moves to the next chunk keeps its
    vectors, which the WebUI loses. Raises InvalidInput for a weight that is not a number.
    """
    filling = _Filling(backtrack, keep_moved)
    for text, weight in parse_attention(prompt):
        if (text, weight) == BREAK:
            filling.close()
            continue
        if text == BREAK[0]:
            filling.note("BREAK inside brackets that weigh does not begin a new chunk; the WebUI reads it as the word.")
        for item in names.read(text):
            if isinstance(item, EmbeddingMatch):
                filling.make_room(item.token)
                filling.add_embedding(item.name, item.vectors, weight)
            else:
                filling.make_room(item)
                filling.open.append(PromptToken(token_text(item), weight, item))
    return filling.layout()


class _Filling:
    """Chunks as they fill."""

    def __init__(self, backtrack: int, keep_moved: bool = False) -> None:
        self.open: list[PromptToken] = []
        self.notes: list[str] = []
        self._closed: list[list[PromptToken]] = []
        self._comma: int | None = None
        self._backtrack = backtrack
        self._keep_moved = keep_moved

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def close(self) -> None:
        self._closed.append(self.open)
        self.open = []
        self._comma = None

    def make_room(self, token: int) -> None:
        """Ends a full chunk; what stands after a comma near its end moves on together with what follows."""
        if token == _COMMA:
            self._comma = len(self.open)
        elif self._comma is not None and len(self.open) == CHUNK and CHUNK - self._comma <= self._backtrack:
            moved = self.open[self._comma + 1 :]
            del self.open[self._comma + 1 :]
            self.close()
            self.open = [self._moved(token) for token in moved]
        if len(self.open) == CHUNK:
            self.close()

    def add_embedding(self, name: str, vectors: int, weight: float) -> None:
        if len(self.open) + vectors > CHUNK:
            self.close()
        self.open += [PromptToken(name, weight, None, name, vector) for vector in range(vectors)]

    def layout(self) -> ChunkedPrompt:
        count = CHUNK * len(self._closed) + len(self.open)
        if self.open or not self._closed:
            self.close()
        return ChunkedPrompt(tuple(Chunk(tuple(tokens)) for tokens in self._closed), count, tuple(self.notes))

    def _moved(self, token: PromptToken) -> PromptToken:
        """The WebUI moves the tokens of an embedding and not its vectors, which then stand where nothing else does."""
        if not token.embedding or self._keep_moved:
            return token
        self.note(
            f'The WebUI loses "{token.embedding}": it stands between a comma and the end of a chunk, and its place moves to the '
            "next chunk without its vectors. Write BREAK before it."
        )
        return PromptToken(token_text(_LEFT_BEHIND), token.weight, _LEFT_BEHIND)
