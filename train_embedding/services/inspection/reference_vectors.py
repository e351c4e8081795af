"""What an embedding came from: a text that is given or that its file names, or what its last run began with."""

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
class Origin:
    """vectors: [n, d] per text encoder that they are known for, as many as the embedding has. words: what they are."""

    words: str = ""
    vectors: dict[str, torch.Tensor] | None = None
    problem: str = ""
    "Why there are none, a sentence, where there should be."


def origin_of(host: Host, embedding: Embedding, text: str = "") -> Origin:
    """Where the embedding began: as its place in vocabulary for the text, which comes first; then what is known of it."""
    named = text.strip() or embedding.metadata.get(INIT_TEXT, "").strip()
    if named:
        return _from_text(host, embedding, named)
    start = _start_of_last_run(host, embedding)
    return Origin() if start is None else Origin("what its last run began with", start.vectors)


def _from_text(host: Host, embedding: Embedding, text: str) -> Origin:
    """The vectors that a new embedding of as many vectors would get from the text."""
    from train_embedding.embeddings.create import fill

    try:
        tables = host.token_embeddings(text, embedding.count)
    except HostFailed as error:
        return Origin(problem=f"There is nothing to compare with the text: {error.message}")
    fitting = {key: table for key, table in tables.items() if embedding.widths.get(key) == table.shape[1]}
    if not fitting:
        return Origin(problem=f'The loaded checkpoint cannot read "{text}" for {model_of(embedding.widths)}; load one for it.')
    if not len(next(iter(fitting.values()))):
        return Origin(problem=f'"{text}" has no tokens to compare with.')
    return Origin(f'the text "{text}"', {key: fill(table, embedding.count) for key, table in fitting.items()})


def _start_of_last_run(host: Host, embedding: Embedding) -> Embedding | None:
    from train_embedding.services.run_records import load_start, load_state

    for file in sorted(host.info().runs_folder.glob("*/state.json"), reverse=True):
        try:
            state = load_state(file.parent)
            start = load_start(state) if state.embedding == embedding.name else None
        except (OSError, ValueError, UnreadableFile) as error:
            logger.warning("The run in %s is passed over: %s", file.parent, error)
            continue
        if start is not None and start.widths == embedding.widths and start.count == embedding.count:
            return start
    return None
