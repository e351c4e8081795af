"""Reports on the vectors of an embedding and the tokens of a prompt, as HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.images.png import encode_png
from train_embedding.ui import html
from train_embedding.ui.library.cards import printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup
    from PIL import Image

    from train_embedding.services.inspection import EncoderReport, PromptPart, PromptTokens, Report, VectorFigures


@dataclass(frozen=True)
class VectorRow:
    """One row of the table of vectors."""

    norm: str
    smallest: str
    largest: str
    origin: str
    "Cosine with the report's origin."
    nearest: list[tuple[str, str]]
    "Text and cosine of the nearest tokens."


@dataclass(frozen=True)
class EncoderTable:
    """The vectors for one text encoder."""

    title: str
    has_origin: bool
    vectors: list[VectorRow]


@dataclass(frozen=True)
class TokenLabel:
    """One token of a prompt."""

    text: str
    weight: str
    is_embedding: bool


@dataclass(frozen=True)
class PromptPartTokens:
    """The chunks of one part of a prompt."""

    title: str
    chunks: list[list[TokenLabel]]


def inspection_report(found: Report, heat_map: Image.Image | None, notes: Sequence[str] = ()) -> Markup:
    """Return norms, ranges, nearest words and neighbours.

    Args:
        heat_map: The similarity between the vectors, if they were compared.
        notes: Sentences to show above the report.
    """
    return render(
        "report",
        notes=notes,
        metadata=[(printable(key), printable(value)) for key, value in found.metadata.items()],
        encoders=[_encoder_table(encoder) for encoder in found.encoders],
        origin=f'"Origin" is the cosine with {found.reference}.' if found.reference else "",
        heat_map="" if heat_map is None else _png_url(heat_map),
        neighbours=[(printable(other.name), other.vectors, f"{other.similarity:.3f}") for other in found.neighbours],
        remarks=found.warnings,
    )


def prompt_tokens(found: PromptTokens) -> Markup:
    """Return every token in its chunk, with embeddings marked, and how many tokens are left."""
    left_out = [f"Left out: {' '.join(found.networks)}"] if found.networks else []
    return render(
        "prompt_tokens",
        summary=f"{html.count(found.count, 'token')} of {found.limit}, {found.remaining} left.",
        parts=[_part_tokens(part) for part in found.parts],
        notes=[*left_out, *found.notes],
    )


def _part_tokens(part: PromptPart) -> PromptPartTokens:
    chunks = [
        [
            TokenLabel(
                text=printable(f"{token.embedding} {(token.vector or 0) + 1}" if token.embedding else token.text),
                weight=f"{token.weight:.3g}",
                is_embedding=bool(token.embedding),
            )
            for token in chunk.tokens
        ]
        for chunk in part.chunks
    ]
    return PromptPartTokens(f"Weight {part.weight:g}", chunks)


def _encoder_table(encoder: EncoderReport) -> EncoderTable:
    title = f"{encoder.key}, width {encoder.width}"
    if encoder.vocabulary_norm is not None:
        title += f"; words have a norm of {encoder.vocabulary_norm:.3f} ± {encoder.vocabulary_spread or 0:.3f}"
    has_origin = any(vector.reference_cosine is not None for vector in encoder.vectors)
    return EncoderTable(title, has_origin, [_vector_row(vector) for vector in encoder.vectors])


def _vector_row(vector: VectorFigures) -> VectorRow:
    return VectorRow(
        norm=f"{vector.norm:.3f}",
        smallest=f"{vector.smallest:.3f}",
        largest=f"{vector.largest:.3f}",
        origin="–" if vector.reference_cosine is None else f"{vector.reference_cosine:.2f}",
        nearest=[(printable(near.text), f"{near.cosine:.3f}") for near in vector.nearest],
    )


def _png_url(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode("ascii")
