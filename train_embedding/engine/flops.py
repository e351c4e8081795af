"""Floating-point operations of a training step, counted on the meta device at true model size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from train_embedding.engine.ldm import CONFIGS, noise_schedule, read_config
from train_embedding.engine.loop import losses_in_context
from train_embedding.engine.model import DiffusionModel, TextEncoder
from train_embedding.engine.placeholder import PromptBatch

CASES = (("SD1", 512), ("SD1", 256))
"Family and side in pixels of the pictures that are counted."


@dataclass(frozen=True)
class StepFlops:
    """Counts at batch 1. step: forward and backward of the UNet; text_encoder: the same of the text encoder."""

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


def meta_sd1() -> DiffusionModel:
    """Stable Diffusion 1.x at its true size, without weights: UNet and VAE on the meta device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_unet_diffusers_config_from_ldm, create_vae_diffusers_config_from_ldm

    config = {"model": {"params": read_config(CONFIGS / "sd1.yaml")}}
    with torch.device("meta"):
        return DiffusionModel(
            unet=UNet2DConditionModel.from_config(create_unet_diffusers_config_from_ldm(config, {})),
            vae=AutoencoderKL.from_config(create_vae_diffusers_config_from_ldm(config, {})),
            text_encoders=(),
            alphas_cumprod=noise_schedule(0.00085, 0.012, 1000).to("meta"),
            prediction_type="epsilon",
            family="SD1",
            latent_scale=0.18215,
            resolution=512,
        )


def count_text_encoder() -> int:
    """Forward and backward of CLIP ViT-L/14's text encoder to one vector, as `engine.loop` runs it."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    # Not on the meta device: transformers 4.30 reads a number from a tensor that it makes on the device of its input.
    with FakeTensorMode(), torch.enable_grad():
        encoder = TextEncoder("clip_l", CLIPTextModel(config).requires_grad_(False))
        table = torch.zeros(1, 768, requires_grad=True)
        prompts = PromptBatch(torch.zeros(1, 1, 77, dtype=torch.long), torch.zeros(1, 1, 77, dtype=torch.long))
        with FlopCounterMode(display=False) as counter:
            encoder.encode(prompts, table, clip_skip=1).sum().backward()
    return counter.get_total_flops()


def count_step(model: DiffusionModel, resolution: int) -> StepFlops:
    """Counts what the UNet does in a step of `engine.loop`: forward, loss, and the backward to the context."""
    context = torch.zeros(1, 77, 768, device="meta", requires_grad=True)
    latents = torch.zeros(1, 4, resolution // 8, resolution // 8, device="meta")
    timesteps = torch.zeros(1, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.predict(latents, timesteps, context)
    with FlopCounterMode(display=False) as step, torch.enable_grad():
        losses_in_context(model, context, latents, torch.zeros_like(latents), timesteps).mean().backward()
    return StepFlops(model.family, resolution, forward.get_total_flops(), step.get_total_flops(), count_text_encoder())


def flop_table() -> list[dict[str, Any]]:
    """One row per case of CASES, in TFLOP at batch 1."""
    models = {"SD1": meta_sd1()}
    return [count_step(models[family], resolution).to_json() for family, resolution in CASES]
