"""Networks of each family at their true size, without weights, for counting."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from train_embedding.embeddings.text_encoders import Family
from train_embedding.engine.data.latents import Batch
from train_embedding.engine.layers.frozen import freeze
from train_embedding.engine.loading.ldm import CONFIGS, read_config
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder
from train_embedding.engine.model.noise_schedule import noise_schedule
from train_embedding.engine.prompts.splicing import PromptBatch

WEIGHTS = torch.float16
"Dtype of weights in hosts."
FAMILIES: tuple[Family, ...] = ("SD1", "SD2", "SDXL")
CASES: tuple[tuple[Family, int], ...] = (("SD1", 512), ("SD2", 768), ("SDXL", 1024))
"Family and resolution in pixels."
_ENCODERS: dict[Family, tuple[dict[str, Any], ...]] = {
    "SD1": ({"hidden_size": 768, "num_hidden_layers": 12},),
    "SD2": ({"hidden_size": 1024, "num_hidden_layers": 24, "layer": 2},),
    "SDXL": (
        {"hidden_size": 768, "num_hidden_layers": 12, "layer": 2},
        {"hidden_size": 1280, "num_hidden_layers": 32, "layer": 2, "projection_dim": 1280},
    ),
}
"Configs of the text encoders of each family, with the layer that is used."


def meta_model(family: Family, dtype: torch.dtype = torch.float32) -> DiffusionModel:
    """Make the UNet and VAE of a family on the meta device, without text encoders."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_unet_diffusers_config_from_ldm, create_vae_diffusers_config_from_ldm

    params = read_config(CONFIGS / f"{family.lower()}.yaml")
    config = {"model": {"params": params}}
    schedule = noise_schedule(params["linear_start"], params["linear_end"], params["timesteps"]).to("meta")
    with torch.device("meta"), _default_dtype(dtype):
        unet = UNet2DConditionModel.from_config(create_unet_diffusers_config_from_ldm(config, {}))
        vae = AutoencoderKL.from_config(create_vae_diffusers_config_from_ldm(config, {}))
    return DiffusionModel(
        unet=unet,
        vae=vae,
        text_encoders=(),
        alphas_cumprod=schedule,
        prediction_type="epsilon",
        family=family,
        latent_scale=params["scale_factor"],
        resolution=8 * params["image_size"],
    )


def meta_prompt(model: DiffusionModel, *, batch: int = 1, to_pooled: bool = True) -> Conditioning:
    """Make encoded prompts of 77 tokens that require gradients. SDXL's pooled output requires them only with `to_pooled`."""
    config = model.unet.config
    context = torch.zeros(batch, 77, config.cross_attention_dim, device="meta", requires_grad=True)
    if config.addition_embed_type is None:
        return Conditioning(context)
    width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return Conditioning(context, torch.zeros(batch, width, device="meta", requires_grad=to_pooled))


def meta_batch(latents: torch.Tensor) -> Batch:
    """Make a batch of latents, [B, 4, h, w], with placeholder prompts."""
    ids = torch.zeros(len(latents), 1, 77, dtype=torch.long, device="meta")
    return Batch(latents, PromptBatch(ids, ids), torch.Generator())


def meta_text_encoders(family: Family, dtype: torch.dtype = torch.float32) -> list[TextEncoder]:
    """Make the text encoders of a family. Call it within a `FakeTensorMode`.

    They are not on the meta device, because transformers 4.30 reads a value from a tensor on the device of its input.
    """
    with _default_dtype(dtype):
        return [_text_encoder(**config) for config in _ENCODERS[family]]


def _text_encoder(layer: int = 1, **config: Any) -> TextEncoder:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    width, pools = config["hidden_size"], "projection_dim" in config
    full = CLIPTextConfig(**config, intermediate_size=4 * width, num_attention_heads=width // 64)
    module = (CLIPTextModelWithProjection if pools else CLIPTextModel)(full)
    freeze(module)
    return TextEncoder("clip_l", module, layer=layer, pools=pools)


def dtype_name(dtype: torch.dtype | None) -> str:
    """Return the name of a dtype without "torch."; empty for None."""
    return "" if dtype is None else str(dtype).removeprefix("torch.")


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Generator[None, None, None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
