"""DiffusionModel: the frozen networks that an embedding is trained against, made of diffusers and transformers modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from train_embedding.engine.placeholder import PromptBatch, spliced
from train_embedding.engine.tokenizer import token_ids

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel


@dataclass(frozen=True)
class TextEncoder:
    """One CLIP text encoder. key: "clip_l", "clip_h" or "clip_g"."""

    key: str
    module: CLIPTextModel

    @property
    def token_embedding(self) -> nn.Embedding:
        embedding = self.module.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        return embedding

    @property
    def width(self) -> int:
        return self.token_embedding.embedding_dim

    def encode(self, prompts: PromptBatch, table: torch.Tensor, clip_skip: int) -> torch.Tensor:
        """The context of each prompt, [B, k * 77, d], of the layer `clip_skip` from the end, normalised."""
        batch, chunks, length = prompts.ids.shape
        with spliced(self.token_embedding, prompts.slots.reshape(-1, length), table):
            output = self.module(prompts.ids.reshape(-1, length), output_hidden_states=clip_skip > 1)
        if clip_skip > 1:
            body = getattr(self.module, "text_model", self.module)  # transformers 5 has no inner text_model
            hidden = body.final_layer_norm(output.hidden_states[-clip_skip])
        else:
            hidden = output.last_hidden_state
        return hidden.reshape(batch, chunks * length, -1)


@dataclass(frozen=True)
class LatentMoments:
    """The VAE's posterior over scaled latents. mean, std: [B, 4, h, w]."""

    mean: torch.Tensor
    std: torch.Tensor


@dataclass(frozen=True)
class DiffusionModel:
    """A latent diffusion model with every parameter frozen."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[TextEncoder, ...]
    alphas_cumprod: torch.Tensor
    "ᾱ of each timestep, fp32 [T] (Ho et al. 2020)."
    prediction_type: str
    '"epsilon" or "v_prediction".'
    family: str
    "A name from `embeddings.text_encoders.family_of`."
    latent_scale: float
    "Factor between the VAE's latents and the UNet's."
    resolution: int
    "Side in pixels of the square pictures it was trained for."
    clip_skip: int = 1

    def __post_init__(self) -> None:
        for module in self.modules():
            module.requires_grad_(False).eval()

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.unet, self.vae, *(encoder.module for encoder in self.text_encoders))

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def widths(self) -> dict[str, int]:
        return {encoder.key: encoder.width for encoder in self.text_encoders}

    @torch.no_grad()
    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """The vocabulary's vectors for a text's first `count` tokens, per encoder fp32 CPU [m, d]; [0, d] for empty text."""
        ids = torch.tensor(token_ids(text)[:count], dtype=torch.long)
        return {
            encoder.key: encoder.token_embedding.weight.detach()[ids.to(encoder.token_embedding.weight.device)].float().cpu()
            for encoder in self.text_encoders
        }

    def context(self, prompts: PromptBatch, tables: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What the UNet attends to, [B, k * 77, sum of widths]. tables: vectors [n, d] per encoder, for the prompts' slots."""
        return torch.cat([encoder.encode(prompts, tables[encoder.key], self.clip_skip) for encoder in self.text_encoders], -1)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """The UNet's prediction [B, 4, h, w] for noisy latents, timesteps [B] and a context [B, L, d]."""
        return self.unet(noisy, timesteps, encoder_hidden_states=context, return_dict=False)[0]

    @torch.no_grad()
    def encode_images(self, images: torch.Tensor) -> LatentMoments:
        """images: [B, 3, H, W] in -1…1."""
        vae = next(self.vae.parameters())
        posterior = self.vae.encode(images.to(vae.device, vae.dtype)).latent_dist
        return LatentMoments(posterior.mean.float() * self.latent_scale, posterior.std.float() * self.latent_scale)

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures [B, 3, H, W] in -1…1 of scaled latents [B, 4, h, w]."""
        vae = next(self.vae.parameters())
        return self.vae.decode((latents / self.latent_scale).to(vae.dtype), return_dict=False)[0].float()


def no_vectors(model: DiffusionModel) -> dict[str, torch.Tensor]:
    """Tables for prompts without embeddings."""
    return {
        encoder.key: torch.zeros(1, encoder.width, device=model.device, dtype=torch.float32) for encoder in model.text_encoders
    }
