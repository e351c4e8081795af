"""DiffusionModel: the frozen networks for which an embedding is trained, from modules of diffusers and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from train_embedding.embeddings.create import takes_whole_text
from train_embedding.embeddings.text_encoders import CHUNK, Family
from train_embedding.engine.devices import without_autocast
from train_embedding.engine.layers.causal_mask import causal_mask_on_device
from train_embedding.engine.layers.frozen import freeze
from train_embedding.engine.model.conditioning import Conditioning, make_time_ids
from train_embedding.engine.model.noise_schedule import PredictionType
from train_embedding.engine.prompts.splicing import PromptBatch, batch_prompts, splice_vectors, tokenize_pieces
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, token_ids

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection


@dataclass(frozen=True)
class TextEncoder:
    """A CLIP text encoder, and the outputs that the UNet uses.

    Attributes:
        key: "clip_l", "clip_h" or "clip_g".
        module: The network.
        layer: Layer whose hidden states are used, counted from the last layer.
        normalised: Whether the final layer norm is applied to the hidden states.
        padding: Token id that pads a chunk after its first end of text.
        pools: Whether the UNet also uses the projected end-of-text state. This requires a CLIPTextModelWithProjection.
    """

    key: str
    module: CLIPTextModel | CLIPTextModelWithProjection
    layer: int = 1
    normalised: bool = True
    padding: int = END_OF_TEXT
    pools: bool = False

    @property
    def token_embedding(self) -> nn.Embedding:
        """The input layer."""
        embedding = self.module.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        return embedding

    @property
    def width(self) -> int:
        """Dimension of the token embeddings."""
        return self.token_embedding.embedding_dim

    @property
    def pooled_width(self) -> int:
        """Dimension of the pooled output; 0 without a pooled output."""
        return self.module.text_projection.out_features if self.pools else 0

    def encode(self, prompts: PromptBatch, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode prompts like the WebUI.

        Args:
            prompts: Token ids and slots, [B, k, 77].
            table: Vectors for the slots, [n, d].

        Returns:
            The context of each prompt, [B, k * 77, d], and the pooled output of its first chunk, [B, p] or None.
        """
        batch, chunks, length = prompts.ids.shape
        ids = self._padded(prompts.ids).reshape(-1, length)
        last = self.layer == 1 and self.normalised
        with splice_vectors(self.token_embedding, prompts.slots.reshape(-1, length), table), causal_mask_on_device():
            output = self.module(ids, output_hidden_states=not last)
        hidden = output.last_hidden_state if last else output.hidden_states[-self.layer]
        if self.normalised and not last:
            body = getattr(self.module, "text_model", self.module)  # transformers 5 has no inner text_model
            hidden = body.final_layer_norm(hidden)
        pooled = output.text_embeds.reshape(batch, chunks, -1)[:, 0] if self.pools else None
        if prompts.weights is not None:
            hidden = apply_emphasis(hidden, prompts.weights.reshape(-1, length))
        return hidden.reshape(batch, chunks * length, -1), pooled

    def _padded(self, ids: torch.Tensor) -> torch.Tensor:
        """Replace the end-of-text padding of ids, [B, k, 77], by the padding of this encoder."""
        if self.padding == END_OF_TEXT:
            return ids
        ends = (ids == END_OF_TEXT).long()
        return ids.masked_fill(ends.cumsum(-1) > ends, self.padding)


@dataclass(frozen=True)
class LatentMoments:
    """The latent distribution of images, which the VAE returns, in scaled latents.

    Attributes:
        mean: Mean, [B, 4, h, w].
        std: Standard deviation, [B, 4, h, w].
    """

    mean: torch.Tensor
    std: torch.Tensor


