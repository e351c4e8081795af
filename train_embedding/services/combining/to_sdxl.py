"""Approximate conversion of SD1 embeddings to SDXL, by the nearest token of each vector."""

from __future__ import annotations

from dataclasses import replace

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.expression.tokens import quote_name
from train_embedding.embeddings.metadata import APPROXIMATE
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import Conflict
from train_embedding.messages import Message, joined, msg, plural
from train_embedding.services.inspection.vocabularies import Vocabularies

CLOSE = 0.707
"Smallest cosine at which a word represents a vector: an angle of 45°, as in SD.Next."


def to_sdxl(embedding: Embedding, vocabularies: Vocabularies) -> tuple[Embedding, tuple[Message, ...]]:
    """Add vectors for SDXL's second text encoder to an SD1 embedding.

    SDXL's first text encoder has SD1's vocabulary, so the vectors for it are kept. For the second text encoder, each vector
    becomes the token embedding of its nearest token; zero vectors stay zero.

    Args:
        embedding: An SD1 embedding.
        vocabularies: The vocabularies of the loaded checkpoint.

    Returns:
        The converted embedding, and notes about the quality of the approximation.

    Raises:
        Conflict: The embedding is not for SD1, or the loaded checkpoint is not SDXL.
        HostFailed: No checkpoint is loaded.
    """
    import torch

    from train_embedding.engine.prompts.tokenizer import token_text

    if set(embedding.vectors) != {"clip_l"}:
        kind = model_of(embedding.widths)
        raise Conflict(
            msg('"{name}" is for {model}; only SD1 embeddings can be converted to SDXL.', name=embedding.name, model=kind)
        )
    current = vocabularies.current()
    vectors = embedding.vectors["clip_l"]
    if "clip_g" not in current or "clip_l" not in current or current["clip_l"].width != vectors.shape[1]:
        raise Conflict(
            msg('"{name}" can only be converted to SDXL while an SDXL checkpoint is loaded.', name=embedding.name),
            msg("Load an SDXL checkpoint."),
        )
    found = current["clip_l"].nearest(vectors, 1)
    ids, cosines = [nearest for (nearest,) in found.ids], [nearest for (nearest,) in found.cosines]
    table, is_nonzero = current["clip_g"].table, vectors.any(1)
    rows = table[torch.tensor(ids, device=table.device)].float().cpu()
    second = torch.where(is_nonzero[:, None], rows, torch.zeros_like(rows))
    words = [token_text(token) for token in ids]
    matches = [f"{place}: {word} {cosine:.2f}" for place, (word, cosine) in enumerate(zip(words, cosines, strict=True))]
    metadata = {
        "made_from": f"{quote_name(embedding.name)} from SD1 to SDXL by the nearest token of each vector",
        APPROXIMATE: f"vectors for clip_g are those of tokens, with their cosines: {', '.join(matches)}",
    }
    converted = replace(
        embedding,
        vectors={"clip_l": vectors, "clip_g": second},
        step=None,
        checkpoint_name=None,
        checkpoint_hash=None,
        metadata={**embedding.metadata, **metadata},
    )
    far = [place for place, cosine in enumerate(cosines) if cosine < CLOSE and is_nonzero[place]]
    return converted, _notes(words, cosines, far)


def _notes(words: list[str], cosines: list[float], far: list[int]) -> tuple[Message, ...]:
    approximate = msg("The result is approximate: the vectors for SDXL's second text encoder are those of the nearest tokens.")
    if not far:
        return (approximate,)
    listing = joined(f'{place} ("{words[place]}", {cosines[place]:.2f})' for place in far)
    guessed = plural(
        "{count} of {total} vectors has no near token (a cosine of at least {cosine}), so its result may be poor: {vectors}.",
        "{count} of {total} vectors have no near token (a cosine of at least {cosine}), so their results may be poor: {vectors}.",
        len(far),
        total=len(words),
        cosine=CLOSE,
        vectors=listing,
    )
    return approximate, guessed
