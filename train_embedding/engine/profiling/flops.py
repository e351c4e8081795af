"""Floating-point operations of a training step, counted on the meta device at true model size."""

# pyright: reportUnknownMemberType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from train_embedding.embeddings.text_encoders import Family
from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling.meta_models import FAMILIES, meta_batch, meta_model, meta_prompt, meta_text_encoders
from train_embedding.engine.prompts.splicing import PromptBatch
from train_embedding.engine.training.loop import unet_losses

CASES: tuple[tuple[Family, int], ...] = (("SD1", 512), ("SD1", 256), ("SD2", 512), ("SD2", 768), ("SDXL", 1024))
"Family and resolution in pixels."


@dataclass(frozen=True)
class StepFlops:
    """Floating-point operations of a step at batch size 1.

    Attributes:
        family: Model family.
        resolution: Side of the image in pixels.
        forward: Forward pass of the UNet.
        step: Forward and backward pass of the UNet.
        text_encoder: Forward and backward pass of the text encoders.
        attention_forward: Part of `forward` in the two matrix products of attention.
        attention_step: Part of `step` in these products and the four products of their gradients.
    """

    family: Family
    resolution: int
    forward: int
    step: int
    text_encoder: int
    attention_forward: int
    attention_step: int

    @property
    def ratio(self) -> float:
        """Operations of the UNet in a step, relative to its forward pass."""
        return self.step / self.forward

    @property
    def layers_ratio(self) -> float:
        """The ratio without attention. The backward pass of frozen layers costs at most as much as their forward pass."""
        return (self.step - self.attention_step) / (self.forward - self.attention_forward)

    @property
    def recomputed(self) -> int:
        """Additional operations of a fused attention kernel on a GPU, which recomputes a product instead of saving the scores."""
        return (self.attention_step - self.attention_forward) // 4

    def to_json(self) -> dict[str, Any]:
        """Return the counts in TFLOP, as JSON values."""
        return {
            "family": self.family,
            "resolution": self.resolution,
            "forward_tflop": self.forward / 1e12,
            "step_tflop": self.step / 1e12,
            "text_encoder_tflop": self.text_encoder / 1e12,
            "ratio": self.ratio,
            "layers_ratio": self.layers_ratio,
            "attention_forward_tflop": self.attention_forward / 1e12,
            "attention_step_tflop": self.attention_step / 1e12,
            "recomputed_by_fused_attention_tflop": self.recomputed / 1e12,
        }


@cache
def count_text_encoders(family: Family) -> int:
    """Count the forward and backward pass of the text encoders of a family, with one vector each."""
    with FakeTensorMode(), torch.enable_grad():
        encoders = meta_text_encoders(family)
        tables = [torch.zeros(1, encoder.width, requires_grad=True) for encoder in encoders]
        prompts = PromptBatch(torch.zeros(1, 1, 77, dtype=torch.long), torch.zeros(1, 1, 77, dtype=torch.long))
        with FlopCounterMode(display=False) as counter:
            outputs = [encoder.encode(prompts, table) for encoder, table in zip(encoders, tables, strict=True)]
            torch.stack([part.sum() for output in outputs for part in output if part is not None]).sum().backward()
    return counter.get_total_flops()


def count_step(model: DiffusionModel, resolution: int, *, to_pooled: bool = True) -> StepFlops:
    """Count the operations of the UNet in a training step: forward pass, loss, and backward pass to the prompt.

    Args:
        model: Result of `meta_model`.
        resolution: Side of the image in pixels.
        to_pooled: Whether SDXL's pooled output receives a gradient, as it does if the second text encoder is trained.
    """
    conditioning = meta_prompt(model, to_pooled=to_pooled)
    latents = torch.zeros(1, 4, resolution // 8, resolution // 8, device="meta")
    timesteps = torch.zeros(1, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.predict(latents, timesteps, conditioning)
    with FlopCounterMode(display=False) as step, torch.enable_grad():
        unet_losses(model, conditioning, meta_batch(latents), torch.zeros_like(latents), timesteps).mean().backward()
    return StepFlops(
        model.family,
        resolution,
        forward.get_total_flops(),
        step.get_total_flops(),
        count_text_encoders(model.family),
        _attention(forward),
        _attention(step),
    )


def evaluation_share(resolved: ResolvedSpec, items: int, cost: StepFlops) -> float:
    """Compute the share of a run's operations that its evaluations take, if its steps are not doubled.

    Args:
        resolved: The options of the run.
        items: Items per evaluation, each a forward pass of UNet and text encoders.
        cost: Cost of a step at batch size 1.
    """
    spec = resolved.spec
    last = resolved.last_step(None)
    evaluations = sum(resolved.evaluates_at(step, None) for step in range(last + 1))
    evaluating = evaluations * items * (cost.forward + cost.text_encoder / 2)
    images = last * spec.batch_size * spec.gradient_accumulation_steps
    return evaluating / (evaluating + images * (cost.step + cost.text_encoder))


def flop_table() -> list[dict[str, Any]]:
    """Count all CASES, in TFLOP at batch size 1."""
    models = {family: meta_model(family) for family in FAMILIES}
    return [count_step(models[family], resolution).to_json() for family, resolution in CASES]


def _attention(counter: FlopCounterMode) -> int:
    """Return the operations of attention, which on the meta device are the only batched matrix products of a UNet."""
    return counter.get_flop_counts()["Global"].get(torch.ops.aten.bmm, 0)
