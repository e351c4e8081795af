"""DiffusionModel over the weights that a host already holds, without copying or changing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.engine.loading.ldm import build_model
from train_embedding.engine.model.diffusion_model import DiffusionModel

_HOST_PARTS = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")


def model_from_host_weights(
    state: Mapping[str, torch.Tensor],
    params: dict[str, Any],
    *,
    text_config: dict[str, Any] | None,
    alphas_cumprod: torch.Tensor,
    clip_skip: int | None = None,
) -> DiffusionModel:
    """A DiffusionModel whose parameters share storage with a host's tensors, given under the names that a checkpoint has.

    Of SDXL's and SD2's OpenCLIP the tensors may have transformers' names behind that encoder's prefix. params: the `model.params`
    of an LDM config. text_config: that of the host's own CLIPTextModel, None where the weights tell it. alphas_cumprod: the
    host's noise schedule [T]. clip_skip: as the host has it set, 1 for the last layer; None where it has no say.

    Raises HostFailed when the tensors do not fit the config.
    """
    with torch.inference_mode(False):
        shared = {key: to_normal_tensor(tensor) for key, tensor in state.items()}
        return build_model(shared, params, text_config=text_config, alphas_cumprod=alphas_cumprod, clip_skip=clip_skip)


def ldm_state(host_model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a host's latent-diffusion model, such as the WebUI's `LatentDiffusion` or, for SDXL, `DiffusionEngine`,
    under the names that a checkpoint has: wrappers that the host puts around a module as `wrapped` are left out of the keys."""
    return {key: tensor for key, tensor in named_tensors(host_model).items() if key.startswith(_HOST_PARTS)}


def named_tensors(module: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """The module's tensors by name, without a host's wrappers in it."""
    state = module.state_dict(keep_vars=True)
    return {prefix + key.replace(".wrapped.", "."): tensor.detach() for key, tensor in state.items()}


def to_normal_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in the same storage, as a tensor that autograd can work with.

    A host that loads its weights in inference mode has only tensors that can be no parameters and be saved for no backward pass;
    every view of them is of the same kind, but a new tensor over their storage is not.
    """
    if not tensor.is_inference():
        return tensor.detach()
    with torch.inference_mode(False):
        over = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        return over.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def shares_storage(model: DiffusionModel, state: Mapping[str, torch.Tensor]) -> bool:
    """Whether every parameter of the UNet still lies in a tensor of `state`: a host that moves its weights makes new ones."""
    shared, count = count_shared_parameters(model.unet, state)
    return shared == count


def rebind_storage(model: DiffusionModel, fresh: DiffusionModel) -> None:
    """Lets go of the storage that `model` lies in, and puts it into that of `fresh`, a live model of the same checkpoint."""
    for mine, theirs in zip(model.modules(), fresh.modules(), strict=True):
        for old, new in zip(mine.parameters(), theirs.parameters(), strict=True):
            old.data = new.data
        for old, new in zip(mine.buffers(), theirs.buffers(), strict=True):
            old.data = new.data
