"""The WebUI's loaded checkpoint as a DiffusionModel, and the facts about it. Only the WebUI's own process can import this.

It relies on these names of the WebUI, read in 1.10.1:

    sd_models       send_model_to_device, send_model_to_cpu
    sd model        cond_stage_model or conditioner.embedders, .wrapped.transformer or .wrapped.model, the token embedding
                    in .wrapped; alphas_cumprod, used_config, sd_checkpoint_info, image_size, is_sd1 and its siblings,
                    first_stage_model, model.conditioning_key, model.diffusion_model.in_channels
    shared          opts, sd_model
    devices         device, dtype_unet, fp8
    lowvram         is_enabled
    networks        of the built-in Lora extension, where it is loaded: load_networks, network_apply_weights
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from modules import devices, lowvram, sd_models, shared

from train_embedding.embeddings.text_encoders import key_for_width
from train_embedding.errors import HostFailed

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel


def loaded_model() -> Any:
    """Return the WebUI's model; the WebUI loads one where there is none. Raises HostFailed where it cannot."""
    sd_model = shared.sd_model  # loads one where none is
    if sd_model is None:
        raise HostFailed("The WebUI has no checkpoint loaded.", "Choose one at the top of its page.")
    return sd_model


def diffusion_model(sd_model: Any) -> DiffusionModel:
    """Make a DiffusionModel: over the WebUI's own weights, or read from the file where they are quantised or offloaded."""
    model = _model_from_file(sd_model) if must_read_from_file(sd_model) else _shared_model(sd_model)
    return replace(model, crop=(getattr(shared.opts, "sdxl_crop_top", 0), getattr(shared.opts, "sdxl_crop_left", 0)))


def must_read_from_file(sd_model: Any) -> bool:
    """Return whether training needs a copy of the weights: they are quantised (fp8) or offloaded (--medvram, --lowvram)."""
    return devices.fp8 or lowvram.is_enabled(sd_model)


@contextmanager
def on_device(sd_model: Any) -> Iterator[None]:
    """Have the model on the device until exit: the API's "unload checkpoint" leaves it in main memory."""
    away = next(sd_model.parameters()).device.type != torch.device(devices.device).type
    if away:
        sd_models.send_model_to_device(sd_model)
    try:
        yield
    finally:
        if away:
            sd_models.send_model_to_cpu(sd_model)


@contextmanager
def moved_to_cpu(sd_model: Any) -> Iterator[None]:
    """Have the model in main memory until exit; with --medvram the WebUI brings it back by itself."""
    sd_models.send_model_to_cpu(sd_model)
    try:
        yield
    finally:
        sd_models.send_model_to_device(sd_model)


def remove_networks(sd_model: Any) -> None:
    """Restore the checkpoint's own weights where a Lora was merged into them, from the WebUI's backups."""
    networks = sys.modules.get("networks")
    if networks is None or not hasattr(networks, "network_apply_weights"):
        return
    changed = [module for module in sd_model.modules() if getattr(module, "network_current_names", ())]
    if networks.loaded_networks:
        networks.load_networks([])
    with torch.no_grad():
        for module in changed:
            networks.network_apply_weights(module)


def checkpoint_facts(sd_model: Any) -> dict[str, Any]:
    """Return the fields of HostInfo about the checkpoint."""
    checkpoint = sd_model.sd_checkpoint_info
    widths = widths_of(sd_model)
    return {
        "checkpoint_name": checkpoint.model_name,
        "checkpoint_hash": checkpoint.shorthash or "",
        "widths": widths,
        "resolution": _resolution(sd_model),
        "why_no_training": why_no_training(sd_model),
    }


def why_no_training(sd_model: Any) -> str:
    """Say why the checkpoint cannot be trained on, in one sentence; empty where it can."""
    widths = widths_of(sd_model)
    if not widths:
        return "The loaded checkpoint's text encoder takes no embeddings."
    if getattr(sd_model, "is_sd3", False) or getattr(sd_model, "is_ssd", False):
        return "Training works for SD1, SD2 and SDXL checkpoints; the loaded one is of another family."
    if getattr(sd_model, "is_sdxl", False) and "clip_l" not in widths:
        return "The loaded checkpoint is SDXL's refiner; load the base checkpoint to train."
    inner = sd_model.model
    channels = getattr(getattr(inner, "diffusion_model", None), "in_channels", 4)
    if getattr(inner, "conditioning_key", "crossattn") not in ("crossattn", "hybrid") or channels not in (4, 9):
        return "The loaded checkpoint is one for depth, editing or variations; training needs one of text, or for inpainting."
    return ""


