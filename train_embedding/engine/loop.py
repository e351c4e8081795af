"""The training loop of textual inversion (Gal et al. 2022): everything is frozen but the vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from train_embedding.engine.events import Ended, Listener, Started, Stepped
from train_embedding.engine.latents import Batch, LatentDataset
from train_embedding.engine.losses import item_losses, target_of
from train_embedding.engine.model import DiffusionModel
from train_embedding.engine.noise import add_noise, draw_timesteps
from train_embedding.engine.optimizers import new_optimizer, set_rate
from train_embedding.engine.spec import ResolvedSpec


def train(
    model: DiffusionModel,
    vectors: dict[str, torch.Tensor],
    dataset: LatentDataset,
    resolved: ResolvedSpec,
    announce: Listener,
    should_stop: Callable[[], bool],
) -> None:
    """Trains the vectors in place.

    vectors: per text encoder a leaf tensor, fp32 [n, d] on the model's device, with requires_grad. announce: called with the
    events in order, on the calling thread. should_stop: asked before every step.
    """
    spec = resolved.spec
    optimizer = new_optimizer(vectors.values(), resolved.schedule.at(1))
    announce(Started(resolved.steps))
    step, stopped = 0, False
    while step < resolved.steps and not (stopped := should_stop()):
        step += 1
        rate = resolved.schedule.at(step)
        set_rate(optimizer, rate)
        loss = batch_loss(model, vectors, dataset.batch(step), spec.timesteps)
        loss.backward()
        if spec.clip_gradient:
            torch.nn.utils.clip_grad_norm_(vectors.values(), spec.clip_gradient)
        optimizer.step()
        optimizer.zero_grad()
        announce(Stepped(step, rate, loss.detach(), vectors))
    announce(Ended(step, stopped))


def batch_loss(model: DiffusionModel, vectors: dict[str, torch.Tensor], batch: Batch, policy: str) -> torch.Tensor:
    """The batch's denoising loss, a scalar: one forward through the text encoders and the UNet."""
    latents = batch.latents  # [B, 4, h, w]
    timesteps = draw_timesteps(policy, len(latents), len(model.alphas_cumprod), batch.generator).to(latents.device)
    noise = torch.randn(latents.shape, generator=batch.generator).to(latents.device, non_blocking=True)
    return denoising_losses(model, vectors, batch, noise, timesteps).mean()


def denoising_losses(
    model: DiffusionModel, vectors: dict[str, torch.Tensor], batch: Batch, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """The loss of each item, [B], for given noise [B, 4, h, w] and timesteps [B]."""
    device = batch.latents.device.type
    with torch.autocast(device, dtype=autocast_dtype(model), enabled=device == "cuda"):
        context = model.context(batch.prompts, vectors)  # [B, k * 77, d]
        return losses_in_context(model, context.to(model.dtype), batch.latents, noise, timesteps, batch.weights)


def losses_in_context(
    model: DiffusionModel,
    context: torch.Tensor,
    latents: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of each item, [B], for a context [B, L, d]: the UNet's part of the step. weights: as for `item_losses`."""
    schedule = model.alphas_cumprod
    noisy = add_noise(latents, noise, schedule, timesteps).to(model.dtype)
    prediction = model.predict(noisy, timesteps, context)
    return item_losses(prediction, target_of(model.prediction_type, latents, noise, schedule, timesteps), weights)


def autocast_dtype(model: DiffusionModel) -> torch.dtype:
    """bf16 where the GPU computes in it (Ampere and newer), else fp16; only used on CUDA."""
    if model.device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16
