"""Mixed precision: the compute dtype of the frozen networks, and loss scaling for fp16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from train_embedding.engine.devices import support_of

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel

FIRST_FACTOR = 2.0**16
LARGEST_FACTOR = 2.0**24
STEPS_BEFORE_GROWTH = 50
"Steps without an overflow after which the factor is doubled. GradScaler's 2,000 are more than a typical run has."
MAX_SKIPPED = 20
"Consecutive skipped steps after which a run fails. After 16 the factor is 1, so the loss itself overflows."


def autocast(model: DiffusionModel) -> AbstractContextManager[object]:
    """Return the context for computing with networks: autocast to `compute_dtype`, if the device supports it."""
    if not support_of(model.device).autocast:
        return nullcontext()
    return torch.autocast(model.device.type, dtype=autocast_dtype(model.device))


def compute_dtype(model: DiffusionModel) -> torch.dtype:
    """Return the compute dtype of the UNet: that of autocast or, without autocast, that of its weights."""
    return autocast_dtype(model.device) if support_of(model.device).autocast else model.dtype


def uses_fp16_gradients(model: DiffusionModel) -> bool:
    """Return whether gradients pass through fp16 in the UNet or in a text encoder."""
    encoders = (encoder.module for encoder in model.text_encoders)
    weights = {next(network.parameters()).dtype for network in (model.unet, *encoders)}
    return torch.float16 in {compute_dtype(model), *weights}


def autocast_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 if the GPU supports it (NVIDIA since Ampere, AMD), otherwise fp16."""
    if device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16  # torch.cuda.is_bf16_supported() is also true for emulated bf16
    return torch.bfloat16


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2) without synchronization with the device.

    The loss is multiplied by a power of two before the backward pass, and the gradient is divided by it afterwards, which is
    exact. Small gradients therefore do not vanish in fp16, whose smallest positive number is 6e-8. If a gradient is not finite,
    the step is skipped and the factor is halved. After some steps without an overflow the factor is doubled.
    `torch.cuda.amp.GradScaler` does the same but synchronizes in each step.

    Args:
        device: Device on which the vectors are trained.
        enabled: Whether gradients pass through fp16. If not, nothing is scaled and no step is skipped.
    """

    def __init__(self, device: torch.device, enabled: bool) -> None:
        self.enabled = enabled
        self._factor = torch.full((), FIRST_FACTOR if enabled else 1.0, device=device)
        self._clean = torch.zeros((), device=device)
        "Steps without an overflow since the factor last changed."
        self._skipped = torch.zeros((), device=device)
        "Consecutive skipped steps."

    def add_gradient(self, loss: torch.Tensor, leaves: Iterable[torch.Tensor]) -> None:
        """Add the gradient of a scalar loss to the gradients of the leaves that require gradients."""
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        scaled = loss * self._factor if self.enabled else loss
        for leaf, gradient in zip(wanted, torch.autograd.grad(scaled, wanted), strict=True):
            unscaled = gradient / self._factor if self.enabled else gradient
            leaf.grad = unscaled if leaf.grad is None else leaf.grad + unscaled

    def step(self, optimizer: Optimizer) -> None:
        """Perform a step of the optimizer, or skip it if a gradient is not finite, and adapt the factor."""
        if not self.enabled:
            optimizer.step()
            return
        trained = [tensor for group in optimizer.param_groups for tensor in group["params"] if tensor.grad is not None]
        finite = torch.stack([tensor.grad.isfinite().all() for tensor in trained]).all()
        for tensor in trained:  # keeps the state of the optimizer finite
            tensor.grad.copy_(torch.where(finite, tensor.grad, 0.0))
        before = [(tensor, tensor.detach().clone()) for tensor in _tensors_of(optimizer, trained)]
        optimizer.step()
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(torch.where(finite, tensor, value))
        self._adapt(finite)

    def _adapt(self, finite: torch.Tensor) -> None:
        self._clean = torch.where(finite, self._clean + 1, 0.0)
        self._skipped = torch.where(finite, 0.0, self._skipped + 1)
        grows = self._clean >= STEPS_BEFORE_GROWTH
        grown = torch.where(grows, (2 * self._factor).clamp(max=LARGEST_FACTOR), self._factor)
        self._factor = torch.where(finite, grown, (self._factor / 2).clamp(min=1.0))
        self._clean = torch.where(grows, 0.0, self._clean)

    def skipped_in_a_row(self) -> int:
        """Return the number of consecutive skipped steps. Synchronizes with the device."""
        return int(self._skipped) if self.enabled else 0

    def values(self) -> dict[str, torch.Tensor]:
        """Return the state as scalars on the CPU."""
        held = {"factor": self._factor, "clean": self._clean, "skipped": self._skipped}
        return {name: value.detach().cpu().clone() for name, value in held.items()}

    def load(self, values: Mapping[str, Any]) -> None:
        """Restore the state from the result of `values`."""
        device = self._factor.device
        self._factor, self._clean, self._skipped = (
            torch.as_tensor(values[name], dtype=torch.float32).to(device) for name in ("factor", "clean", "skipped")
        )


def _tensors_of(optimizer: Optimizer, trained: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the trained tensors and their optimizer state, without step counters."""
    kept = (value for tensor in trained for value in optimizer.state.get(tensor, {}).values())
    return [*trained, *(value for value in kept if isinstance(value, torch.Tensor) and value.ndim)]
