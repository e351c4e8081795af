"""The demo's text encoder and UNet, trained together on latents and captions."""

# torch and numpy annotate these only partly:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from train_embedding.demo.maker.muon import Muon
from train_embedding.engine.model.noise_schedule import add_noise
from train_embedding.engine.prompts.splicing import batch_prompts, tokenize_pieces
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, START_OF_TEXT

LAYERS = 1
CHANNELS = (96, 96)
WIDTH = 64
CAPTION_DROPOUT = 0.1
EMA_DECAY = 0.999
TEXT_CONFIG: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 4 * WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
    "projection_dim": WIDTH,
    "bos_token_id": START_OF_TEXT,
    "eos_token_id": END_OF_TEXT,
    "pad_token_id": END_OF_TEXT,
}


def new_text_encoder() -> CLIPTextModel:
    """Make an untrained text encoder."""
    return CLIPTextModel(CLIPTextConfig(**TEXT_CONFIG))


def new_unet() -> UNet2DConditionModel:
    """Make an untrained UNet for 8×8×4 latents with cross-attention at both levels."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=CHANNELS,
        layers_per_block=LAYERS,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # the number of heads; diffusers calls it so
        down_block_types=("CrossAttnDownBlock2D",) * len(CHANNELS),
        up_block_types=("CrossAttnUpBlock2D",) * len(CHANNELS),
    )


def train_unet(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    latents: torch.Tensor,
    captions: Sequence[str],
    alphas_cumprod: torch.Tensor,
    *,
    steps: int,
    rate: float,
    batch_size: int,
    seed: int,
    log: Callable[[str], None],
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train both networks; return their moving averages, which give better images than the last weights.

    Training uses epsilon prediction, a rate that falls in the last two thirds, and a tenth of the captions left empty for
    classifier-free guidance.

    Args:
        unet: The UNet.
        text_encoder: The text encoder.
        latents: Scaled latents, [N, 4, 8, 8].
        captions: Caption of each latent.
        alphas_cumprod: The noise schedule.
        steps: Number of steps.
        rate: Learning rate of Muon in the first third.
        batch_size: Latents per step.
        seed: Seed of noise, timesteps and the order of latents.
        log: Is called with the loss every 100 steps.
    """
    generator = torch.Generator().manual_seed(seed)
    modules = torch.nn.ModuleList([unet, text_encoder]).train().requires_grad_(True)
    average = copy.deepcopy(modules).requires_grad_(False).eval()
    optimizer = Muon([unet, text_encoder], rate=rate, adam_rate=rate / 10)
    ids = _all_ids(captions)
    empty = _all_ids([""])[0]
    for step in range(1, steps + 1):
        chosen = torch.randint(len(latents), (batch_size,), generator=generator)
        dropped = torch.rand(batch_size, generator=generator) < CAPTION_DROPOUT
        context = text_encoder(torch.where(dropped[:, None], empty, ids[chosen])).last_hidden_state
        strata = (torch.randperm(batch_size, generator=generator) + torch.rand(batch_size, generator=generator)) / batch_size
        timesteps = (strata * len(alphas_cumprod)).long()
        noise = torch.randn(batch_size, 4, 8, 8, generator=generator)
        noisy = add_noise(latents[chosen], noise, alphas_cumprod, timesteps)
        loss = F.mse_loss(unet(noisy, timesteps, context, return_dict=False)[0], noise)
        loss.backward()
        optimizer.step(min(1.0, step / 50) * min(1.0, 1.5 * (1 - (step - 1) / steps)))
        decay = min(EMA_DECAY, step / (step + 10))
        with torch.no_grad():
            for kept, parameter in zip(average.parameters(), modules.parameters(), strict=True):
                kept.lerp_(parameter, 1 - decay)
        if step % 100 == 0 or step == steps:
            log(f"unet step {step}/{steps} loss {loss.detach().item():.4f}")
    return average[0], average[1]  # type: ignore[return-value]


def _all_ids(captions: Sequence[str]) -> torch.Tensor:
    return batch_prompts([tokenize_pieces([caption] if caption else []) for caption in captions]).ids[:, 0]  # [N, 77]
