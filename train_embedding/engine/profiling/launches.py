"""Kernels that a training step launches, counted on the meta device at true model size.

A GPU that waits for the next kernel is idle, so at batch size 1 their number matters as much as their work. Counted are the
operations below autograd that write memory: neither views nor the allocation of empty tensors.
"""

# pyright: reportUnknownMemberType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from train_embedding.embeddings.text_encoders import Family
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling.meta_models import (
    CASES,
    WEIGHTS,
    dtype_name,
    meta_batch,
    meta_model,
    meta_prompt,
    meta_text_encoders,
)
from train_embedding.engine.profiling.simulated_cuda import simulate_cuda
from train_embedding.engine.prompts.splicing import PromptBatch
from train_embedding.engine.training.loop import unet_losses

_CAST = "aten::_to_copy"
_ALLOCATIONS = frozenset({"aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::new_empty_strided"})


@dataclass(frozen=True)
class StepLaunches:
    """Kernels of a step at batch size 1.

    Attributes:
        family: Model family.
        resolution: Side of the image in pixels.
        autocast: Dtype of autocast; None where networks compute in the dtype of their weights.
        unet: Kernels of the UNet's forward and backward pass, and of the loss.
        text_encoders: Kernels of the text encoders' forward and backward pass.
        casts: Those among both that only convert a tensor to another dtype.
        cast_bytes: Bytes that these read and write.
    """

    family: Family
    resolution: int
    autocast: torch.dtype | None
    unet: int
    text_encoders: int
    casts: int
    cast_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "family": self.family,
            "resolution": self.resolution,
            "autocast": dtype_name(self.autocast),
            "unet": self.unet,
            "text_encoders": self.text_encoders,
            "casts": self.casts,
            "cast_gb": self.cast_bytes / 1e9,
        }


class LaunchCounter(TorchDispatchMode):
    """Counts the kernels that operations within the context launch, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.cast_bytes = 0

    @property
    def total(self) -> int:
        """Kernels of all operations."""
        return self.counts.total()

    @property
    def casts(self) -> int:
        """Kernels that only convert a tensor."""
        return self.counts[_CAST]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name
        if name in _ALLOCATIONS:
            return result
        given = _tensors((args, kwargs))
        places = {_storage(tensor) for tensor in given}
        made = [tensor for tensor in _tensors(result) if _storage(tensor) not in places]
        if made or func._schema.is_mutable:
            self.counts[name] += 1
        if name == _CAST:
            self.cast_bytes += sum(tensor.nbytes for tensor in (*given, *made))
        return result


def count_launches(model: DiffusionModel, resolution: int, *, autocast: torch.dtype | None = None) -> StepLaunches:
    """Count the kernels of a training step.

    Args:
        model: Result of `meta_model`.
        resolution: Side of the image in pixels.
        autocast: Dtype of autocast; None to compute in the dtype of the weights.
    """
    conditioning = meta_prompt(model).to(model.dtype)
    latents = torch.zeros(1, 4, resolution // 8, resolution // 8, device="meta")
    timesteps = torch.zeros(1, dtype=torch.long, device="meta")
    with LaunchCounter() as unet, torch.enable_grad(), simulate_cuda(autocast):
        unet_losses(model, conditioning, meta_batch(latents), torch.zeros_like(latents), timesteps).mean().backward()
    texts = count_text_encoders(model.family, model.dtype, autocast=autocast)
    return StepLaunches(
        model.family,
        resolution,
        autocast,
        unet.total,
        texts.total,
        unet.casts + texts.casts,
        unet.cast_bytes + texts.cast_bytes,
    )


def count_text_encoders(family: Family, weights: torch.dtype, *, autocast: torch.dtype | None = None) -> LaunchCounter:
    """Count the kernels of the text encoders of a family, with one vector each."""
    with FakeTensorMode(), torch.enable_grad():
        encoders = meta_text_encoders(family, weights)
        tables = [torch.zeros(1, encoder.width, requires_grad=True) for encoder in encoders]
        ids = torch.zeros(1, 1, 77, dtype=torch.long)
        with LaunchCounter() as counter, simulate_cuda(autocast):
            outputs = [encoder.encode(PromptBatch(ids, ids), table) for encoder, table in zip(encoders, tables, strict=True)]
            parts = [part for output in outputs for part in output if part is not None]
            torch.autograd.grad(parts, tables, [torch.ones_like(part) for part in parts])
    return counter


def launch_table() -> list[dict[str, Any]]:
    """Count all CASES, in the dtype of the weights and under autocast to bf16."""
    rows: list[dict[str, Any]] = []
    for family, resolution in CASES:
        model = meta_model(family, WEIGHTS)
        rows += [count_launches(model, resolution, autocast=dtype).to_json() for dtype in (None, torch.bfloat16)]
    return rows


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
