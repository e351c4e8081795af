"""Models of Stable Diffusion 1 and XL with random weights from a seed, made on the device and without files."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from benchmarks.random_checkpoint import fill
from train_embedding.engine.loading.ldm import CONFIGS, read_config
from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder
from train_embedding.engine.model.noise_schedule import noise_schedule

RandomFamily = Literal["SD1", "SDXL"]
_ENCODERS: dict[RandomFamily, tuple[dict[str, Any], ...]] = {
    "SD1": ({"hidden_size": 768, "num_hidden_layers": 12},),
    "SDXL": (
        {"hidden_size": 768, "num_hidden_layers": 12},
        {"hidden_size": 1280, "num_hidden_layers": 32, "projection_dim": 1280, "hidden_act": "gelu"},
    ),
}
_TINY_ENCODER = {"hidden_size": 64, "num_hidden_layers": 2, "projection_dim": 64}
_TINY_UNET: dict[RandomFamily, dict[str, Any]] = {
    "SD1": {"block_out_channels": (32, 64, 64, 64), "attention_head_dim": 4, "cross_attention_dim": 64},
    "SDXL": {
        "block_out_channels": (32, 64, 64),
        "attention_head_dim": (2, 4, 4),
        "cross_attention_dim": 128,
        "transformer_layers_per_block": (1, 1, 1),
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 64 + 6 * 8,
    },
}
_TINY_VAE = {"block_out_channels": (32, 32, 32, 32)}


def random_model(
    family: RandomFamily, device: torch.device, dtype: torch.dtype, *, tiny: bool = False, seed: int = 0
) -> DiffusionModel:
    """Make a model with the published structure, at its true size or with few channels and layers."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_unet_diffusers_config_from_ldm, create_vae_diffusers_config_from_ldm

    params = read_config(CONFIGS / f"{family.lower()}.yaml")
    config = {"model": {"params": params}}
    unet_config = create_unet_diffusers_config_from_ldm(config, {}) | (_TINY_UNET[family] if tiny else {})
    vae_config = create_vae_diffusers_config_from_ldm(config, {}) | (_TINY_VAE if tiny else {})
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel.from_config(unet_config), AutoencoderKL.from_config(vae_config)
        modules = [_text_encoder(options | (_TINY_ENCODER if tiny else {})) for options in _ENCODERS[family]]
    for network in (unet, vae, *modules):
        _materialise(network, device, dtype, generator)
    return DiffusionModel(
        unet=unet,
        vae=vae,
        text_encoders=_text_encoders(family, modules),
        alphas_cumprod=noise_schedule(params["linear_start"], params["linear_end"], params["timesteps"]).to(device),
        prediction_type="epsilon",
        family=family,
        latent_scale=params["scale_factor"],
        resolution=64 if tiny else 8 * params["image_size"],
    )


def _text_encoder(options: dict[str, Any]) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    width = options["hidden_size"]
    config = CLIPTextConfig(**options, intermediate_size=4 * width, num_attention_heads=width // 64 if width > 64 else 4)
    return (CLIPTextModelWithProjection if options.get("hidden_act") == "gelu" else CLIPTextModel)(config)


def _text_encoders(family: RandomFamily, modules: list[Any]) -> tuple[TextEncoder, ...]:
    if family == "SD1":
        return (TextEncoder("clip_l", modules[0]),)
    first = TextEncoder("clip_l", modules[0], layer=2, normalised=False)
    return first, TextEncoder("clip_g", modules[1], layer=2, normalised=False, padding=0, pools=True)


@torch.no_grad()
def _materialise(network: nn.Module, device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> None:
    """Give a network on the meta device weights on a device."""
    network.to(dtype=dtype).to_empty(device=device)
    for name, parameter in network.named_parameters():
        fill(parameter, name, generator)
    for name, buffer in network.named_buffers():
        assert name.endswith("position_ids"), name
        buffer.copy_(torch.arange(buffer.shape[-1], device=device))
