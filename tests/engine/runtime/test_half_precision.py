"""The gradient of a training step as GPUs compute it, at the true size of SD1.5, against fp32.

No GPU is needed: every operation is computed in fp32 from values rounded to bf16 or fp16, and rounded again, forwards and
backwards, as CUDA's kernels do for weights in half precision (`emulated_kernels`) and as autocast does (`emulated_autocast`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from train_embedding.engine.data.latents import Batch
from train_embedding.engine.devices import SUPPORT, DeviceSupport
from train_embedding.engine.layers.frozen import original_layers
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.model.noise_schedule import noise_schedule
from train_embedding.engine.profiling.meta_models import meta_model, meta_text_encoders
from train_embedding.engine.prompts.splicing import VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.runtime.precision import LossScale, compute_dtype, fall_back, uses_fp16_gradients
from train_embedding.engine.training.loop import denoising_losses

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL = 2.0**-10
"""Factor on the loss: random weights pass on larger gradients than trained ones. With it, the largest gradient of a number of the
context is 9e-7, and fp16 ends at 6e-8."""


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _computing(function: Callable[..., torch.Tensor], dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """The function of values rounded to `dtype`, computed in fp32 and rounded to `dtype`; what CUDA's kernels do."""

    def computed(*values: Any, **options: Any) -> torch.Tensor:
        rounded = (_cast(_cast(value, dtype), torch.float32) for value in values)
        named = {name: _cast(_cast(value, dtype), torch.float32) for name, value in options.items()}
        return function(*rounded, **named).to(dtype)

    return computed


def _rounding(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The function computed in fp32 and rounded to the dtype of its first value."""

    def computed(*values: Any, **options: Any) -> torch.Tensor:
        exact = (_cast(value, torch.float32) for value in values)
        return function(*exact, **{name: _cast(value, torch.float32) for name, value in options.items()}).to(values[0].dtype)

    return computed


@contextmanager
def emulated_kernels() -> Iterator[None]:
    """On a CPU of torch 2.1, which has few operations for fp16, what CUDA computes for weights in half precision."""
    layers = ("linear", "conv2d", "group_norm", "layer_norm", "softmax", "gelu", "silu", "interpolate")
    functions = [(F, name) for name in (*layers, "scaled_dot_product_attention")]
    functions += [(torch, name) for name in ("bmm", "matmul", "sigmoid")]
    with pytest.MonkeyPatch.context() as patched:
        for module, name in functions:
            patched.setattr(module, name, _rounding(getattr(module, name)))
        yield


@contextmanager
def emulated_autocast(_device: str, dtype: torch.dtype) -> Iterator[None]:
    """In place of `torch.autocast("cuda", dtype)`, on a CPU: products in `dtype`, norms and softmax in fp32."""
    names = ("linear", "conv2d", "scaled_dot_product_attention", "interpolate")  # the last has no fp16 on a CPU in torch 2.1
    products = [*((F, name) for name in names), (torch, "bmm"), (torch, "matmul")]
    exact = ((F, "group_norm"), (F, "layer_norm"), (F, "softmax"))
    with pytest.MonkeyPatch.context() as patched:
        for module, name in products:
            patched.setattr(module, name, _computing(getattr(module, name), dtype))
        for module, name in exact:
            patched.setattr(module, name, _computing(getattr(module, name), torch.float32))
        yield


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    """SD1.5's UNet and text encoder with random weights that fp16 holds exactly."""
    made = meta_model("SD1")
    unet = made.unet.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            parameter.copy_(parameter.half())
        torch.manual_seed(0)
        encoders = tuple(meta_text_encoders("SD1"))
        for parameter in encoders[0].module.parameters():
            parameter.copy_(parameter.half())
    schedule = noise_schedule(0.00085, 0.012, 1000)
    return replace(made, unet=unet, text_encoders=encoders, alphas_cumprod=schedule)


def gradient(model: DiffusionModel, scale: LossScale) -> torch.Tensor:
    """The gradient of two vectors, divided by the factor on the loss."""
    generator = torch.Generator().manual_seed(1)
    vectors = {"clip_l": (0.02 * torch.randn(2, 768, generator=generator)).requires_grad_()}
    prompts = batch_prompts([tokenize_pieces(["a photo of ", VectorRows(0, 2)])])
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=generator)
    batch = Batch(latents, prompts, generator)
    with torch.enable_grad(), original_layers(model.unet), original_layers(model.text_encoders[0].module):
        losses = denoising_losses(model, vectors, batch, noise, torch.tensor([500]))
        scale.add_gradient(SMALL * losses.mean(), vectors.values())
    found = vectors["clip_l"].grad
    assert found is not None
    return found / SMALL


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(F.cosine_similarity(one.double().flatten(), other.double().flatten(), dim=0))


@pytest.fixture(scope="module")
def exact(model: DiffusionModel) -> torch.Tensor:
    return gradient(model, LossScale(CPU, enabled=False))


def with_weights_in(dtype: torch.dtype, model: DiffusionModel) -> DiffusionModel:
    encoder = model.text_encoders[0]
    return replace(
        model,
        unet=copy.deepcopy(model.unet).to(dtype),
        text_encoders=(replace(encoder, module=copy.deepcopy(encoder.module).to(dtype)),),
    )


def test_gradients_of_weights_in_half_precision_are_those_of_fp32(model: DiffusionModel, exact: torch.Tensor) -> None:
    """Without autocast, as on a GPU. fp16 needs the scale."""
    fp16, bf16 = (with_weights_in(dtype, model) for dtype in (torch.float16, torch.bfloat16))
    assert (uses_fp16_gradients(fp16), uses_fp16_gradients(bf16)) == (True, False)
    with emulated_kernels():
        assert cosine(gradient(fp16, LossScale(CPU, enabled=True)), exact) >= 0.99999
        assert cosine(gradient(bf16, LossScale(CPU, enabled=False)), exact) >= 0.999
        unscaled = cosine(gradient(fp16, LossScale(CPU, enabled=False)), exact)
    assert unscaled < 0.95  # what the scale is for


def test_gradients_after_falling_back_to_bf16_are_those_of_fp32(
    model: DiffusionModel, exact: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp16 = with_weights_in(torch.float16, model)
    monkeypatch.setitem(SUPPORT, "cpu", DeviceSupport(autocast=True))
    monkeypatch.setattr(torch, "autocast", emulated_autocast)
    assert fall_back(fp16)
    assert compute_dtype(fp16) == torch.bfloat16
    assert cosine(gradient(fp16, LossScale(CPU, enabled=True)), exact) >= 0.999
