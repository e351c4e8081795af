"""The training loop of textual inversion (Gal et al. 2022): everything is frozen but the vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec
from train_embedding.engine.data.latents import Batch, LatentDataset
from train_embedding.engine.devices import to_device
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.model.noise_schedule import add_noise, draw_timesteps
from train_embedding.engine.runtime.precision import LossScale, autocast, compute_dtype
from train_embedding.engine.training.core_loss import CoreLoss
from train_embedding.engine.training.early_stopping import judge
from train_embedding.engine.training.events import Ended, Evaluated, Listener, Started, Stepped
from train_embedding.engine.training.losses import min_snr_weights, per_sample_losses, prediction_target
from train_embedding.engine.training.optimizers import set_learning_rate
from train_embedding.engine.training.state import TrainState

Evaluate = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"The losses [N] of the fixed evaluation items for some vectors."
Gradient = Callable[[DiffusionModel, dict[str, torch.Tensor], LatentDataset, TrainingSpec, int, LossScale], torch.Tensor]
"`accumulate_gradient`, or what takes its place where processes share the work."


def train(
    model: DiffusionModel,
    state: TrainState,
    dataset: LatentDataset,
    resolved: ResolvedSpec,
    evaluate: Evaluate,
    announce: Listener,
    should_stop: Callable[[], bool],
    context_term: CoreLoss | None = None,
    gradient: Gradient | None = None,
) -> None:
    """Goes on from the state to the end of the run, changing the state in place. An error leaves it after a whole step.

    announce: called with the events in order, on the calling thread. should_stop: asked before every step. context_term:
    needed where the spec gives it a weight. gradient: None for `accumulate_gradient`.
    """
    spec, stopped = resolved.spec, False
    announce(Started(resolved.steps, state))
    while True:
        if resolved.evaluates_at(state.step, state.ending) and not state.evaluated:
            evaluation = state.record(evaluate(state.average))
            if spec.early_stopping and state.ending is None:
                state.apply_verdict(judge(state.evaluations, spec.min_steps), resolved.lr_cooldown_steps)
            announce(Evaluated(evaluation, state))
        last = resolved.last_step(state.ending)
        if state.step >= last or (stopped := should_stop()):
            break
        step = state.step + 1
        rate = resolved.rate(step, last)
        set_learning_rate(state.optimizer, rate)
        state.optimizer.zero_grad()
        loss = (gradient or accumulate_gradient)(model, state.vectors, dataset, spec, step, state.scale)
        if context_term is not None:
            state.scale.add_gradient(spec.core_loss_weight * context_term.loss(state.vectors, step), state.trainable())
        if spec.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(state.trainable(), spec.max_grad_norm)
        state.scale.step(state.optimizer)
        state.update_average(spec.ema_decay)
        state.step = step
        announce(Stepped(step, rate, loss, state))
    announce(Ended(state.step, stopped, state))


def accumulate_gradient(
    model: DiffusionModel,
    vectors: dict[str, torch.Tensor],
    dataset: LatentDataset,
    spec: TrainingSpec,
    step: int,
    scale: LossScale,
) -> torch.Tensor:
    """Leaves the gradient of the step's mean loss in the vectors; returns that loss, a detached scalar on the device."""
    parts: list[torch.Tensor] = []
    for part in range(spec.gradient_accumulation_steps):
        loss = (
            batch_loss(model, vectors, dataset.batch((step - 1) * spec.gradient_accumulation_steps + part + 1), spec)
            / spec.gradient_accumulation_steps
        )
        scale.add_gradient(loss, vectors.values())
        parts.append(loss.detach())
    return torch.stack(parts).sum()


def batch_loss(model: DiffusionModel, vectors: dict[str, torch.Tensor], batch: Batch, spec: TrainingSpec) -> torch.Tensor:
    """The denoising loss of the batch's share, a scalar: one forward through the text encoders and the UNet."""
    latents = batch.latents  # [B, 4, h, w]
    levels = len(model.alphas_cumprod)
    drawn = draw_timesteps(spec.timesteps, len(latents), levels, batch.generator, spec.timestep_focus)
    timesteps = to_device(drawn, latents.device)
    noise = to_device(torch.randn(latents.shape, generator=batch.generator), latents.device)
    batch, noise, timesteps = batch.select(batch.local_rows), noise[batch.local_rows], timesteps[batch.local_rows]
    losses = denoising_losses(model, vectors, batch, noise, timesteps, spec.loss)
    if spec.min_snr_gamma:
        losses = losses * min_snr_weights(spec.min_snr_gamma, model.prediction_type, model.alphas_cumprod, timesteps)
    return losses.mean()


def denoising_losses(
    model: DiffusionModel,
    vectors: dict[str, torch.Tensor],
    batch: Batch,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    kind: str = "mse",
) -> torch.Tensor:
    """The loss of each item, [B], for given noise [B, 4, h, w] and timesteps [B]."""
    with autocast(model):
        context = model.encode_prompts(batch.prompts, vectors).to(compute_dtype(model))
        return unet_losses(
            model, context, batch.latents, noise, timesteps, kind=kind, weights=batch.weights, teacher=batch.teacher
        )


def unet_losses(
    model: DiffusionModel,
    context: Conditioning,
    latents: torch.Tensor,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    *,
    kind: str = "mse",
    weights: torch.Tensor | None = None,
    teacher: Conditioning | None = None,
) -> torch.Tensor:
    """The loss of each item, [B], for encoded prompts: the UNet's part of the step. kind, weights: as for `per_sample_losses`.

    teacher: what the UNet predicts for these prompts takes the place of the noise as the target.
    """
    schedule = model.alphas_cumprod
    dtype = compute_dtype(model)
    noisy = add_noise(latents, noise, schedule, timesteps).to(dtype)
    prediction = model.predict(noisy, timesteps, context)
    if teacher is None:
        target = prediction_target(model.prediction_type, latents, noise, schedule, timesteps)
    else:
        with torch.no_grad():
            target = model.predict(noisy, timesteps, teacher.to(dtype))
    return per_sample_losses(prediction, target, weights, kind)
