"""New embeddings: checked requests, and initial vectors from a text, the text encoders or another embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.embeddings.create import STARTS
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import INIT_TEXT, VECTORS
from train_embedding.embeddings.names import check_name
from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.errors import InvalidInput
from train_embedding.hosts.base import Host
from train_embedding.messages import Message, joined, msg
from train_embedding.services.library.entries import Entry
from train_embedding.services.loaded_checkpoint import check_fits, loaded_widths
from train_embedding.services.waiting import in_turn

if TYPE_CHECKING:
    import torch

MAX_VECTORS = CHUNK
"Largest number of vectors of an embedding: a prompt chunk has no room for more."
AUTOMATIC = 2
"""Smallest number of vectors for "auto": two learn clearly more than one (see the benchmarks)."""
MAX_TEXT = 10_000
"Largest number of characters of an init text."
NEW_SUFFIXES = (".pt", ".safetensors")

Read = Callable[[str], Embedding]
"Returns an embedding by its name."


@dataclass(frozen=True)
class Created:
    """A new embedding in the library."""

    entry: Entry
    tokens: int
    "Number of tokens of the init text."
    notes: tuple[Message, ...]
    "About the vectors and the name."


@dataclass(frozen=True)
class Budget:
    """How much of a prompt an embedding uses."""

    tokens: int
    "Number of tokens of the init text."
    vectors: int
    "Number of prompt tokens that the embedding uses."
    limit: int = MAX_VECTORS


@dataclass(frozen=True)
class Request:
    """A checked request for a new embedding."""

    name: str
    text: str
    count: int | None
    'Number of vectors; None for "auto".'
    start: str
    "One of STARTS."


@dataclass(frozen=True)
class New:
    """A new embedding that is not written yet."""

    embedding: Embedding
    tokens: int
    notes: tuple[Message, ...]


@dataclass(frozen=True)
class Initial:
    """Initial vectors."""

    vectors: dict[str, torch.Tensor]
    "[n, d] per text encoder."
    tokens: int
    "Number of tokens of the whole init text."
    notes: tuple[Message, ...] = ()


def check_request(name: str, init_text: str, vectors: int | str, suffix: str, start: str) -> Request:
    """Check the arguments of `Library.create`.

    Raises:
        InvalidName: The name cannot be used.
        InvalidInput: Another argument cannot be used.
    """
    check_name(name)
    check_start(start)
    count = vector_count(vectors)
    text = check_text(init_text)
    if suffix not in NEW_SUFFIXES:
        raise InvalidInput(
            msg('A new embedding cannot be a "{suffix}" file.', suffix=suffix),
            msg("Use one of {names}.", names=joined(NEW_SUFFIXES)),
        )
    return Request(name, text, count, start)


def make_embedding(host: Host, request: Request, read: Read) -> New:
    """Make an embedding without writing it. Raises the errors of `initial_vectors`."""
    initial = initial_vectors(host, request.text, request.count, request.start, read)
    text = request.text.strip()
    metadata = {INIT_TEXT: text} if request.start != "embedding" and text else {}
    if metadata and request.start == "tokens" and request.count is None:
        metadata[VECTORS] = "auto"
    return New(Embedding(request.name, initial.vectors, step=0, metadata=metadata), initial.tokens, initial.notes)


def budget_of(init_text: str, vectors: int | str, start: str, read: Read) -> Budget:
    """Return how much of a prompt a new embedding would use; see `Library.budget`."""
    tokens = source_tokens(check_text(init_text), check_start(start), read)
    least = 1 if start == "embedding" else AUTOMATIC
    return Budget(tokens, vector_count(vectors) or automatic(tokens, least=least))


def initial_vectors(host: Host, text: str, wanted: int | None, start: str, read: Callable[[str], Embedding]) -> Initial:
    """Make the initial vectors of a new embedding. An empty text gives zeros.

    Args:
        host: The host with the loaded checkpoint.
        text: The init text, or the name of an embedding.
        wanted: Number of vectors; None for "auto".
        start: One of STARTS.
        read: Returns an embedding by its name.

    Raises:
        HostFailed: No checkpoint is loaded.
        InvalidInput: The name of the embedding is missing.
        Conflict: The embedding is for another model family.
        NotFound: There is no such embedding.
        UnreadableFile: The embedding cannot be read.
    """
    if start == "embedding":
        return _from_embedding(host, text.strip(), wanted, read)
    if not text.strip():
        from train_embedding.embeddings.create import zeros

        return Initial(
            zeros(loaded_widths(host.info()), wanted or AUTOMATIC), 0, (msg("The init text is empty, so the vectors are zeros."),)
        )
    tokens = _rows(host.token_embeddings(text, None))
    count = wanted or automatic(tokens)
    used = _encode(host, text, count) if start == "output" else host.token_embeddings(text, count)
    return _from_text(used, tokens, count)


def source_tokens(text: str, start: str, read: Callable[[str], Embedding]) -> int:
    """Return the number of tokens of an init text, or the number of vectors of the embedding that it names."""
    from train_embedding.engine.prompts.tokenizer import token_ids

    if not text.strip():
        return 0
    return read(text.strip()).count if start == "embedding" else len(token_ids(text))


def _from_embedding(host: Host, name: str, wanted: int | None, read: Callable[[str], Embedding]) -> Initial:
    from train_embedding.embeddings.create import fill

    if not name:
        raise InvalidInput(
            msg("The embedding to start from is missing."), msg("Enter the name of an existing embedding as the init text.")
        )
    source = read(name)
    check_fits(name, source.widths, host.info())
    count = wanted or automatic(source.count, least=1)
    vectors = {key: fill(table, count) for key, table in source.vectors.items()}
    some = msg(
        '"{name}" has {total} vectors; {used} of them, evenly spaced, were used.', name=name, total=source.count, used=count
    )
    return Initial(vectors, source.count, (some,) if count < source.count else ())


def _from_text(used: dict[str, torch.Tensor], tokens: int, count: int) -> Initial:
    """Make initial vectors of a text.

    Args:
        used: The vectors of the tokens that are used, [m, d] per text encoder.
        tokens: Number of tokens of the whole text.
        count: Number of vectors.
    """
    from train_embedding.embeddings.create import fill

    vectors = {key: fill(table, count) for key, table in used.items()}
    if tokens == 0:
        return Initial(vectors, 0, (msg("The init text has no tokens, so the vectors are zeros."),))
    if tokens <= count:
        return Initial(vectors, tokens)
    if _rows(used) == count:
        some = msg("The init text has {total} tokens; the first {used} of them were used.", total=tokens, used=count)
    else:
        some = msg("The init text has {total} tokens; {used} of them, evenly spaced, were used.", total=tokens, used=count)
    return Initial(vectors, tokens, (some,))


def automatic(tokens: int, *, least: int = AUTOMATIC) -> int:
    """Return the number of vectors for "auto": one per token, at least `least` and at most MAX_VECTORS."""
    return min(max(tokens, least), MAX_VECTORS)


def vector_count(vectors: object) -> int | None:
    """Parse a number of vectors; None for "auto".

    Raises:
        InvalidInput: It is not a whole number from 1 to MAX_VECTORS.
    """
    if isinstance(vectors, str):
        if vectors.strip().casefold() == "auto":
            return None
        digits = vectors.strip()
        count = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else None
    elif isinstance(vectors, float):  # as number fields of web pages send it
        count = int(vectors) if vectors.is_integer() else None
    else:
        count = vectors if isinstance(vectors, int) and not isinstance(vectors, bool) else None
    if count is None or not 1 <= count <= MAX_VECTORS:
        raise InvalidInput(
            msg(
                'The number of vectors is {value}; it must be a whole number from 1 to {limit}, or "auto".',
                value=repr(vectors),
                limit=MAX_VECTORS,
            )
        )
    return count


def check_start(start: object) -> str:
    """Return a start unchanged. Raises InvalidInput unless it is one of STARTS."""
    if start not in STARTS:
        raise InvalidInput(msg("The start is {value}; it must be one of {choices}.", value=repr(start), choices=joined(STARTS)))
    return str(start)


def check_text(text: object) -> str:
    """Return an init text unchanged. Raises InvalidInput if it is not text, or too long."""
    if not isinstance(text, str):
        raise InvalidInput(msg("The init text must be text, not {type}.", type=type(text).__name__))
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            msg("The init text has {length} characters; at most {limit} are allowed.", length=len(text), limit=MAX_TEXT)
        )
    return text


def _encode(host: Host, text: str, count: int) -> dict[str, torch.Tensor]:
    """Return the output of the text encoders for the tokens of a text, [m, d] per text encoder."""
    import torch

    with in_turn(host, "Encoding the init text"), host.model() as model, torch.inference_mode(False):
        return model.encode_tokens(text, count)


def _rows(tables: dict[str, torch.Tensor]) -> int:
    return len(next(iter(tables.values())))
