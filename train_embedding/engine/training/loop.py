"""The training loop of textual inversion (Gal et al. 2022, arXiv 2208.01618): only the vectors are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec
from train_embedding.engine.data.latents import Batch, LatentDataset
from train_embedding.engine.devices import to_device
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.model.noise_schedule import add_noise, draw_timesteps
from train_embedding.engine.runtime.precision import LossScale, autocast, compute_dtype
from train_embedding.engine.training.core_loss import CoreLoss
from train_embedding.engine.training.early_stopping import Verdict, has_fallen, judge, still_improves
from train_embedding.engine.training.events import Ended, Evaluated, Listener, Started, Stepped
from train_embedding.engine.training.losses import min_snr_weights, per_sample_losses, prediction_target
from train_embedding.engine.training.optimizers import set_learning_rate
from train_embedding.engine.training.state import TrainState

Evaluate = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"Computes the evaluation losses [N] of vectors [n, d] per text encoder."
Gradient = Callable[[DiffusionModel, dict[str, torch.Tensor], LatentDataset, TrainingSpec, int, LossScale], torch.Tensor]
"`accumulate_gradient`, `GraphedGradient` on a GPU, or `DistributedGradient` with several processes."


def accumulate_gradient(
    model: DiffusionModel,
    vectors: dict[str, torch.Tensor],
    dataset: LatentDataset,
    spec: TrainingSpec,
    step: int,
    scale: LossScale,
) -> torch.Tensor:
    """Add the gradient of the step's mean loss to the vectors.

    Args:
        model: The frozen model.
        vectors: [n, d] per text encoder. Gradients are added to those that require gradients.
        dataset: The training batches.
        spec: The options of the run.
        step: Counted from 1.
        scale: Loss scaling for fp16.

    Returns:
        The mean loss, a detached scalar on the device.
    """
    count = spec.gradient_accumulation_steps
    losses: list[torch.Tensor] = []
    for index in range(count):
        loss = batch_loss(model, vectors, dataset.batch((step - 1) * count + index + 1), spec) / count
        scale.add_gradient(loss, vectors.values())
        losses.append(loss.detach())
    return torch.stack(losses).sum()


@dataclass(frozen=True)
class LoopHooks:
    """Functions that the training loop calls.

    Attributes:
        evaluate: Computes evaluation losses.
        announce: Receives the events in order, on the calling thread.
        should_stop: Returns whether the run should stop; called before each step.
        core_loss: Context regularization; required if the spec has a weight for it.
        gradient: Computes the gradient of a step.
        confirm: Computes the losses of further items, for any number of vectors; called before a run ends as not learning.
        untrained: The vectors [n, d] that the last ones are then compared with, such as those of the init text before a word was
            added to it; None for the first vectors of the run.
    """

    evaluate: Evaluate
    announce: Listener
    should_stop: Callable[[], bool]
    core_loss: CoreLoss | None = None
    gradient: Gradient = accumulate_gradient
    confirm: Evaluate | None = None
    untrained: dict[str, torch.Tensor] | None = None


def train(model: DiffusionModel, state: TrainState, dataset: LatentDataset, resolved: ResolvedSpec, hooks: LoopHooks) -> None:
    """Train from the given state to the end of the run.

    Args:
        model: The frozen model.
        state: Changed in place. After an error it is the state after a complete step.
        dataset: The training batches.
        resolved: The options of the run.
        hooks: Evaluation, events and stopping.
    """
    spec, stopped = resolved.spec, False
    hooks.announce(Started(resolved.steps, state))
    while True:
        _evaluate_if_due(state, resolved, hooks)
        last = resolved.last_step(state.ending, state.extensions)
        if state.step >= last or (stopped := hooks.should_stop()):
            break
        step = state.step + 1
        rate = resolved.rate(step, last, state.extensions)
        set_learning_rate(state.optimizer, rate)
        state.optimizer.zero_grad()
        loss = hooks.gradient(model, state.vectors, dataset, spec, step, state.scale)
        if hooks.core_loss is not None:
            state.scale.add_gradient(spec.core_loss_weight * hooks.core_loss.loss(state.vectors, step), state.trainable())
        if spec.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(state.trainable(), spec.max_grad_norm)
        state.scale.step(state.optimizer)
        state.update_ema(spec.ema_decay)
        state.step = step
        hooks.announce(Stepped(step, rate, loss, state))
    hooks.announce(Ended(state.step, stopped, state))


def _evaluate_if_due(state: TrainState, resolved: ResolvedSpec, hooks: LoopHooks) -> None:
    """Evaluate the EMA of the vectors if an evaluation is due, and apply early stopping."""
    if not resolved.evaluates_at(state.step, state.ending, state.extensions) or state.evaluated:
        return
    evaluation = state.record(hooks.evaluate(state.ema))
    if resolved.spec.early_stopping and state.ending is None:
        if not resolved.rate_falls:
            state.apply_verdict(judge(state.evaluations, resolved.spec.min_steps), resolved.lr_cooldown_steps)
        elif resolved.can_extend(state.step, state.extensions):
            _extend_or_end(state, resolved, hooks)
    hooks.announce(Evaluated(evaluation, state))


def _extend_or_end(state: TrainState, resolved: ResolvedSpec, hooks: LoopHooks) -> None:
    """At the end of a budget of steps, double it if that promises a lower loss; otherwise end the run."""
    if still_improves(state.evaluations, resolved.budget_start(state.extensions)):
        state.extensions += 1
    else:
        state.apply_verdict(Verdict.CONVERGED if _has_learned(state, hooks) else Verdict.NOT_LEARNING, 0)


def _has_learned(state: TrainState, hooks: LoopHooks) -> bool:
    """Return whether the loss has fallen. If the evaluations do not show it, further items decide."""
    if has_fallen(state.evaluations[0].losses, state.evaluations[-1].losses):
        return True
    if hooks.confirm is None:
        return False
    device = next(iter(state.ema.values())).device
    untrained = {key: tensor.to(device) for key, tensor in (hooks.untrained or state.kept[0]).items()}
    return has_fallen(hooks.confirm(untrained), hooks.confirm(state.ema))


@dataclass(frozen=True)
class NoisyBatch:
    """The local rows of a batch, with what is drawn for them.

    Attributes:
        batch: Latents and prompts.
        noise: [B, 4, h, w].
        timesteps: Long [B].
    """

    batch: Batch
    noise: torch.Tensor
    timesteps: torch.Tensor


def batch_loss(model: DiffusionModel, vectors: dict[str, torch.Tensor], batch: Batch, spec: TrainingSpec) -> torch.Tensor:
    """Compute the mean denoising loss of the local rows of a batch, a scalar. Timesteps and noise are from its generator."""
    return noisy_loss(model, vectors, draw_noise(model, batch, spec), spec)


def draw_noise(model: DiffusionModel, batch: Batch, spec: TrainingSpec) -> NoisyBatch:
    """Draw timesteps and noise from the generator of a batch, and select its local rows."""
    latents = batch.latents  # [B, 4, h, w]
    drawn = draw_timesteps(spec.timesteps, len(latents), len(model.alphas_cumprod), batch.generator, spec.timestep_focus)
    timesteps = to_device(drawn, latents.device)
    noise = to_device(torch.randn(latents.shape, generator=batch.generator), latents.device)
    return NoisyBatch(batch.select(batch.local_rows), noise[batch.local_rows], timesteps[batch.local_rows])


def noisy_loss(model: DiffusionModel, vectors: dict[str, torch.Tensor], drawn: NoisyBatch, spec: TrainingSpec) -> torch.Tensor:
    """Compute the mean denoising loss, a scalar, from tensors on the device only."""
    losses = denoising_losses(model, vectors, drawn.batch, drawn.noise, drawn.timesteps, spec.loss)
    if spec.min_snr_gamma:
        losses = losses * min_snr_weights(spec.min_snr_gamma, model.prediction_type, model.alphas_cumprod, drawn.timesteps)
    return losses.mean()


def denoising_losses(
    model: DiffusionModel,
    vectors: dict[str, torch.Tensor],
    batch: Batch,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    kind: str = "mse",
) -> torch.Tensor:
    """Encode a batch's prompts and compute the denoising loss of each item, [B].

    Args:
        model: The frozen model.
        vectors: [n, d] per text encoder.
        batch: Latents and prompts.
        noise: [B, 4, h, w].
        timesteps: Long [B].
        kind: As for `per_sample_losses`.
    """
    with autocast(model):
        prompts = model.encode_prompts(batch.prompts, vectors).to(compute_dtype(model))
        return unet_losses(model, prompts, batch, noise, timesteps, kind)


def unet_losses(
    model: DiffusionModel,
    prompts: Conditioning,
    batch: Batch,
    noise: torch.Tensor,
    timesteps: torch.Tensor,
    kind: str = "mse",
) -> torch.Tensor:
    """Compute the denoising loss of each item, [B], for encoded prompts.

    The target is the noise or v or, for distillation, the prediction for the teacher of the batch.
    """
    dtype = compute_dtype(model)
    noisy = add_noise(batch.latents, noise, model.alphas_cumprod, timesteps).to(dtype)
    prediction = model.predict(noisy, timesteps, prompts)
    if batch.teacher is None:
        target = prediction_target(model.prediction_type, batch.latents, noise, model.alphas_cumprod, timesteps)
    else:
        with torch.no_grad():
            target = model.predict(noisy, timesteps, batch.teacher.to(dtype))
    return per_sample_losses(prediction, target, batch.weights, kind)
