"""Reports on the vectors of an embedding and the tokens of a prompt, as HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.images.png import encode_png
from train_embedding.messages import NOTHING, Message, msg
from train_embedding.ui.library.cards import printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup
    from PIL import Image

    from train_embedding.services.inspection import EncoderReport, PromptPart, PromptTokens, Report, VectorFigures


SIMILARITY_TO_START = msg("Similarity to start")
"Heading of a column."


@dataclass(frozen=True)
class VectorRow:
    """One row of the table of vectors."""

    norm: str
    smallest: str
    largest: str
    origin: str
    "Cosine similarity with the report's `origin`."
    nearest: list[tuple[str, str]]
    "Text and cosine of the nearest tokens."


@dataclass(frozen=True)
class EncoderTable:
    """The vectors for one text encoder."""

    title: Message
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

    title: Message
    chunks: list[list[TokenLabel]]


def inspection_report(found: Report, heat_map: Image.Image | None, notes: Sequence[Message] = ()) -> Markup:
    """Return norms, ranges, nearest tokens and nearest embeddings.

    Args:
        found: The report.
        heat_map: The similarity between the vectors, if they were compared.
        notes: Sentences to show above the report.
    """
    origin = msg('"{column}" is the cosine similarity with {start}.', column=SIMILARITY_TO_START, start=found.reference)
    return render(
        "report",
        notes=notes,
        metadata=[(printable(key), printable(value)) for key, value in found.metadata.items()],
        encoders=[_encoder_table(encoder) for encoder in found.encoders],
        origin_title=SIMILARITY_TO_START,
        origin=origin if found.reference else NOTHING,
        heat_map="" if heat_map is None else _png_url(heat_map),
        neighbours=[(printable(other.name), other.vectors, f"{other.similarity:.3f}") for other in found.neighbours],
        remarks=found.warnings,
    )


def prompt_tokens(found: PromptTokens) -> Markup:
    """Return every token in its chunk, with embeddings marked, and how many tokens are left."""
    networks = msg("Extra networks are not part of the text: {networks}", networks=" ".join(found.networks))
    return render(
        "prompt_tokens",
        summary=msg(
            "{used} of {limit} tokens used, {remaining} left.", used=found.count, limit=found.limit, remaining=found.remaining
        ),
        parts=[_part_tokens(part) for part in found.parts],
        notes=[*([networks] if found.networks else []), *found.notes],
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
    return PromptPartTokens(msg("Weight {weight:g}", weight=part.weight), chunks)


def _encoder_table(encoder: EncoderReport) -> EncoderTable:
    title = msg("{encoder}, width {width}", encoder=encoder.key, width=encoder.width)
    if encoder.vocabulary_norm is not None:
        title = msg(
            "{encoder}, width {width}. Norm of the tokens in the vocabulary: {mean:.3f} ± {spread:.3f}.",
            encoder=encoder.key,
            width=encoder.width,
            mean=encoder.vocabulary_norm,
            spread=encoder.vocabulary_spread or 0,
        )
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
