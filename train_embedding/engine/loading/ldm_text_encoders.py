"""Building of text encoders from weights with LDM keys, and the layers that each family uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from train_embedding.embeddings.text_encoders import key_for_width
from train_embedding.engine.layers.quantised import Weight
from train_embedding.engine.loading.assign import assign_weights
from train_embedding.engine.loading.openclip import openclip_config, openclip_weights
from train_embedding.engine.model.diffusion_model import TextEncoder
from train_embedding.errors import HostFailed, UnreadableFile
from train_embedding.messages import msg

_SD1 = "cond_stage_model.transformer."
_SD2 = "cond_stage_model.model."
_SDXL = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")
_REFINER = "conditioner.embedders.0.model."


def build_text_encoders(
    state: Mapping[str, Weight], params: dict[str, Any], text_config: dict[str, Any] | None, clip_skip: int | None
) -> tuple[TextEncoder, ...]:
    """Build the text encoders of a checkpoint, in the order in which their outputs are concatenated.

    Args:
        state: Tensors and quantised weights by LDM key.
        params: `model.params` of an LDM config.
        text_config: Config of the CLIPTextModel of transformers, if it cannot be inferred from the weights.
        clip_skip: Layer of CLIP ViT-L to use, counted from the last layer; None for the default of the family. As in the WebUI,
            it does not apply to the OpenCLIP encoders of SD2 and SDXL.

    Raises:
        HostFailed: There is no text encoder, or the checkpoint is SDXL's refiner.
    """
    config = text_config or _config_from_folder(params)
    if _has_prefix(state, _SDXL[1]):
        first, second = _embedders(params)
        clip = _clip(state, _SDXL[0], config)
        layer, normalised = _sdxl_layer(first, clip.module.config.num_hidden_layers)
        if clip_skip is not None:
            layer, normalised = clip_skip, False
        return (
            TextEncoder("clip_l", clip.module, layer=layer, normalised=normalised),
            _openclip(state, _SDXL[1], "clip_g", layer=_openclip_layer(second, "penultimate"), pools=True),
        )
    if _has_prefix(state, _REFINER):
        raise HostFailed(msg("The checkpoint is SDXL's refiner."), msg("Use the SDXL base checkpoint."))
    if _has_prefix(state, _SD2):
        return (_openclip(state, _SD2, "clip_h", layer=_openclip_layer(_params_of(params, "cond_stage_config"), "last")),)
    clip = _clip(state, _SD1, config)
    return (TextEncoder(clip.key, clip.module, layer=clip_skip or 1),)


def text_config_folder(params: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an LDM config, not copied, whose "version" may be a folder with the config of a CLIP text encoder."""
    if "conditioner_config" in params:
        return _embedders(params)[0]
    return _params_of(params, "cond_stage_config")


def assign_text_weights(module: Any, weights: Mapping[str, Weight]) -> Any:
    """Make tensors the parameters of a text encoder on the meta device, as `assign_weights`, and complete its position ids."""
    if not any(key.startswith("text_model.") for key in module.state_dict()):  # transformers 5
        weights = {key.removeprefix("text_model."): tensor for key, tensor in weights.items()}
    body = getattr(module, "text_model", module)
    length = body.embeddings.position_embedding.num_embeddings
    # Positions are part of the weights up to transformers 4.30, and some merging tools store them as floats.
    weights = {key: tensor for key, tensor in weights.items() if not key.endswith("position_ids")}
    body.embeddings.register_buffer("position_ids", torch.empty(1, length, dtype=torch.long, device="meta"), persistent=False)
    assign_weights(module, weights)
    device = body.embeddings.position_embedding.weight.device
    body.embeddings.position_ids = torch.arange(length, device=device).unsqueeze(0)
    return module


def _params_of(params: dict[str, Any], name: str) -> dict[str, Any]:
    part: dict[str, Any] = params.get(name) or {}
    return part.get("params") or {}


def _embedders(params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of the first two embedders of an sgm config, which are SDXL's text encoders."""
    embedders: list[dict[str, Any]] = _params_of(params, "conditioner_config").get("emb_models") or []
    values: list[dict[str, Any]] = [embedder.get("params") or {} for embedder in embedders]
    first, second, *_ = [*values, {}, {}]
    return first, second


def _sdxl_layer(embedder: dict[str, Any], layers: int) -> tuple[int, bool]:
    """Return the layer of CLIP ViT-L, counted from the last, and whether it is normalised. SDXL uses hidden layer 11 of 12."""
    if embedder.get("layer", "hidden") == "last":
        return 1, True
    index = embedder.get("layer_idx")
    return (2 if index is None else (layers + 1 - index) if index >= 0 else -index), False


def _openclip_layer(embedder: dict[str, Any], default: str) -> int:
    return 2 if embedder.get("layer", default) == "penultimate" else 1


def _openclip(state: Mapping[str, Weight], prefix: str, key: str, *, layer: int, pools: bool = False) -> TextEncoder:
    """Build an OpenCLIP encoder. SD2 normalises its hidden states, SDXL does not. Both were trained with token 0 as padding."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    weights = openclip_weights(state, prefix, projection=pools)
    config = CLIPTextConfig(**openclip_config(weights))
    with torch.device("meta"):
        module = CLIPTextModelWithProjection(config) if pools else CLIPTextModel(config)
    return TextEncoder(key, assign_text_weights(module, weights), layer=layer, normalised=not pools, padding=0, pools=pools)


def _clip(state: Mapping[str, Weight], prefix: str, config: dict[str, Any] | None) -> TextEncoder:
    from transformers import CLIPTextConfig, CLIPTextModel

    weights = _clip_weights(state, prefix)
    with torch.device("meta"):
        module = CLIPTextModel(CLIPTextConfig(**(config or _config_from_weights(weights))))
    module = assign_text_weights(module, weights)
    return TextEncoder(key_for_width(module.get_input_embeddings().weight.shape[1]), module)


def _clip_weights(state: Mapping[str, Weight], prefix: str) -> dict[str, Weight]:
    """Return the tensors of the text encoder with keys that start with "text_model.", which early checkpoints omit."""
    weights: dict[str, Weight] = {}
    for key, tensor in state.items():
        if key.startswith(prefix):
            weights["text_model." + key.removeprefix(prefix).removeprefix("text_model.")] = tensor
    if not weights:
        raise HostFailed(msg("The checkpoint contains no CLIP text encoder."))
    return weights


def _config_from_folder(params: dict[str, Any]) -> dict[str, Any] | None:
    version = text_config_folder(params).get("version")
    file = Path(version) / "config.json" if version else None
    if file is None or not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableFile(msg('The text encoder config "{file}" cannot be read.', file=file)) from error


def _config_from_weights(weights: Mapping[str, Weight]) -> dict[str, Any]:
    """Infer the config of a CLIP text encoder with attention heads of 64 channels, as in all of OpenAI's encoders."""
    width = weights["text_model.embeddings.token_embedding.weight"].shape[1]
    layers = {key.split(".")[3] for key in weights if key.startswith("text_model.encoder.layers.")}
    return {
        "hidden_size": width,
        "intermediate_size": weights["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // 64,
        "vocab_size": weights["text_model.embeddings.token_embedding.weight"].shape[0],
        "max_position_embeddings": weights["text_model.embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
    }


def _has_prefix(state: Mapping[str, Weight], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state)
