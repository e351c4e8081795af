"""Chunks of 75 tokens, and where embeddings are found in them, as in WebUI 1.10.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.engine.prompts.attention_syntax import BREAK, parse_attention
from train_embedding.engine.prompts.tokenizer import token_ids, token_text

BACKTRACK = 20
"""Default of the WebUI's setting "Prompt word wrap length limit": at most so many tokens after a comma move to the next chunk,
together with what follows."""
_COMMA = 267
_LEFT_BEHIND = 0
"Token id that the WebUI puts in place of an embedding's vectors."


@dataclass(frozen=True)
class PromptToken:
    """One token of a chunk, or one vector of an embedding."""

    text: str
    weight: float
    id: int | None = None
    "In the vocabulary; None for a vector."
    embedding: str = ""
    "Name of the embedding that a vector belongs to."
    vector: int | None = None
    "Number of a vector in its embedding, from 0."


@dataclass(frozen=True)
class Chunk:
    """What the text encoder reads at once. The remaining `free` places of the 75 are filled with end-of-text tokens."""

    tokens: tuple[PromptToken, ...]

    @property
    def free(self) -> int:
        return CHUNK - len(self.tokens)


@dataclass(frozen=True)
class ChunkedPrompt:
    """A prompt in chunks."""

    chunks: tuple[Chunk, ...]
    count: int
    "Tokens as the WebUI's counter shows them: a chunk that another one or a BREAK follows counts as 75."
    notes: tuple[str, ...]
    "What may surprise the user, in sentences."


@dataclass(frozen=True)
class EmbeddingMatch:
    """An embedding that was found in a text."""

    name: str
    vectors: int
    "How many it has."
    token: int
    "First token of its name, or any other that is not a comma."


class EmbeddingFinder(Protocol):
    """Finds embeddings in a text of one weight."""

    def find(self, text: str) -> Iterator[int | EmbeddingMatch]:
        """Yield the text's token ids and embeddings in order."""
        ...


class EmbeddingNames:
    """Finds embeddings by the tokens of their names, the longest name first.

    Args:
        counts: Names, each with the number of its vectors.
    """

    def __init__(self, counts: Iterable[tuple[str, int]]) -> None:
        self._by_first: dict[int, list[tuple[list[int], str, int]]] = {}
        for name, count in counts:
            ids = token_ids(name)
            if ids:
                self._by_first.setdefault(ids[0], []).append((ids, name, count))
        for entries in self._by_first.values():
            entries.sort(key=lambda entry: -len(entry[0]))

    def match(self, ids: Sequence[int], position: int) -> tuple[str, int, int] | None:
        """Return the embedding whose name begins at a position: its name, and its numbers of vectors and of tokens."""
        for wanted, name, vectors in self._by_first.get(ids[position], ()):
            if [*ids[position : position + len(wanted)]] == wanted:
                return name, vectors, len(wanted)
        return None

    def find(self, text: str) -> Iterator[int | EmbeddingMatch]:
        """Yield the text's token ids and embeddings in order."""
        ids = token_ids(text)
        position = 0
        while position < len(ids):
            found = self.match(ids, position)
            if found is None:
                yield ids[position]
                position += 1
            else:
                name, vectors, length = found
                yield EmbeddingMatch(name, vectors, ids[position])
                position += length


def chunk_prompt(prompt: str, names: EmbeddingFinder, backtrack: int = BACKTRACK, *, keep_moved: bool = False) -> ChunkedPrompt:
    """Split a prompt, whose prompt editing and AND are resolved already, into chunks.

    Args:
        prompt: The prompt.
        names: Finds embeddings.
        backtrack: How far a chunk may be cut back to a comma; 0 to split wherever a chunk is full.
        keep_moved: Whether an embedding that moves to the next chunk keeps its vectors, which the WebUI loses.

    Raises:
        InvalidInput: A weight is not a number.
    """
    builder = _ChunkBuilder(backtrack, keep_moved)
    for text, weight in parse_attention(prompt):
        if (text, weight) == BREAK:
            builder.close()
            continue
        if text == BREAK[0]:
            builder.note("BREAK inside brackets that weigh does not begin a new chunk; the WebUI reads it as the word.")
        for item in names.find(text):
            if isinstance(item, EmbeddingMatch):
                builder.make_room(item.token)
                builder.add_embedding(item.name, item.vectors, weight)
            else:
                builder.make_room(item)
                builder.open.append(PromptToken(token_text(item), weight, item))
    return builder.result()


class _ChunkBuilder:
    """Fills one chunk after the other."""

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
        """Close a full chunk; tokens after a comma near its end move to the next chunk with what follows."""
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

    def result(self) -> ChunkedPrompt:
        count = CHUNK * len(self._closed) + len(self.open)
        if self.open or not self._closed:
            self.close()
        return ChunkedPrompt(tuple(Chunk(tuple(tokens)) for tokens in self._closed), count, tuple(self.notes))

    def _moved(self, token: PromptToken) -> PromptToken:
        """Return a token as it is in the next chunk. The WebUI moves the tokens of an embedding but not its vectors."""
        if not token.embedding or self._keep_moved:
            return token
        self.note(
            f'The WebUI loses "{token.embedding}": it stands between a comma and the end of a chunk, and its place moves to the '
            "next chunk without its vectors. Write BREAK before it."
        )
        return PromptToken(token_text(_LEFT_BEHIND), token.weight, _LEFT_BEHIND)
