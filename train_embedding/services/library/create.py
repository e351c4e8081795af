"""New embeddings: what a person asks for, checked, and the vectors that a text, the host's model or another embedding gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import INIT_TEXT
from train_embedding.embeddings.names import check_name
from train_embedding.embeddings.text_encoders import CHUNK, does_not_fit
from train_embedding.errors import Conflict, HostFailed, InvalidInput
from train_embedding.hosts.base import Host
from train_embedding.services.library.entries import Entry
from train_embedding.services.store.store import NEW_SUFFIX
from train_embedding.services.waiting import in_turn

if TYPE_CHECKING:
    import torch

MAX_VECTORS = CHUNK
"The most vectors that an embedding can use: a prompt takes no more tokens at once."
STARTS = ("tokens", "output", "embedding")
"""What vectors are taken from: the token embeddings of a text, as the WebUI does; what the text encoders put out for them (Cross
Initialization, Pang et al. 2024, arXiv 2312.15905); or those of an embedding, named in place of the text."""
MAX_TEXT = 10_000
"Characters of an initialization text."
NEW_SUFFIXES = (NEW_SUFFIX, ".safetensors")

Read = Callable[[str], Embedding]
"Returns an embedding by its name."


@dataclass(frozen=True)
class Created:
    """A new embedding in the library."""

    entry: Entry
    tokens: int
    "How many the text has."
    notes: tuple[str, ...]
    "Sentences about what was done, and about the name."


@dataclass(frozen=True)
class Budget:
    """How much of a prompt an embedding takes."""

    tokens: int
    "Of the text."
    vectors: int
    "Tokens of a prompt that the embedding takes."
    limit: int = MAX_VECTORS


@dataclass(frozen=True)
class Request:
    """A new embedding as it was asked for."""

    name: str
    text: str
    count: int | None
    "Vectors; None for as many as the text has tokens."
    start: str
    "One of STARTS."


@dataclass(frozen=True)
class New:
    """A new embedding that is not written yet."""

    embedding: Embedding
    tokens: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Initial:
    """vectors: [n, d] per text encoder; tokens: how many the whole text has; notes: sentences about what was done."""

    vectors: dict[str, torch.Tensor]
    tokens: int
    notes: tuple[str, ...] = ()


def check_request(name: str, init_text: str, vectors: int | str, suffix: str, start: str) -> Request:
    """Check the arguments of `Library.create`. Raises InvalidName, InvalidInput."""
    check_name(name)
    check_start(start)
    count = vector_count(vectors)
    text = check_text(init_text)
    if suffix not in NEW_SUFFIXES:
        raise InvalidInput(f'A new embedding cannot be a "{suffix}" file.', f"Use {' or '.join(NEW_SUFFIXES)}.")
    return Request(name, text, count, start)


def make_embedding(host: Host, request: Request, read: Read) -> New:
    """Make an embedding, which is not written anywhere. Raises what `initial_vectors` raises."""
    initial = initial_vectors(host, request.text, request.count, request.start, read)
    text = request.text.strip()
    metadata = {INIT_TEXT: text} if request.start != "embedding" and text else {}
    return New(Embedding(request.name, initial.vectors, step=0, metadata=metadata), initial.tokens, initial.notes)


def budget_of(init_text: str, vectors: int | str, start: str, read: Read) -> Budget:
    """Arguments and errors are those of `Library.budget`."""
    tokens = source_tokens(check_text(init_text), check_start(start), read)
    return Budget(tokens, vector_count(vectors) or automatic(tokens))


def initial_vectors(host: Host, text: str, wanted: int | None, start: str, read: Callable[[str], Embedding]) -> Initial:
    """Make vectors from a text, or from an embedding that it names. Empty text gives zeros.

    Args:
        host: Whose checkpoint gives the token embeddings.
        text: The text.
        wanted: How many vectors; None for as many as the text has tokens.
        start: One of STARTS.
        read: Returns an embedding by its name.

    Raises:
        HostFailed: No checkpoint is loaded.
        InvalidInput: The name of the embedding is missing.
        Conflict: The embedding is for another kind of model.
        NotFound: There is no such embedding.
        UnreadableFile: The embedding cannot be read.
    """
    if start == "embedding":
        return _from_embedding(host, text.strip(), wanted, read)
    if not text.strip():
        from train_embedding.embeddings.create import zeros

        return Initial(zeros(_widths(host), wanted or 1), 0, ("The text is empty, so the vectors are zeros.",))
    tokens = _rows(host.token_embeddings(text, None))
    count = wanted or automatic(tokens)
    cut = _encoded(host, text, count) if start == "output" else host.token_embeddings(text, count)
    return _from_text(cut, tokens, count)


def source_tokens(text: str, start: str, read: Callable[[str], Embedding]) -> int:
    """Return how many tokens a text has, or how many vectors the embedding that it names."""
    from train_embedding.engine.prompts.tokenizer import token_ids

    if not text.strip():
        return 0
    return read(text.strip()).count if start == "embedding" else len(token_ids(text))


def _from_embedding(host: Host, name: str, wanted: int | None, read: Callable[[str], Embedding]) -> Initial:
    from train_embedding.embeddings.create import fill

    if not name:
        raise InvalidInput("No embedding to start from is named.", "Write its name in place of the initialization text.")
    source = read(name)
    widths = _widths(host)
    if source.widths != widths:
        raise Conflict(
            does_not_fit(name, source.widths, widths),
            "Start from an embedding of the same kind, or load another checkpoint.",
        )
    count = wanted or automatic(source.count)
    vectors = {key: fill(table, count) for key, table in source.vectors.items()}
    left_out = f'"{name}" has {source.count} vectors, of which {count} were used, evenly spread.'
    return Initial(vectors, source.count, (left_out,) if count < source.count else ())


def _from_text(cut: dict[str, torch.Tensor], tokens: int, count: int) -> Initial:
    """cut: what stands for each token that is used, [m, d] per text encoder."""
    from train_embedding.embeddings.create import fill

    vectors = {key: fill(table, count) for key, table in cut.items()}
    if tokens == 0:
        return Initial(vectors, 0, ("The text has no tokens, so the vectors are zeros.",))
    if tokens <= count:
        return Initial(vectors, tokens)
    which = "the first" if _rows(cut) == count else "evenly spread"
    return Initial(vectors, tokens, (f"The text has {tokens} tokens, of which {count} were used, {which}.",))


def automatic(tokens: int) -> int:
    """Return the number of vectors that "auto" stands for."""
    return min(max(tokens, 1), MAX_VECTORS)


def vector_count(vectors: object) -> int | None:
    """Return the number of vectors, None for "auto". Raises InvalidInput unless it is a whole number from 1 to MAX_VECTORS."""
    if isinstance(vectors, str):
        if vectors.strip().casefold() == "auto":
            return None
        digits = vectors.strip()
        count = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else None
    elif isinstance(vectors, float):  # what number fields of web pages send
        count = int(vectors) if vectors.is_integer() else None
    else:
        count = vectors if isinstance(vectors, int) and not isinstance(vectors, bool) else None
    if count is None or not 1 <= count <= MAX_VECTORS:
        raise InvalidInput(f'The number of vectors is {vectors!r}; it must be a whole number from 1 to {MAX_VECTORS}, or "auto".')
    return count


def check_start(start: object) -> str:
    """Return a start as it is. Raises InvalidInput unless it is one of STARTS."""
    if start not in STARTS:
        raise InvalidInput(f"The start is {start!r}; it must be one of {', '.join(STARTS)}.")
    return str(start)


def check_text(text: object) -> str:
    """Return an initialization text as it is. Raises InvalidInput if it is not a text, or too long."""
    if not isinstance(text, str):
        raise InvalidInput(f"The initialization text must be text, not {type(text).__name__}.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"The initialization text has {len(text)} characters; at most {MAX_TEXT} are allowed.")
    return text


def _encoded(host: Host, text: str, count: int) -> dict[str, torch.Tensor]:
    import torch

    with in_turn(host, "Encoding the initialization text"), host.model() as model, torch.inference_mode(False):
        return model.encode_tokens(text, count)


def _widths(host: Host) -> dict[str, int]:
    widths = host.info().widths
    if not widths:
        raise HostFailed("No checkpoint is loaded, so the width of the vectors is not known.", "Load one first.")
    return widths


def _rows(tables: dict[str, torch.Tensor]) -> int:
    return len(next(iter(tables.values())))
