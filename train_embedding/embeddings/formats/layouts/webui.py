"""The WebUI's layout: the vectors in `string_to_param`, and metadata about their origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import about, only, single, tensors_in
from train_embedding.messages import plural

NAME: FormatName = "webui"
_PLACEHOLDER_TOKEN = 265
'Token id of "*" in CLIP\'s vocabulary, which every file of this layout contains.'


def sniff(content: Content) -> bool:
    return "string_to_param" in content.values


def read(content: Content, file: str) -> Embedding:
    """Read the embedding.

    Raises:
        UnreadableFile: `string_to_param` does not contain exactly one tensor, under any key.
    """
    held = content.values["string_to_param"]
    tensors = tensors_in(cast("Mapping[str, object]", held)) if isinstance(held, dict) else []
    if len(tensors) != 1:
        reason = plural(
            "contains {count} tensor in string_to_param; an embedding has one.",
            "contains {count} tensors in string_to_param; an embedding has one.",
            len(tensors),
        )
        raise unreadable(file, reason)
    return single(content, file, tensors[0], NAME)


def write(embedding: Embedding) -> Content:
    """Arrange an embedding in this layout.

    Raises:
        InvalidInput: It has several text encoders.
    """
    tensor = only(embedding)
    # In the order in which the WebUI writes them; it ignores other keys.
    values = {"string_to_token": {"*": _PLACEHOLDER_TOKEN}, "string_to_param": {"*": tensor}, **about(embedding)}
    return Content(values, values)
