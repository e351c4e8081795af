"""The WebUI's layout: `string_to_param` with the vectors, and where they come from beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import about, only, single, tensors_in

NAME: FormatName = "webui"
_PLACEHOLDER_TOKEN = 265
'Token id of "*" in CLIP\'s vocabulary, which every file of this layout names.'


def sniff(content: Content) -> bool:
    return "string_to_param" in content.values


def read(content: Content, file: str) -> Embedding:
    """Raises UnreadableFile unless `string_to_param` holds exactly one tensor, whatever its key."""
    held = content.values["string_to_param"]
    tensors = tensors_in(cast("Mapping[str, object]", held)) if isinstance(held, dict) else []
    if len(tensors) != 1:
        raise unreadable(file, f"holds {len(tensors)} tensors in its string_to_param, where an embedding has one.")
    return single(content, file, tensors[0], NAME)


def write(embedding: Embedding) -> Content:
    """For an embedding of one text encoder. Raises InvalidInput for another."""
    tensor = only(embedding)
    # In the order in which the WebUI writes them; it looks at no key besides these.
    values = {"string_to_token": {"*": _PLACEHOLDER_TOKEN}, "string_to_param": {"*": tensor}, **about(embedding)}
    return Content(values, values)
