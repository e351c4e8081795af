"""What the values in an embedding file mean, whichever container they came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.text_encoders import KEYS, key_for_width
from train_embedding.errors import InvalidInput, UnreadableFile


def embedding_from(name: str, values: Mapping[str, object], metadata: Mapping[str, object]) -> Embedding:
    """Builds an embedding from a file's values.

    values: the WebUI's `string_to_param`, or one tensor per text encoder key, or a single tensor under any key.
    metadata: may hold "step", "sd_checkpoint" and "sd_checkpoint_name". Raises UnreadableFile for anything else.
    """
    vectors = _vectors(name, values)
    try:
        return Embedding(
            name=name,
            vectors=vectors,
            step=_whole_number(metadata.get("step")),
            checkpoint_name=_text(metadata.get("sd_checkpoint_name")),
            checkpoint_hash=_text(metadata.get("sd_checkpoint")),
        )
    except InvalidInput as error:
        raise UnreadableFile(error.message) from error


def _vectors(name: str, values: Mapping[str, object]) -> dict[str, torch.Tensor]:
    if "string_to_param" in values:
        return _single(name, _parameters(values["string_to_param"]))
    by_encoder = {key: _table(values[key]) for key in KEYS if isinstance(values.get(key), torch.Tensor)}
    if by_encoder:
        return by_encoder
    return _single(name, values)


def _single(name: str, values: Mapping[str, object]) -> dict[str, torch.Tensor]:
    tensors = [value for value in values.values() if isinstance(value, torch.Tensor)]
    if len(tensors) != 1:
        raise UnreadableFile(
            f'The file of "{name}" holds {len(tensors)} tensors; an embedding has one, or one for each text encoder.',
            "" if tensors else "It may be something else than an embedding.",
        )
    table = _table(tensors[0])
    return {key_for_width(table.shape[-1] if table.ndim else 0): table}


def _parameters(held: object) -> Mapping[str, object]:
    """The contents of `string_to_param`: a dictionary, or torch's ParameterDict, whose own methods are not trusted."""
    if isinstance(held, torch.nn.ParameterDict):
        held = vars(held).get("_parameters")
    return cast("Mapping[str, object]", held) if isinstance(held, dict) else {}


def _table(tensor: object) -> torch.Tensor:
    tensor = cast(torch.Tensor, tensor)
    return tensor.unsqueeze(0) if tensor.ndim == 1 else tensor


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 15:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
