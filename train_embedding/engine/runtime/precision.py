"""Number formats of a run: the dtypes that the frozen networks compute in, the way out of an overflow, and loss scaling for fp16.

The networks compute in the dtype of their own weights. Under autocast, a step converts every frozen weight anew, forwards and
backwards, which is more than half of all kernels that it launches. Statistics of norms, the scores of fused attention and sums
of products are fp32 within torch's kernels for half precision, and the loss is computed in fp32.

Autocast is the way out where fp16 overflows, and it is used for weights in fp32 and for networks with weights in several dtypes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
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
SKIPPED_BEFORE_FALLBACK = 8
"Consecutive skipped steps after which a run continues in another dtype, if there is one. The factor is then 256."


def autocast(model: DiffusionModel) -> AbstractContextManager[object]:
    """Return the context for computing with networks: autocast, or nothing where they compute in the dtype of their weights."""
    dtype = _autocast_dtypes(model)[0]
    return nullcontext() if dtype is None else torch.autocast(model.device.type, dtype=dtype)


def compute_dtype(model: DiffusionModel) -> torch.dtype:
    """Return the compute dtype of the UNet: that of autocast or, without autocast, that of its weights."""
    return _autocast_dtypes(model)[0] or model.dtype


def forget_fallbacks(model: DiffusionModel) -> None:
    """Compute as `model` did before it fell back; for the start of a run."""
    model.autocast_dtypes.clear()


def can_fall_back(model: DiffusionModel) -> bool:
    """Return whether the networks can compute in another dtype if they overflow."""
    return len(_autocast_dtypes(model)) > 1


def fall_back(model: DiffusionModel, scale: LossScale | None = None) -> bool:
    """Compute in the next dtype from now on, because the current one overflows.

    Args:
        model: The model, changed in place.
        scale: The loss scaling of the run, which starts again.

    Returns:
        Whether there was another dtype.
    """
    if not can_fall_back(model):
        return False
    del _autocast_dtypes(model)[0]
    if scale is not None:
        scale.start_again()
        follow(model, scale)
    return True


def follow(model: DiffusionModel, scale: LossScale) -> None:
    """Let the model fall back as often as `scale` says, as in a resumed run or another process, and the other way round."""
    count = len(_choices(model))
    while can_fall_back(model) and count - len(_autocast_dtypes(model)) < scale.fallbacks:
        del _autocast_dtypes(model)[0]
    scale.fallbacks = count - len(_autocast_dtypes(model))
    scale.max_skipped = SKIPPED_BEFORE_FALLBACK if can_fall_back(model) else MAX_SKIPPED


def uses_fp16_gradients(model: DiffusionModel) -> bool:
    """Return whether gradients pass through fp16 in the UNet or in a text encoder."""
    encoders = (encoder.module for encoder in model.text_encoders)
    weights = {next(network.parameters()).dtype for network in (model.unet, *encoders)}
    return torch.float16 in {compute_dtype(model), *weights}


def has_bf16(device: torch.device) -> bool:
    """Return whether a GPU computes in bf16 (NVIDIA since Ampere, AMD)."""
    # torch.cuda.is_bf16_supported() is also true for emulated bf16
    return device.type != "cuda" or torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def autocast_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 if the GPU computes in it, otherwise fp16."""
    return torch.bfloat16 if has_bf16(device) else torch.float16


def _autocast_dtypes(model: DiffusionModel) -> list[torch.dtype | None]:
    """Return the model's own list of what is left of `_choices`. The first is in use."""
    if not model.autocast_dtypes:
        model.autocast_dtypes.extend(_choices(model))
    return model.autocast_dtypes


def _choices(model: DiffusionModel) -> list[torch.dtype | None]:
    """Return the dtypes for autocast in which a model can be computed, best first; None is the dtype of the weights."""
    if not support_of(model.device).autocast:
        return [None]
    networks = [_float_dtypes(network) for network in (model.unet, *(encoder.module for encoder in model.text_encoders))]
    native = has_bf16(model.device)
    if any(len(dtypes) > 1 for dtypes in networks):
        return [autocast_dtype(model.device)]
    if model.dtype == torch.float32:
        return [torch.bfloat16] if native else [torch.float16, None]
    if native and any(torch.float16 in dtypes for dtypes in networks):
        return [None, torch.bfloat16]
    return [None]


def _float_dtypes(network: nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}


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
        self.fallbacks = 0
        "How often the networks have fallen back to another dtype; see `fall_back`."
        self.max_skipped = MAX_SKIPPED
        "Consecutive skipped steps after which the run cannot continue in the dtype of the moment."
        self._factor = torch.full((), FIRST_FACTOR if enabled else 1.0, device=device)
        self._clean = torch.zeros((), device=device)
        "Steps without an overflow since the factor last changed."
        self._skipped = torch.zeros((), device=device)
        "Consecutive skipped steps."

    def start_again(self) -> None:
        """Start with the first factor and without skipped steps."""
        self._factor = torch.full_like(self._factor, FIRST_FACTOR if self.enabled else 1.0)
        self._clean = torch.zeros_like(self._clean)
        self._skipped = torch.zeros_like(self._skipped)

    @property
    def factor(self) -> torch.Tensor:
        """The factor of the loss, a scalar on the device."""
        return self._factor

    def with_factor(self, factor: torch.Tensor) -> LossScale:
        """Return a loss scaling that is enabled as this one is and has the given factor, without a copy."""
        scale = copy.copy(self)
        scale._factor = factor
        return scale

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

    def skips_too_many(self) -> bool:
        """Return whether the run cannot continue as it computes. Synchronizes with the device."""
        return self.enabled and self.skipped_in_a_row() >= self.max_skipped

    def values(self) -> dict[str, torch.Tensor]:
        """Return the state as scalars on the CPU."""
        fallbacks = torch.tensor(float(self.fallbacks))
        held = {"factor": self._factor, "clean": self._clean, "skipped": self._skipped, "fallbacks": fallbacks}
        return {name: value.detach().cpu().clone() for name, value in held.items()}

    def load(self, values: Mapping[str, Any]) -> None:
        """Restore the state from the result of `values`."""
        device = self._factor.device
        self._factor, self._clean, self._skipped = (
            torch.as_tensor(values[name], dtype=torch.float32).to(device) for name in ("factor", "clean", "skipped")
        )
        self.fallbacks = int(values.get("fallbacks", 0))  # missing in earlier versions


def _tensors_of(optimizer: Optimizer, trained: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the trained tensors and their optimizer state, without step counters."""
    kept = (value for tensor in trained for value in optimizer.state.get(tensor, {}).values())
    return [*trained, *(value for value in kept if isinstance(value, torch.Tensor) and value.ndim)]
