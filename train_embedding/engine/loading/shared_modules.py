"""Building of a DiffusionModel that shares the weights of modules of diffusers and transformers, without changing the modules."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from train_embedding.embeddings.text_encoders import family_of
from train_embedding.engine.devices import support_of
from train_embedding.engine.loading.assign import assign_weights
from train_embedding.engine.loading.ldm_text_encoders import assign_text_weights
from train_embedding.engine.loading.shared_weights import to_normal_tensor
from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder
from train_embedding.engine.model.noise_schedule import LEAST_SIGNAL, PredictionType
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT
from train_embedding.errors import HostFailed
from train_embedding.messages import msg

VOCABULARY = END_OF_TEXT + 1
"Number of tokens of CLIP. Further rows of a token embedding table belong to embeddings that a host has loaded."
_TABLE = "token_embedding.weight"
_LORA, _LORA_BASE = ".lora_", ".base_layer."
"Parts of the names of a Lora's tensors, and of the layers below it, as peft adds them."


def model_from_modules(
    unet: Any, vae: Any, encoders: tuple[TextEncoder, ...], schedule: torch.Tensor, prediction_type: PredictionType
) -> DiffusionModel:
    """Build a model whose parameters share storage with those of a host's modules.

    New modules of the same configs get the tensors, so that hooks, patches and other classes of the host's modules play no part.
    Tensors on another device than the UNet's are copied to it. So are those of another dtype on a device without autocast, and an
    fp16 VAE whose config says that it overflows.

    Args:
        unet: A UNet2DConditionModel.
        vae: An AutoencoderKL.
        encoders: The host's text encoders.
        schedule: ᾱ of each timestep, [T].
        prediction_type: What the UNet predicts.

    Raises:
        HostFailed: Weights are not in memory.
    """
    parameter = next(unet.parameters())
    device, dtype = parameter.device, None if support_of(parameter.device).autocast else parameter.dtype
    vae_dtype = torch.float32 if dtype is None and _overflows(vae) else dtype
    with torch.inference_mode(False):
        shared = tuple(_shared_encoder(encoder, device, dtype) for encoder in encoders)
        return DiffusionModel(
            unet=_shared(unet, _tensors(unet, device, dtype)),
            vae=_shared(vae, _tensors(vae, device, vae_dtype)),
            text_encoders=shared,
            alphas_cumprod=schedule.detach().float().clamp(min=LEAST_SIGNAL).to(device),
            prediction_type=prediction_type,
            family=family_of({encoder.key: encoder.width for encoder in shared}),
            latent_scale=float(vae.config.scaling_factor),
            resolution=int(unet.config.sample_size) * 8,
            inpainting=unet.config.in_channels == 9,
        )


def vocabulary_of(text_encoder: Any) -> torch.Tensor:
    """Return the rows of CLIP's tokens in the token embedding table of a text encoder, [49408, d], without copying them.

    Raises:
        HostFailed: They are not in memory.
    """
    table = text_encoder.get_input_embeddings().weight
    if table.is_meta:
        raise _not_in_memory()
    return to_normal_tensor(table)[:VOCABULARY]


def _overflows(vae: Any) -> bool:
    return bool(getattr(vae.config, "force_upcast", False)) and vae.dtype == torch.float16


def _shared(module: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Make a module of diffusers with the config of another, and give it tensors."""
    kinds = {kind.__name__: kind for kind in type(module).__mro__}
    kind: Any = kinds.get("UNet2DConditionModel") or kinds["AutoencoderKL"]
    config = {key: value for key, value in module.config.items() if not key.startswith("_")}
    with torch.device("meta"):
        made = kind.from_config(config)
    return assign_weights(made, tensors)


def _shared_encoder(encoder: TextEncoder, device: torch.device, dtype: torch.dtype | None) -> TextEncoder:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tensors = _tensors(encoder.module, device, dtype)
    for key in [key for key in tensors if key.endswith(_TABLE)]:
        tensors[key] = tensors[key][:VOCABULARY]
    config = copy.deepcopy(encoder.module.config)
    config.vocab_size = min(VOCABULARY, encoder.token_embedding.weight.shape[0])
    with torch.device("meta"):
        made = CLIPTextModelWithProjection(config) if encoder.pools else CLIPTextModel(config)
    return replace(encoder, module=assign_text_weights(made, tensors))


def _tensors(module: Any, device: torch.device, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Return the tensors of a module without Loras on a device and, if `dtype` is not None, in that dtype."""
    tensors: dict[str, torch.Tensor] = {}
    for key, tensor in module.state_dict(keep_vars=True).items():
        if _LORA in key:
            continue
        if tensor.is_meta:
            raise _not_in_memory()
        kept = to_normal_tensor(tensor)
        tensors[key.replace(_LORA_BASE, ".")] = kept.to(device, dtype if kept.is_floating_point() else None)
    return tensors


def _not_in_memory() -> HostFailed:
    return HostFailed(
        msg("The weights of the loaded checkpoint are not in memory."), msg("Choose another offload mode in the settings.")
    )
