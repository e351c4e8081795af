"""Floating-point operations of a training step, counted on the meta device at true model size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from train_embedding.engine.conditioning import Conditioning
from train_embedding.engine.ldm import CONFIGS, read_config
from train_embedding.engine.loop import losses_in_context
from train_embedding.engine.model import DiffusionModel, TextEncoder
from train_embedding.engine.noise import noise_schedule
from train_embedding.engine.placeholder import PromptBatch

CASES = (("SD1", 512), ("SD1", 256), ("SD2", 512), ("SD2", 768), ("SDXL", 1024))
"Family and side in pixels of the pictures that are counted."
_ENCODERS: dict[str, tuple[dict[str, Any], ...]] = {
    "SD1": ({"hidden_size": 768, "num_hidden_layers": 12},),
    "SD2": ({"hidden_size": 1024, "num_hidden_layers": 24, "layer": 2},),
    "SDXL": (
        {"hidden_size": 768, "num_hidden_layers": 12, "layer": 2},
        {"hidden_size": 1280, "num_hidden_layers": 32, "layer": 2, "projection_dim": 1280},
    ),
}
"Per family its text encoders: what is particular in their configs, and the layer that is read."


@dataclass(frozen=True)
class StepFlops:
    """Counts at batch 1. step: forward and backward of the UNet; text_encoder: the same of the text encoders."""

    family: str
    resolution: int
    forward: int
    step: int
    text_encoder: int

    @property
    def ratio(self) -> float:
        """The step's UNet work as a multiple of one UNet forward."""
        return self.step / self.forward

    def to_json(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "resolution": self.resolution,
            "forward_tflop": self.forward / 1e12,
            "step_tflop": self.step / 1e12,
            "text_encoder_tflop": self.text_encoder / 1e12,
            "ratio": self.ratio,
        }


def meta_model(family: str) -> DiffusionModel:
    """A family at its true size, without weights: UNet and VAE on the meta device, and no text encoders."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_unet_diffusers_config_from_ldm, create_vae_diffusers_config_from_ldm

    params = read_config(CONFIGS / f"{family.lower()}.yaml")
    config = {"model": {"params": params}}
    with torch.device("meta"):
        return DiffusionModel(
            unet=UNet2DConditionModel.from_config(create_unet_diffusers_config_from_ldm(config, {})),
            vae=AutoencoderKL.from_config(create_vae_diffusers_config_from_ldm(config, {})),
            text_encoders=(),
            alphas_cumprod=noise_schedule(params["linear_start"], params["linear_end"], params["timesteps"]).to("meta"),
            prediction_type="epsilon",
            family=family,
            latent_scale=params["scale_factor"],
            resolution=8 * params["image_size"],
        )


@cache
def count_text_encoders(family: str) -> int:
    """Forward and backward of the family's text encoders to one vector each, as `engine.loop` runs them."""
    # Not on the meta device: transformers 4.30 reads a number from a tensor that it makes on the device of its input.
    with FakeTensorMode(), torch.enable_grad():
        encoders = [_text_encoder(**config) for config in _ENCODERS[family]]
        tables = [torch.zeros(1, encoder.width, requires_grad=True) for encoder in encoders]
        prompts = PromptBatch(torch.zeros(1, 1, 77, dtype=torch.long), torch.zeros(1, 1, 77, dtype=torch.long))
        with FlopCounterMode(display=False) as counter:
            outputs = [encoder.encode(prompts, table) for encoder, table in zip(encoders, tables, strict=True)]
            torch.stack([part.sum() for output in outputs for part in output if part is not None]).sum().backward()
    return counter.get_total_flops()


def count_step(model: DiffusionModel, resolution: int, *, to_pooled: bool = True) -> StepFlops:
    """Counts what the UNet does in a step of `engine.loop`: forward, loss, and the backward to the prompt.

    to_pooled: whether the backward goes to SDXL's pooled output too, as it does where the second encoder is trained.
    """
    conditioning = _prompt(model, to_pooled)
    latents = torch.zeros(1, 4, resolution // 8, resolution // 8, device="meta")
    timesteps = torch.zeros(1, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.predict(latents, timesteps, conditioning)
    with FlopCounterMode(display=False) as step, torch.enable_grad():
        losses_in_context(model, conditioning, latents, torch.zeros_like(latents), timesteps).mean().backward()
    encoders = count_text_encoders(model.family)
    return StepFlops(model.family, resolution, forward.get_total_flops(), step.get_total_flops(), encoders)


def flop_table() -> list[dict[str, Any]]:
    """One row per case of CASES, in TFLOP at batch 1."""
    models = {family: meta_model(family) for family in _ENCODERS}
    return [count_step(models[family], resolution).to_json() for family, resolution in CASES]


def _prompt(model: DiffusionModel, to_pooled: bool) -> Conditioning:
    """An encoded prompt of 77 tokens on the meta device, to which the backward goes."""
    config = model.unet.config
    context = torch.zeros(1, 77, config.cross_attention_dim, device="meta", requires_grad=True)
    if config.addition_embed_type is None:
        return Conditioning(context)
    width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return Conditioning(context, torch.zeros(1, width, device="meta", requires_grad=to_pooled))


def _text_encoder(layer: int = 1, **config: Any) -> TextEncoder:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    width, pools = config["hidden_size"], "projection_dim" in config
    full = CLIPTextConfig(**config, intermediate_size=4 * width, num_attention_heads=width // 64)
    module = (CLIPTextModelWithProjection if pools else CLIPTextModel)(full).requires_grad_(False)
    return TextEncoder("clip_l", module, layer=layer, pools=pools)
