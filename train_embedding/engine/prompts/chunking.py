"""Splitting of prompts into chunks of 75 tokens, and detection of embeddings in them, as in WebUI 1.10.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.engine.prompts.attention_syntax import BREAK, parse_attention
from train_embedding.engine.prompts.tokenizer import token_ids, token_text
from train_embedding.messages import Message, msg

BACKTRACK = 20
"""Default of the WebUI's setting "Prompt word wrap length limit": the largest number of tokens after the last comma that are
moved to the next chunk."""
_COMMA = 267
_LEFT_BEHIND = 0
"Token id that the WebUI uses in place of an embedding's vectors."


@dataclass(frozen=True)
class PromptToken:
    """One token of a chunk, or one vector of an embedding.

    Attributes:
        text: Text of the token, or name of the embedding.
        weight: Attention weight.
        id: Token id; None for a vector.
        embedding: Name of the embedding of a vector; empty for a token.
        vector: Index of a vector in its embedding, from 0; None for a token.
    """

    text: str
    weight: float
    id: int | None = None
    embedding: str = ""
    vector: int | None = None


@dataclass(frozen=True)
class Chunk:
    """Input of one pass of the text encoder. Unused positions are filled with end-of-text tokens."""

    tokens: tuple[PromptToken, ...]

    @property
    def free(self) -> int:
        """Number of unused positions of the 75."""
        return CHUNK - len(self.tokens)


@dataclass(frozen=True)
class ChunkedPrompt:
    """A prompt in chunks.

    Attributes:
        chunks: At least one.
        count: Number of tokens as in the WebUI's counter: a chunk before another chunk or a BREAK counts as 75.
        notes: Hints about unexpected behaviour, in sentences.
    """

    chunks: tuple[Chunk, ...]
    count: int
    notes: tuple[Message, ...]


@dataclass(frozen=True)
class EmbeddingMatch:
    """An embedding that was found in a text.

    Attributes:
        name: Its name.
        vectors: Its number of vectors.
        token: First token of its name, or any other token except a comma.
    """

    name: str
    vectors: int
    token: int


class EmbeddingFinder(Protocol):
    """Finds embeddings in a text."""

    def find(self, text: str) -> Iterator[int | EmbeddingMatch]:
        """Yield the text's token ids and embeddings in order."""
        ...


class EmbeddingNames:
    """Finds embeddings by the tokens of their names; longer names take precedence.

    Args:
        counts: Names and numbers of vectors of the embeddings.
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
        """Return the embedding whose name starts at a position: its name, number of vectors and number of tokens."""
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
    """Split a prompt into chunks.

    Args:
        prompt: A prompt without prompt editing and AND.
        names: Finds embeddings in the text.
        backtrack: Largest number of tokens after the last comma that move to the next chunk; 0 to move none.
        keep_moved: Whether an embedding that moves to the next chunk keeps its vectors. The WebUI loses them.

    Raises:
        InvalidInput: A weight is not a number.
    """
    builder = _ChunkBuilder(backtrack, keep_moved)
    for text, weight in parse_attention(prompt):
        if (text, weight) == BREAK:
            builder.close()
            continue
        if text == BREAK[0]:
            builder.note(msg("BREAK inside weighted brackets does not start a new chunk: the WebUI reads it as a word."))
        for item in names.find(text):
            if isinstance(item, EmbeddingMatch):
                builder.make_room(item.token)
                builder.add_embedding(item.name, item.vectors, weight)
            else:
                builder.make_room(item)
                builder.open.append(PromptToken(token_text(item), weight, item))
    return builder.result()


class _ChunkBuilder:
    """Builds the chunks of a prompt one after the other."""

    def __init__(self, backtrack: int, keep_moved: bool = False) -> None:
        self.open: list[PromptToken] = []
        self.notes: list[Message] = []
        self._closed: list[list[PromptToken]] = []
        self._comma: int | None = None
        self._backtrack = backtrack
        self._keep_moved = keep_moved

    def note(self, sentence: Message) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def close(self) -> None:
        self._closed.append(self.open)
        self.open = []
        self._comma = None

    def make_room(self, token: int) -> None:
        """Start a new chunk if this one is full. Tokens after a comma near its end move to the new chunk."""
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
        """Return a token as it is after the move to the next chunk, where the WebUI loses the vectors of embeddings."""
        if not token.embedding or self._keep_moved:
            return token
        self.note(
            msg(
                'The WebUI loses "{name}", because it is between a comma and the end of a chunk. Write BREAK before it.',
                name=token.embedding,
            )
        )
        return PromptToken(token_text(_LEFT_BEHIND), token.weight, _LEFT_BEHIND)
