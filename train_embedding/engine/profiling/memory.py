"""Memory of a training step at true model size: peak, and tensors saved for the backward pass."""

# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# torch's annotations are incomplete for some methods, and a storage has no public identity.

from __future__ import annotations

import weakref
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from train_embedding.embeddings.text_encoders import Family
from train_embedding.engine.layers.frozen import original_layers
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
from train_embedding.engine.runtime.gradient_checkpointing import gradient_checkpointing
from train_embedding.engine.training.loop import unet_losses

BATCHES = (1, 2, 4)
CARDS = (4, 6, 8, 10, 12, 16, 24, 32, 48, 80)
"Memory of common graphics cards in GiB."
RESERVED = 2**30
"Bytes for memory that is not counted: driver context, workspaces of kernels, host."
WAYS: tuple[dict[str, Any], ...] = (
    {"frozen": False, "autocast": torch.bfloat16},
    {"frozen": False},
    {"frozen": True},
    {"frozen": False, "checkpointing": True},
    {"frozen": True, "checkpointing": True},
)
"Ways to compute a step, as arguments of `count_memory`: the first is that of most other trainers."


@dataclass(frozen=True)
class StepMemory:
    """Memory of a step in bytes.

    Attributes:
        family: Model family.
        resolution: Side of the images in pixels.
        batch: Batch size.
        checkpointing: Whether gradient checkpointing was used.
        frozen: Whether frozen layers were used instead of the original layers.
        autocast: Dtype of autocast; None if networks computed in the dtype of their weights.
        saved: Distinct storages saved for the backward pass, without the weights.
        peak: Peak memory without the weights, including `saved`.
        weights: Weights of UNet, VAE and text encoders.
    """

    family: Family
    resolution: int
    batch: int
    checkpointing: bool
    frozen: bool
    autocast: torch.dtype | None
    saved: int
    peak: int
    weights: int

    @property
    def smallest_card(self) -> int:
        """Memory in GiB of the smallest common graphics card that is sufficient; 0 if none is. Computed, not measured."""
        return next((card for card in CARDS if card * 2**30 >= self.weights + self.peak + RESERVED), 0)

    def to_json(self) -> dict[str, Any]:
        """Return the memory in GiB, as JSON values."""
        return {
            "family": self.family,
            "resolution": self.resolution,
            "batch": self.batch,
            "checkpointing": self.checkpointing,
            "frozen_layers": self.frozen,
            "autocast": dtype_name(self.autocast),
            "saved_gib": self.saved / 2**30,
            "peak_gib": self.peak / 2**30,
            "weights_gib": self.weights / 2**30,
            "smallest_card_gib": self.smallest_card,
        }


def count_memory(
    model: DiffusionModel,
    resolution: int,
    *,
    batch: int = 1,
    checkpointing: bool = False,
    frozen: bool = True,
    autocast: torch.dtype | None = None,
) -> StepMemory:
    """Count the memory of a training step.

    Args:
        model: Result of `meta_model`.
        resolution: Side of the images in pixels.
        batch: Images per step.
        checkpointing: Whether to use gradient checkpointing.
        frozen: Whether to use frozen layers instead of the original layers.
        autocast: Dtype of autocast; None to compute in the dtype of the weights.
    """
    given = meta_prompt(model, batch=batch).to(model.dtype)
    latents = torch.zeros(batch, 4, resolution // 8, resolution // 8, device="meta")
    timesteps = torch.zeros(batch, dtype=torch.long, device="meta")
    counter = MemoryCounter([model.unet])
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(nullcontext() if frozen else original_layers(model.unet))
        stack.enter_context(gradient_checkpointing(model) if checkpointing else nullcontext())
        stack.enter_context(counter)
        stack.enter_context(simulate_cuda(autocast))
        with counter.saving():
            loss = unet_losses(model, given, meta_batch(latents), torch.zeros_like(latents), timesteps).mean()
        loss.backward()
    texts = text_encoder_saved(model.family, batch, frozen, autocast)
    weights = weight_bytes(model)
    return StepMemory(
        model.family, resolution, batch, checkpointing, frozen, autocast, counter.saved + texts, counter.peak + texts, weights
    )


@cache
def text_encoder_saved(family: Family, batch: int, frozen: bool, autocast: torch.dtype | None = None) -> int:
    """Count the bytes that the text encoders of a family save for the backward pass to the vectors."""
    with FakeTensorMode(), torch.enable_grad(), ExitStack() as stack:
        encoders = meta_text_encoders(family, WEIGHTS)
        modules = [encoder.module for encoder in encoders]
        tables = [torch.zeros(1, encoder.width, requires_grad=True) for encoder in encoders]
        ids = torch.zeros(batch, 1, 77, dtype=torch.long)
        for module in () if frozen else modules:
            stack.enter_context(original_layers(module))
        counter = MemoryCounter(modules)
        with simulate_cuda(autocast), counter.saving():
            outputs = [encoder.encode(PromptBatch(ids, ids), table) for encoder, table in zip(encoders, tables, strict=True)]
        del outputs
    return counter.saved


@cache
def _text_encoder_bytes(family: Family) -> int:
    with FakeTensorMode():
        return sum(_bytes(encoder.module) for encoder in meta_text_encoders(family, WEIGHTS))


def weight_bytes(model: DiffusionModel) -> int:
    """Return the size of UNet, VAE and text encoders in bytes."""
    return _bytes(model.unet) + _bytes(model.vae) + _text_encoder_bytes(model.family)


def memory_table() -> list[dict[str, Any]]:
    """Count all CASES with all batch sizes: in the WAYS to compute a step."""
    rows: list[dict[str, Any]] = []
    for family, resolution in CASES:
        model = meta_model(family, WEIGHTS)
        for batch in BATCHES:
            rows += [count_memory(model, resolution, batch=batch, **way).to_json() for way in WAYS]
    return rows


class MemoryCounter(TorchDispatchMode):
    """Counts the storages that operations allocate within the context.

    Args:
        networks: Networks whose parameters and buffers are not counted.
    """

    def __init__(self, networks: list[Any]) -> None:
        super().__init__()
        self._own = {_key(tensor) for network in networks for tensor in (*network.parameters(), *network.buffers())}
        self._live: dict[int, tuple[int, int]] = {}
        "Size in bytes and number of tensors of each storage."
        self.held = self.peak = self.saved = 0

    @contextmanager
    def saving(self) -> Generator[None, None, None]:
        """Add what autograd saves in the context to `saved`."""
        kept: dict[int, torch.Tensor] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if _key(tensor) not in self._own:
                kept[_key(tensor)] = tensor
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            yield
        self.saved += sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                self._track(tensor)
        return result

    def _track(self, tensor: torch.Tensor) -> None:
        """Track a storage by its tensors, because torch 2.1 does not report when a storage is freed."""
        key = _key(tensor)
        if key in self._own:
            return
        size, tensors = self._live.get(key, (tensor.untyped_storage().nbytes(), 0))
        if not tensors:
            self.held += size
            self.peak = max(self.peak, self.held)
        self._live[key] = size, tensors + 1
        weakref.finalize(tensor, self._release, key)

    def _release(self, key: int) -> None:
        size, tensors = self._live.pop(key)
        if tensors > 1:
            self._live[key] = size, tensors - 1
        else:
            self.held -= size


def _bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
