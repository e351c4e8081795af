"""Reference vectors of an embedding: those of its init text, or those that its last run started from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import INIT_TEXT
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import HostFailed, UnreadableFile
from train_embedding.hosts.base import Host
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferenceVectors:
    """Vectors to compare an embedding with."""

    description: Message = NOTHING
    "A phrase that says what they are; empty if there are none."
    vectors: dict[str, torch.Tensor] | None = None
    "[n, d] per text encoder for which they are known, with as many vectors as the embedding has."
    problem: Message = NOTHING
    "Why there are none, if there should be some."


def find_reference_vectors(host: Host, embedding: Embedding, text: str = "") -> ReferenceVectors:
    """Find the reference vectors of an embedding: the init text's token embeddings if known, else the start of the last run.

    Args:
        host: The host with the loaded checkpoint and the runs.
        embedding: The embedding.
        text: A text to use instead of the init text in the embedding's file.
    """
    named = text.strip() or embedding.metadata.get(INIT_TEXT, "").strip()
    if named:
        return _from_text(host, embedding, named)
    start = _start_of_last_run(host, embedding)
    return ReferenceVectors() if start is None else ReferenceVectors(msg("the start of its last run"), start.vectors)


def _from_text(host: Host, embedding: Embedding, text: str) -> ReferenceVectors:
    """Return the vectors that a new embedding of the same size would get from the text."""
    from train_embedding.embeddings.create import fill

    try:
        tables = host.token_embeddings(text, embedding.count)
    except HostFailed as error:
        return ReferenceVectors(problem=msg("There are no vectors to compare with. {reason}", reason=error.message))
    fitting = {key: table for key, table in tables.items() if embedding.widths.get(key) == table.shape[1]}
    if not fitting:
        family = model_of(embedding.widths)
        return ReferenceVectors(problem=msg('To compare with "{text}", load a checkpoint for {model}.', text=text, model=family))
    if not len(next(iter(fitting.values()))):
        return ReferenceVectors(problem=msg('"{text}" has no tokens to compare with.', text=text))
    return ReferenceVectors(
        msg('the text "{text}"', text=text), {key: fill(table, embedding.count) for key, table in fitting.items()}
    )


def _start_of_last_run(host: Host, embedding: Embedding) -> Embedding | None:
    """Return the embedding that the last run with these text encoders and this number of vectors started from."""
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
