"""The vectors that an embedding is compared with: those of its initialization text, or those that its last run began with."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import INIT_TEXT
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import HostFailed, UnreadableFile
from train_embedding.hosts.base import Host

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferenceVectors:
    """Vectors to compare an embedding with."""

    description: str = ""
    "What they are, in words; empty where there are none."
    vectors: dict[str, torch.Tensor] | None = None
    "[n, d] per text encoder that they are known for, as many as the embedding has."
    problem: str = ""
    "A sentence that says why there are none, where there should be some."


def find_reference_vectors(host: Host, embedding: Embedding, text: str = "") -> ReferenceVectors:
    """Find the vectors to compare an embedding with.

    Args:
        host: Reads texts with the loaded checkpoint, and knows the runs.
        embedding: To be compared.
        text: Whose token embeddings to compare with. Where it is empty, the text that the embedding's file names is used, or
            else the vectors that its last run began with.
    """
    named = text.strip() or embedding.metadata.get(INIT_TEXT, "").strip()
    if named:
        return _from_text(host, embedding, named)
    start = _start_of_last_run(host, embedding)
    return ReferenceVectors() if start is None else ReferenceVectors("what its last run began with", start.vectors)


def _from_text(host: Host, embedding: Embedding, text: str) -> ReferenceVectors:
    """Return the vectors that a new embedding of the same size would get from the text."""
    from train_embedding.embeddings.create import fill

    try:
        tables = host.token_embeddings(text, embedding.count)
    except HostFailed as error:
        return ReferenceVectors(problem=f"There is nothing to compare with the text: {error.message}")
    fitting = {key: table for key, table in tables.items() if embedding.widths.get(key) == table.shape[1]}
    if not fitting:
        family = model_of(embedding.widths)
        return ReferenceVectors(problem=f'The loaded checkpoint cannot read "{text}" for {family}; load one for it.')
    if not len(next(iter(fitting.values()))):
        return ReferenceVectors(problem=f'"{text}" has no tokens to compare with.')
    return ReferenceVectors(f'the text "{text}"', {key: fill(table, embedding.count) for key, table in fitting.items()})


def _start_of_last_run(host: Host, embedding: Embedding) -> Embedding | None:
    from train_embedding.services.run_records import load_start, load_state

    for file in sorted(host.info().runs_folder.glob("*/state.json"), reverse=True):
        try:
            state = load_state(file.parent)
            start = load_start(state) if state.embedding == embedding.name else None
        except (OSError, ValueError, UnreadableFile) as error:
            logger.warning("The run in %s is ignored: %s", file.parent, error)
            continue
        if start is not None and start.widths == embedding.widths and start.count == embedding.count:
            return start
    return None
