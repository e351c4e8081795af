"""What the Library panel shows of the inside of embeddings and prompts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING

from markupsafe import Markup

from train_embedding.images.png import encode_png
from train_embedding.ui import html
from train_embedding.ui.library.cards import printable

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.services.inspection import EncoderReport, PromptTokens, Report, VectorFigures

_SIMILARITY = "Similarity of the vectors, from the first to the last"
HEADS = ("Norm", "Min", "Max", "Origin", "Nearest words", "Nearest embeddings", "Vectors", "Likeness", _SIMILARITY)
"What stands over columns and pictures."
_REPORT = Markup("<div class='te-report'>{}</div>")
_TABLE = Markup("<div class='te-wide'><table><tr>{}</tr>{}</table></div>")
_HEAD, _CELL, _LINE = Markup("<th>{}</th>"), Markup("<td>{}</td>"), Markup("<tr>{}</tr>")
_FACT = Markup("<tr><th>{}</th><td dir='auto'>{}</td></tr>")
_NEAR = Markup("<span class='te-near' title='{:.3f}' dir='auto'>{}</span>")
_TOKEN = Markup("<span class='te-token{}' title='{}' dir='auto'>{}</span>")
_PICTURE = Markup("<p class='te-more'>{}</p><img alt='' src='{}'>")


def report(found: Report, heat_map: Image.Image | None) -> Markup:
    """Norms, ranges, nearest words and neighbours; heat_map: the similarity between the vectors, where they were compared."""
    pieces = [_facts(found.metadata)] if found.metadata else []
    pieces += [_encoder(encoder) for encoder in found.encoders]
    if found.origin:
        pieces.append(html.message("quiet", f'"Origin" is the cosine with {found.origin}.'))
    if heat_map is not None:
        pieces.append(_PICTURE.format(_SIMILARITY, _png(heat_map)))
    if found.neighbours:
        rows = [(one.name, str(one.vectors), f"{one.likeness:.3f}") for one in found.neighbours]
        pieces.append(_table(("Nearest embeddings", "Vectors", "Likeness"), rows))
    pieces += [html.message("quiet", remark) for remark in found.remarks]
    return _REPORT.format(html.join(pieces))


def tokens(found: PromptTokens) -> Markup:
    """Every token in its chunk, embeddings marked, and what room is left."""
    pieces = [html.message("quiet", f"{html.count(found.count, 'token')} of {found.limit}, {found.remaining} left.")]
    for part in found.parts:
        if len(found.parts) > 1:
            pieces.append(html.message("quiet", f"Weight {part.weight:g}"))
        for chunk in part.chunks:
            drawn = html.join(_token(token.text, token.weight, token.embedding, token.vector) for token in chunk.tokens)
            pieces.append(Markup("<div class='te-chunk'>{}</div>").format(drawn))
    if found.networks:
        pieces.append(html.message("quiet", f"Left out: {' '.join(found.networks)}"))
    pieces += [html.message("quiet", note) for note in found.notes]
    return _REPORT.format(html.join(pieces))


def _token(text: str, weight: float, embedding: str, vector: int | None) -> Markup:
    shown = f"{embedding} {(vector or 0) + 1}" if embedding else text
    return _TOKEN.format(" te-own" if embedding else "", f"{weight:.3g}", printable(shown))


def _encoder(encoder: EncoderReport) -> Markup:
    text = f"{encoder.key}, width {encoder.width}"
    if encoder.vocabulary_norm is not None:
        text += f"; words have a norm of {encoder.vocabulary_norm:.3f} ± {encoder.vocabulary_spread or 0:.3f}"
    title = html.message("quiet", text)
    with_start = any(vector.to_origin is not None for vector in encoder.vectors)
    head = ("", "Norm", "Min", "Max", *(["Origin"] if with_start else []), "Nearest words")
    rows = [_vector(number, vector, with_start) for number, vector in enumerate(encoder.vectors, start=1)]
    return title + _TABLE.format(html.join(_HEAD.format(one) for one in head), html.join(rows))


def _vector(number: int, vector: VectorFigures, with_start: bool) -> Markup:
    start = [] if not with_start else ["–" if vector.to_origin is None else f"{vector.to_origin:.2f}"]
    near = html.join(_NEAR.format(one.cosine, printable(one.text)) for one in vector.nearest)
    cells = [str(number), f"{vector.norm:.3f}", f"{vector.smallest:.3f}", f"{vector.largest:.3f}", *start, near]
    return _LINE.format(html.join(_CELL.format(cell) for cell in cells))


def _facts(metadata: Mapping[str, str]) -> Markup:
    rows = html.join(_FACT.format(printable(key), printable(value)) for key, value in metadata.items())
    return Markup("<table>{}</table>").format(rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Markup:
    body = html.join(_LINE.format(html.join(_CELL.format(printable(cell)) for cell in row)) for row in rows)
    return _TABLE.format(html.join(_HEAD.format(one) for one in head), body)


def _png(picture: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode("ascii")
