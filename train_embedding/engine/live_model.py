"""DiffusionModel over the weights that a host already holds, without copying or changing them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from train_embedding.engine.ldm import assemble
from train_embedding.engine.model import DiffusionModel

_HOST_PARTS = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")


def live_model(
    host_model: nn.Module,
    params: dict[str, Any],
    *,
    text_config: dict[str, Any] | None,
    alphas_cumprod: torch.Tensor,
    clip_skip: int | None = None,
) -> DiffusionModel:
    """A DiffusionModel whose parameters share storage with those of a host's latent-diffusion model.

    host_model: a module with LDM key names, such as the WebUI's `LatentDiffusion` or, for SDXL, `DiffusionEngine`; wrappers
    that the host puts around a module under the attribute `wrapped` are looked through. params: its config's `model.params`.
    text_config: that of the host's own CLIPTextModel, None where it has none (SD2). alphas_cumprod: the host's noise
    schedule [T]. clip_skip: as the host has it set, 1 for the last layer; None where it has no say (SDXL, unless switched on).

    Raises HostFailed when the modules do not fit the config.
    """
    state = ldm_state(host_model)
    model = assemble(state, params, text_config=text_config, alphas_cumprod=alphas_cumprod, clip_skip=clip_skip)
    return replace(model, owns_weights=False)


def ldm_state(host_model: nn.Module) -> dict[str, torch.Tensor]:
    """The host's tensors under the names that a checkpoint has, with the host's wrappers left out of the keys."""
    return {
        key.replace(".wrapped.", "."): tensor.detach()
        for key, tensor in host_model.state_dict(keep_vars=True).items()
        if key.startswith(_HOST_PARTS)
    }
