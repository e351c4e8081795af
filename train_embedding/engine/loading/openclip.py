"""Conversion of OpenCLIP's text encoder to a CLIPTextModel of transformers that shares its storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from train_embedding.engine.layers.quantised import Weight
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, START_OF_TEXT

W = TypeVar("W", bound=Weight)

_ENDS = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_BLOCK = "transformer.resblocks."
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_TRANSFORMERS = "text_model."
_PROJECTION = "text_projection.weight"
_HEAD = 64
"Channels of an attention head in ViT-H/14 and ViT-bigG/14."


def openclip_weights(state: Mapping[str, W], prefix: str, *, projection: bool) -> dict[str, W]:
    """Rename the tensors under a prefix to the keys of transformers, without copying them.

    Tensors that already have these keys, as in Forge, are returned unchanged. OpenCLIP stores q, k and v of a block in one
    `in_proj_weight` [3d, d], which becomes three views. Its `text_projection` [d, p] is transposed.

    Args:
        state: Tensors by LDM key.
        prefix: Prefix of the keys of the text encoder.
        projection: Whether to include the text projection.
    """
    found = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    if any(key.startswith(_TRANSFORMERS) for key in found):
        kept = (_TRANSFORMERS, _PROJECTION) if projection else _TRANSFORMERS
        return {key: tensor for key, tensor in found.items() if key.startswith(kept)}
    weights = {name: found[key] for key, name in _ENDS.items() if key in found}
    if projection and "text_projection" in found:
        weights[_PROJECTION] = cast("W", found["text_projection"].t())
    for key, tensor in found.items():
        if key.startswith(_BLOCK):
            number, _, rest = key.removeprefix(_BLOCK).partition(".")
            weights.update(_block(f"text_model.encoder.layers.{number}.", rest, tensor))
    return weights


def openclip_config(weights: Mapping[str, Weight]) -> dict[str, Any]:
    """Infer the config of a CLIPTextModel of transformers from the result of `openclip_weights`."""
    length, width = weights["text_model.embeddings.position_embedding.weight"].shape
    projection = weights.get(_PROJECTION)
    return {
        "hidden_size": width,
        "intermediate_size": weights["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len({key.split(".")[3] for key in weights if key.startswith("text_model.encoder.layers.")}),
        "num_attention_heads": width // _HEAD,
        "vocab_size": weights["text_model.embeddings.token_embedding.weight"].shape[0],
        "max_position_embeddings": length,
        "projection_dim": width if projection is None else projection.shape[0],
        "hidden_act": "gelu",
        "bos_token_id": START_OF_TEXT,
        "eos_token_id": END_OF_TEXT,
    }


def _block(prefix: str, rest: str, tensor: W) -> dict[str, W]:
    part, _, kind = rest.rpartition(".")
    if kind.startswith("in_proj_"):
        names = [f"{prefix}self_attn.{letter}_proj.{kind.removeprefix('in_proj_')}" for letter in "qkv"]
        return dict(zip(names, cast("tuple[W, ...]", tensor.chunk(3)), strict=True))
    return {f"{prefix}{_IN_BLOCK[part]}.{kind}": tensor}