def widths_of(sd_model: Any) -> dict[str, int]:
    """Return the width per text encoder; empty for encoders that take no embeddings."""
    return {key_of(weight): weight.shape[1] for _, weight in text_encoders(sd_model)}


def key_of(weight: torch.Tensor) -> str:
    """Return the key of the text encoder that has this token embedding."""
    return key_for_width(weight.shape[1])


def text_encoders(sd_model: Any) -> list[tuple[Any, torch.Tensor]]:
    """Return the encoders that take embeddings, each with the weight [vocabulary, d] of its token embedding."""
    conditioner = getattr(sd_model, "conditioner", None)
    encoders = list(conditioner.embedders) if conditioner is not None else [sd_model.cond_stage_model]
    layers = [(encoder, _token_embedding(getattr(encoder, "wrapped", None))) for encoder in encoders]
    return [(encoder, layer.wrapped.weight) for encoder, layer in layers if layer is not None]


def _token_embedding(clip: Any) -> Any:
    if hasattr(clip, "transformer") and hasattr(clip.transformer, "text_model"):
        return clip.transformer.text_model.embeddings.token_embedding
    if hasattr(clip, "model") and hasattr(clip.model, "token_embedding"):
        return clip.model.token_embedding
    return None


def _resolution(sd_model: Any) -> int:
    """The config's `image_size` counts latents; that of SD2's 768 models says 64 all the same."""
    if getattr(sd_model, "is_sdxl", False):
        return 1024
    if getattr(sd_model, "is_sd2", False) and getattr(sd_model, "parameterization", "eps") == "v":
        return 768
    size = getattr(sd_model, "image_size", 64)
    return size * 8 if isinstance(size, int) and 0 < size <= 128 else 512


def _shared_model(sd_model: Any) -> DiffusionModel:
    from train_embedding.engine.loading.ldm import read_config
    from train_embedding.engine.loading.shared_weights import ldm_state, model_from_host_weights

    return model_from_host_weights(
        ldm_state(sd_model),
        read_config(Path(sd_model.used_config)),
        text_config=_text_config(sd_model),
        alphas_cumprod=sd_model.alphas_cumprod,
        clip_skip=_clip_skip(sd_model),
    )


def _model_from_file(sd_model: Any) -> DiffusionModel:
    """From the checkpoint's file, with the VAE that the WebUI uses, which may be another one than the file's."""
    from train_embedding.engine.loading.checkpoint import load_checkpoint

    model = load_checkpoint(
        Path(sd_model.sd_checkpoint_info.filename),
        device=str(devices.device),
        dtype=devices.dtype_unet,
        clip_skip=_clip_skip(sd_model),
        config=Path(sd_model.used_config),
        instead={f"first_stage_model.{key}": tensor for key, tensor in sd_model.first_stage_model.state_dict().items()},
    )
    return replace(model, alphas_cumprod=sd_model.alphas_cumprod.detach().float().to(model.device))


def _text_config(sd_model: Any) -> dict[str, Any] | None:
    """The config of the CLIP text encoder among the WebUI's; None for SD2, which has OpenCLIP's alone."""
    clips = [encoder.wrapped for encoder, _ in text_encoders(sd_model) if hasattr(encoder.wrapped, "transformer")]
    return clips[0].transformer.config.to_dict() if clips else None


def _clip_skip(sd_model: Any) -> int | None:
    """For SDXL the setting counts only where another one says so. (For SD2 never; the engine knows.)"""
    if getattr(sd_model, "is_sdxl", False) and not getattr(shared.opts, "sdxl_clip_l_skip", False):
        return None
    return shared.opts.CLIP_stop_at_last_layers
