"""A training step of textual inversion as diffusers' example makes it, written anew with its layers and without ours.

Like `examples/textual_inversion/textual_inversion.py` with its default options, mixed precision and SDXL's variant of it:

* The layers are those of torch and diffusers. The text encoders are fp32, UNet and VAE half precision, under autocast on a GPU.
* The whole vocabulary is a parameter: its gradient has a row for each token, AdamW updates all rows, and all but the trained one
  are then put back.
* Images are encoded by the VAE in each step, unless latents are given. Gradient checkpointing is off.
* Noise and timesteps are drawn on the device, and the loss is read in each step, for the progress bar.

Left out: loading of images (they are on the device already), the learning-rate schedule, and scaling of the loss in fp16.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch.nn import functional as F

from train_embedding.engine.devices import support_of
from train_embedding.engine.layers.frozen import original_layers
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder
from train_embedding.engine.model.noise_schedule import add_noise
from train_embedding.engine.runtime.precision import autocast_dtype

TRAINED = 1000
"Token id of the row that is trained."


class PlainStep:
    """Makes steps. A context manager, within which the model's networks have their original layers.

    Args:
        model: Its UNet and VAE are used; its text encoders are copied.
        batch: Images per step.
        resolution: Side of the images in pixels.
        encodes: Whether each step encodes images, as the example does, or uses latents that are given.
    """

    def __init__(self, model: DiffusionModel, batch: int, resolution: int, *, encodes: bool) -> None:
        self._model = model
        self._encodes = encodes
        self._modules = [deepcopy(encoder.module).float() for encoder in model.text_encoders]
        self._tables = [_table(module).requires_grad_(True) for module in self._modules]
        self._originals = [table.detach().clone() for table in self._tables]
        self._optimizer = torch.optim.AdamW(self._tables, lr=5e-3)
        device = model.device
        self._images = torch.rand(batch, 3, resolution, resolution, device=device) * 2 - 1
        self._latents = torch.randn(batch, 4, resolution // 8, resolution // 8, device=device)
        self._ids = torch.full((batch, 77), 49407, device=device)
        self._ids[:, :3] = torch.tensor([49406, 320, TRAINED], device=device)
        self._others = torch.arange(len(self._tables[0]), device=device) != TRAINED
        self._layers = ExitStack()

    def __enter__(self) -> PlainStep:
        for module in (self._model.unet, self._model.vae, *self._modules):
            self._layers.enter_context(original_layers(module))
        return self

    def __exit__(self, *_error: object) -> None:
        self._layers.close()

    def step(self) -> float:
        """Make a step, and return its loss."""
        with self._autocast():
            loss = self._loss()
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        with torch.no_grad():
            for table, original in zip(self._tables, self._originals, strict=True):
                table[self._others] = original[self._others]
        return loss.item()

    def row(self) -> torch.Tensor:
        """Return the trained row of the first vocabulary."""
        return self._tables[0][TRAINED].detach()

    def _loss(self) -> torch.Tensor:
        model, dtype = self._model, self._model.dtype
        latents = self._encoded() if self._encodes else self._latents
        noise = torch.randn_like(latents)
        timesteps = torch.randint(len(model.alphas_cumprod), (len(latents),), device=latents.device)
        noisy = add_noise(latents, noise, model.alphas_cumprod, timesteps)
        prediction = model.predict(noisy.to(dtype), timesteps, self._prompts().to(dtype))
        return F.mse_loss(prediction.float(), noise)

    def _encoded(self) -> torch.Tensor:
        with torch.no_grad():
            weight = next(self._model.vae.parameters())
            posterior = self._model.vae.encode(self._images.to(weight.dtype)).latent_dist
            return posterior.sample().float() * self._model.latent_scale

    def _prompts(self) -> Conditioning:
        outputs = [
            _encode(encoder, module, self._ids) for encoder, module in zip(self._model.text_encoders, self._modules, strict=True)
        ]
        pooled = next((output for _, output in outputs if output is not None), None)
        return Conditioning(torch.cat([hidden for hidden, _ in outputs], -1), pooled)

    def _autocast(self) -> AbstractContextManager[object]:
        device = self._model.device
        return torch.autocast(device.type, autocast_dtype(device)) if support_of(device).autocast else nullcontext()


def _encode(encoder: TextEncoder, module: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    output = module(ids, output_hidden_states=True)
    last = encoder.layer == 1 and encoder.normalised
    hidden = output.last_hidden_state if last else output.hidden_states[-encoder.layer]
    return hidden, output.text_embeds if encoder.pools else None


def _table(module: Any) -> torch.Tensor:
    return module.get_input_embeddings().weight