@dataclass(frozen=True)
class DiffusionModel:
    """A latent diffusion model with frozen parameters.

    Attributes:
        unet: The UNet.
        vae: The VAE.
        text_encoders: The text encoders, in the order in which their outputs are concatenated.
        alphas_cumprod: ᾱ of each timestep, fp32 [T] (Ho et al. 2020, arXiv 2006.11239).
        prediction_type: What the UNet predicts.
        family: Model family.
        latent_scale: Factor from latents of the VAE to latents of the UNet.
        resolution: Side in pixels of the square images that the model was trained on.
        inpainting: Whether the UNet also takes a mask and the latents of a masked image, 9 channels in total.
        crop: Crop top and left for the size conditioning of SDXL.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[TextEncoder, ...]
    alphas_cumprod: torch.Tensor
    prediction_type: PredictionType
    family: Family
    latent_scale: float
    resolution: int
    inpainting: bool = False
    crop: tuple[int, int] = (0, 0)
    _blanks: dict[tuple[int, int], torch.Tensor] = field(
        default_factory=dict[tuple[int, int], torch.Tensor], init=False, repr=False, compare=False
    )
    "The other inputs of an inpainting UNet, [1, 5, h, w], by height and width of the latents."
    autocast_dtypes: list[torch.dtype | None] = field(
        default_factory=list[torch.dtype | None], init=False, repr=False, compare=False
    )
    "Dtypes for autocast, the one in use first, then what to fall back to; kept by `engine.runtime.precision`."

    def __post_init__(self) -> None:
        for module in self.modules():
            freeze(module)

    def modules(self) -> tuple[nn.Module, ...]:
        """Return the UNet, the VAE and the text encoders."""
        return (self.unet, self.vae, *(encoder.module for encoder in self.text_encoders))

    @property
    def device(self) -> torch.device:
        """Device of the UNet."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the UNet's weights."""
        return next(self.unet.parameters()).dtype

    @property
    def widths(self) -> dict[str, int]:
        """Dimension of the token embeddings, by text encoder."""
        return {encoder.key: encoder.width for encoder in self.text_encoders}

    @torch.no_grad()
    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Look up the token embeddings of a text.

        Args:
            text: The text.
            count: Number of tokens to use from the start; None for all. For SD2, all are used, as in the WebUI.

        Returns:
            Fp32 [m, d] per text encoder, on the CPU; [0, d] for an empty text.
        """
        ids = torch.tensor(token_ids(text)[: None if takes_whole_text(self.widths) else count], dtype=torch.long)
        return {
            encoder.key: encoder.token_embedding.weight.detach()[ids.to(encoder.token_embedding.weight.device)].float().cpu()
            for encoder in self.text_encoders
        }

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """Return the weight of the token embedding per text encoder, [V, d], without copying it."""
        return {encoder.key: encoder.token_embedding.weight.detach() for encoder in self.text_encoders}

    @torch.no_grad()
    def encode_tokens(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Encode the tokens of a text, for Cross Initialization (Pang et al. 2024, arXiv 2312.15905).

        Args:
            text: The text, of which at most 75 tokens are used.
            count: As for `token_embeddings`.

        Returns:
            The output of each text encoder, fp32 [m, d], on the CPU.
        """
        chunk = tokenize_pieces([text])[0]
        kept = len(chunk) if takes_whole_text(self.widths) else min(len(chunk), count or CHUNK)
        prompts = batch_prompts([[chunk[:kept]]]).to(self.device)
        tables = empty_vector_tables(self)
        hidden = {encoder.key: encoder.encode(prompts, tables[encoder.key])[0] for encoder in self.text_encoders}
        return {key: states[0, 1 : kept + 1].float().cpu() for key, states in hidden.items()}

    def encode_prompts(self, prompts: PromptBatch, tables: Mapping[str, torch.Tensor]) -> Conditioning:
        """Encode prompts with all text encoders.

        Args:
            prompts: Token ids and slots.
            tables: Vectors for the slots, [n, d] per text encoder.
        """
        encoded = [encoder.encode(prompts, tables[encoder.key]) for encoder in self.text_encoders]
        pooled = [output for _, output in encoded if output is not None]
        return Conditioning(torch.cat([hidden for hidden, _ in encoded], -1), torch.cat(pooled, -1) if pooled else None)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Predict ε or v, [B, 4, h, w], for noisy latents [B, 4, h, w] and timesteps [B]."""
        added = None
        if conditioning.pooled is not None:
            height, width = (8 * side for side in noisy.shape[2:])
            sizes = make_time_ids(height, width, self.crop, len(noisy), noisy.device)
            added = {"text_embeds": conditioning.pooled, "time_ids": sizes}
        inputs = torch.cat([noisy, self._blank_image(noisy)], 1) if self.inpainting else noisy
        context = conditioning.context
        return self.unet(inputs, timesteps, encoder_hidden_states=context, added_cond_kwargs=added, return_dict=False)[0]

    @torch.no_grad()
    def encode_images(self, images: torch.Tensor) -> LatentMoments:
        """Encode images [B, 3, H, W] with values from -1 to 1. If the VAE overflows in fp16, as SDXL's does, fp32 is used."""
        moments = self._moments(self.vae, images)
        if next(self.vae.parameters()).dtype == torch.float16 and not bool(torch.isfinite(moments.mean).all()):
            return self._moments(deepcopy(self.vae).float(), images)
        return moments

    def _moments(self, vae: AutoencoderKL, images: torch.Tensor) -> LatentMoments:
        weight = next(vae.parameters())
        posterior = vae.encode(images.to(weight.device, weight.dtype)).latent_dist
        return LatentMoments(posterior.mean.float() * self.latent_scale, posterior.std.float() * self.latent_scale)

    @torch.no_grad()
    def _blank_image(self, noisy: torch.Tensor) -> torch.Tensor:
        """Make a full mask and the latents of a grey image, [B, 5, h, w], the WebUI's inputs if nothing is masked."""
        height, width = noisy.shape[2:]
        if (height, width) not in self._blanks:
            with without_autocast(noisy.device):
                grey = self.encode_images(noisy.new_zeros(1, 3, 8 * height, 8 * width)).mean
            self._blanks[height, width] = torch.cat([torch.ones_like(grey[:, :1]), grey], 1)
        return self._blanks[height, width].to(noisy).expand(len(noisy), -1, -1, -1)

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode scaled latents [B, 4, h, w] to images [B, 3, H, W] with values from -1 to 1."""
        vae = next(self.vae.parameters())
        return self.vae.decode((latents / self.latent_scale).to(vae.dtype), return_dict=False)[0].float()


def empty_vector_tables(model: DiffusionModel) -> dict[str, torch.Tensor]:
    """Make tables of vectors for prompts without embeddings: one row of zeros per text encoder."""
    return {
        encoder.key: torch.zeros(1, encoder.width, device=model.device, dtype=torch.float32) for encoder in model.text_encoders
    }


def apply_emphasis(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply hidden states by the weights of their tokens, then restore the mean of each chunk: WebUI 1.10.1's default.

    The WebUI restores the mean over all prompts of a batch. Here each chunk is separate, so that a prompt does not depend on the
    others in its batch.

    Args:
        hidden: [N, 77, d].
        weights: Fp32 [N, 77]. Chunks whose weights are all 1 are not changed.

    Returns:
        [N, 77, d].
    """
    exact = hidden.float()
    weighted = exact * weights.unsqueeze(-1)
    changed = (weights != 1).any(-1)[:, None, None]
    before, after = (states.mean((1, 2), keepdim=True) for states in (exact, weighted))
    factor = before / torch.where(changed, after, 1.0)  # avoids NaN in unchanged chunks with a mean of 0
    return torch.where(changed, weighted * factor, exact).to(hidden.dtype)
