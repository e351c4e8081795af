"""The best of several candidate words to start a run from, by the loss on fixed pictures and noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from train_embedding.embeddings.create import fill
from train_embedding.embeddings.embedding import Embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from train_embedding.engine.model.diffusion_model import DiffusionModel
    from train_embedding.engine.training.loop import Evaluate

_AS_IT_IS = "the embedding as it is"


def best_start(model: DiffusionModel, start: Embedding, words: Sequence[str], evaluate: Evaluate) -> tuple[Embedding, str]:
    """The embedding to start from, of as many vectors as `start`, and the sentence that gives every contender's mean loss.

    words: phrases whose token embeddings stand against `start` itself, which wins where they give no lower loss.
    """
    contenders = {_AS_IT_IS: start}
    for word in words:
        tables = model.token_embeddings(word, start.count)
        vectors = {key: fill(table, start.count) for key, table in tables.items()}
        contenders[f'"{word}"'] = replace(start, vectors=vectors, step=0)
    losses = {
        name: float(evaluate({key: tensor.to(model.device) for key, tensor in one.vectors.items()}).mean())
        for name, one in contenders.items()
    }
    best = min(losses, key=losses.__getitem__)
    table = ", ".join(f"{name} {loss:.4f}" for name, loss in sorted(losses.items(), key=lambda item: item[1]))
    return contenders[best], f"Training starts from {best}. Loss of each: {table}."
