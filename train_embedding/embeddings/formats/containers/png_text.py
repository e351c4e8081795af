"""`.png` with the values in a text chunk, as base64 of JSON: what the WebUI's trainer saves beside its pictures."""

from __future__ import annotations

import base64
import binascii
import io

from train_embedding.embeddings.formats.containers import json_text, pictures
from train_embedding.embeddings.formats.containers.png_chunks import SIGNATURE, NotPNG, embedding_text, with_text, without_text
from train_embedding.embeddings.formats.content import Content, unreadable

SUFFIXES: tuple[str, ...] = (".png",)
FORM = "png"


def sniff(data: bytes) -> bool:
    """Whether this is a PNG file with such a text, be it damaged."""
    if not data.startswith(SIGNATURE):
        return False
    try:
        return embedding_text(io.BytesIO(data)) is not None
    except NotPNG:
        return True


def read(data: bytes, file: str) -> Content:
    """The values in the text chunk; the pixels are not looked at. Raises UnreadableFile."""
    try:
        text = embedding_text(io.BytesIO(data)) or b""
        values = json_text.decode(base64.b64decode(text, validate=True), file)
    except NotPNG as error:
        raise unreadable(file, f"is damaged or no embedding: {error}.") from error
    except binascii.Error as error:
        raise unreadable(file, "is damaged: the text it carries is not base64.") from error
    return Content(values, values, FORM)


def write(content: Content, suffix: str) -> bytes:
    """A picture of the vectors, with the values in its text chunk."""
    picture = pictures.encode(pictures.drawn(content.values), suffix)
    return with_text(picture, base64.b64encode(json_text.encode(content.values)))


def called(data: bytes, name: str) -> bytes:
    """The same picture with another name in its text chunk. Raises UnreadableFile."""
    values = {**read(data, name).values, "name": name}
    return with_text(without_text(data), base64.b64encode(json_text.encode(values)))
