"""Approximate conversion of SD1 embeddings to SDXL: a vector's nearest word in the first text encoder gives its second half."""

from __future__ import annotations

from dataclasses import replace

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.expression.tokens import quote_name
from train_embedding.embeddings.metadata import APPROXIMATE
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import Conflict
from train_embedding.services.inspection.vocabularies import Vocabularies

CLOSE = 0.707
"Cosine from which a word is taken to represent a vector, an angle of 45°; the bound that SD.Next uses."


def to_sdxl(embedding: Embedding, vocabularies: Vocabularies) -> tuple[Embedding, tuple[str, ...]]:
    """Add vectors for SDXL's second text encoder to an SD1 embedding.

    SDXL's first text encoder has SD1's vocabulary, so those vectors stay. The second half of each is the row of its nearest token
    in the second encoder's vocabulary; vectors of zeros stay zero.

    Returns:
        The converted embedding, and sentences about how good the approximation is.

    Raises:
        Conflict: The embedding is not for SD1, or the loaded checkpoint is not SDXL.
        HostFailed: No checkpoint is loaded.
    """
    import torch

    from train_embedding.engine.prompts.tokenizer import token_text

    if set(embedding.vectors) != {"clip_l"}:
        kind = model_of(embedding.widths)
        raise Conflict(f'"{embedding.name}" is for {kind}; only an embedding for SD1 can be made one for SDXL.')
    current = vocabularies.current()
    vectors = embedding.vectors["clip_l"]
    if "clip_g" not in current or "clip_l" not in current or current["clip_l"].width != vectors.shape[1]:
        raise Conflict(
            f'"{embedding.name}" becomes one for SDXL through that model\'s words, and the loaded checkpoint is of another kind.',
            "Load an SDXL checkpoint.",
        )
    found = current["clip_l"].nearest(vectors, 1)
    ids, cosines = [nearest for (nearest,) in found.ids], [nearest for (nearest,) in found.cosines]
    table, pointing = current["clip_g"].table, vectors.any(1)
    rows = table[torch.tensor(ids, device=table.device)].float().cpu()
    second = torch.where(pointing[:, None], rows, torch.zeros_like(rows))
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
    far = [place for place, cosine in enumerate(cosines) if cosine < CLOSE and pointing[place]]
    return converted, _notes(words, cosines, far)


def _notes(words: list[str], cosines: list[float], far: list[int]) -> tuple[str, ...]:
    approximate = "The result is approximate: the vectors for SDXL's second text encoder are those of the nearest words."
    if not far:
        return (approximate,)
    listing = ", ".join(f'{place} ("{words[place]}", {cosines[place]:.2f})' for place in far)
    return (
        approximate,
        f"For {len(far)} of {len(words)} vectors no word is near (a cosine of {CLOSE} or more); their second half is a guess: "
        f"{listing}.",
    )
