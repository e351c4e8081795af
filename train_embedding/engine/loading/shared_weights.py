"""Building of a DiffusionModel that shares the weights of a host's loaded model, without copying or changing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from train_embedding.engine.layers.quantised import Weight
from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.engine.loading.ldm import build_model
from train_embedding.engine.model.diffusion_model import DiffusionModel

_HOST_PARTS = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")


def model_from_host_weights(
    state: Mapping[str, Weight],
    params: dict[str, Any],
    *,
    text_config: dict[str, Any] | None,
    alphas_cumprod: torch.Tensor,
    clip_skip: int | None = None,
) -> DiffusionModel:
    """Build a model whose parameters share storage with a host's tensors.

    Args:
        state: Tensors and quantised weights of the host by LDM key. Those of OpenCLIP may have the names of transformers after
            the prefix.
        params: `model.params` of an LDM config.
        text_config: Config of the host's CLIPTextModel; None to infer it from the weights.
        alphas_cumprod: ᾱ of the host's noise schedule, [T].
        clip_skip: Setting of the host, 1 for the last layer; None for the default of the family.

    Raises:
        HostFailed: The tensors do not fit the config.
    """
    with torch.inference_mode(False):
        shared = {key: to_normal_tensor(value) if isinstance(value, torch.Tensor) else value for key, value in state.items()}
        return build_model(shared, params, text_config=text_config, alphas_cumprod=alphas_cumprod, clip_skip=clip_skip)


def ldm_state(host_model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of a host's model, such as the WebUI's `LatentDiffusion` or `DiffusionEngine`, by LDM key."""
    return {key: tensor for key, tensor in named_tensors(host_model).items() if key.startswith(_HOST_PARTS)}


def named_tensors(module: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of a module by name, without the `wrapped.` that wrappers of a host add."""
    state = module.state_dict(keep_vars=True)
    return {prefix + key.replace(".wrapped.", "."): tensor.detach() for key, tensor in state.items()}


def to_normal_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a normal tensor with the storage of an inference tensor.

    Inference tensors and their views cannot be parameters or be saved for the backward pass. A new tensor with the same storage
    can.
    """
    if not tensor.is_inference():
        return tensor.detach()
    with torch.inference_mode(False):
        over = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        return over.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def shares_storage(model: DiffusionModel, state: Mapping[str, Weight]) -> bool:
    """Return whether all parameters of the UNet still share storage with `state`. A host that moves weights replaces them."""
    shared, count = count_shared_parameters(model.unet, state)
    return shared == count


def rebind_storage(model: DiffusionModel, fresh: DiffusionModel) -> None:
    """Let the parameters of `model` use the storage of `fresh`, a model of the same checkpoint, and release the old storage."""
    for mine, theirs in zip(model.modules(), fresh.modules(), strict=True):
        for old, new in zip(mine.parameters(), theirs.parameters(), strict=True):
            old.data = new.data
        for old, new in zip(mine.buffers(), theirs.buffers(), strict=True):
            old.data = new.data
