"""What a new embedding starts from: reading the form, and the token embeddings of a text from the host's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.errors import HostFailed, InvalidInput
from train_embedding.hosts.base import Host

if TYPE_CHECKING:
    import torch

MAX_VECTORS = 75
"Tokens of a prompt that a text encoder takes at once, and so the most that an embedding can use."
MAX_TEXT = 10_000
"Characters of an initialization text."


@dataclass(frozen=True)
class Initial:
    """vectors: [n, d] per text encoder; tokens: how many the whole text has; notes: sentences about what was done."""

    vectors: dict[str, torch.Tensor]
    tokens: int
    notes: tuple[str, ...] = ()


def initial_vectors(host: Host, text: str, wanted: int | None) -> Initial:
    """The token embeddings of `text`, as `wanted` vectors, or as many as it has tokens where that is None.

    Empty text gives zeros. Raises HostFailed without a checkpoint.
    """
    from train_embedding.embeddings.create import fill, zeros

    if not text.strip():
        widths = host.info().widths
        if not widths:
            raise HostFailed("No checkpoint is loaded, so the width of the vectors is not known.", "Load one first.")
        return Initial(zeros(widths, wanted or 1), 0, ("The text is empty, so the vectors are zeros.",))
    tokens = _rows(host.token_embeddings(text, None))
    count = wanted or automatic(tokens)
    cut = host.token_embeddings(text, count)
    vectors = {key: fill(table, count) for key, table in cut.items()}
    if tokens == 0:
        return Initial(vectors, 0, ("The text has no tokens, so the vectors are zeros.",))
    if tokens <= count:
        return Initial(vectors, tokens)
    which = "the first" if _rows(cut) == count else "evenly spread"
    return Initial(vectors, tokens, (f"The text has {tokens} tokens, of which {count} were used, {which}.",))


def automatic(tokens: int) -> int:
    """The number of vectors that "auto" stands for."""
    return min(max(tokens, 1), MAX_VECTORS)


def vector_count(vectors: object) -> int | None:
    """The number asked for, None for "auto". Raises InvalidInput unless it is a whole number from 1 to MAX_VECTORS."""
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


def checked_text(text: object) -> str:
    """The text as it is. Raises InvalidInput where it is none, or too long to be meant."""
    if not isinstance(text, str):
        raise InvalidInput(f"The initialization text must be text, not {type(text).__name__}.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"The initialization text has {len(text)} characters; at most {MAX_TEXT} are allowed.")
    return text


def _rows(tables: dict[str, torch.Tensor]) -> int:
    return len(next(iter(tables.values())))
