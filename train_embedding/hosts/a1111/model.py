"""The WebUI's loaded checkpoint as a DiffusionModel, and facts about it. Can be imported only in the WebUI's process.

It uses these names of the WebUI 1.10.1:

    sd_models       send_model_to_device, send_model_to_cpu
    sd model        cond_stage_model or conditioner.embedders, .wrapped.transformer or .wrapped.model, the token embedding
                    in .wrapped; alphas_cumprod, used_config, sd_checkpoint_info, image_size, is_sd1 and its siblings,
                    first_stage_model, model.conditioning_key, model.diffusion_model.in_channels
    shared          opts, sd_model
    devices         device, dtype_unet, fp8
    lowvram         is_enabled
    networks        of the built-in Lora extension, if it is loaded: load_networks, network_apply_weights
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from modules import devices, sd_models, shared

from train_embedding.embeddings.text_encoders import key_for_width
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import OTHER_FAMILY
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel


def loaded_model() -> Any:
    """Return the WebUI's model, which the WebUI loads if necessary.

    Raises:
        HostFailed: The WebUI could not load one.
    """
    sd_model = shared.sd_model  # loads one if there is none
    if sd_model is None:
        raise HostFailed(
            msg("The WebUI has no checkpoint loaded."),
            msg("Choose a checkpoint at the top of the page."),
        )
    return sd_model


def diffusion_model(sd_model: Any) -> DiffusionModel:
    """Make a DiffusionModel with the WebUI's own weights, or read it from the file if they are quantised or offloaded."""
    model = _model_from_file(sd_model) if must_read_from_file(sd_model) else _shared_model(sd_model)
    return replace(model, crop=(getattr(shared.opts, "sdxl_crop_top", 0), getattr(shared.opts, "sdxl_crop_left", 0)))


def must_read_from_file(sd_model: Any) -> bool:
    """Return whether training needs a copy of the weights: they are quantised (fp8) or offloaded (--medvram, --lowvram)."""
    from modules import lowvram  # which Forge Classic, whose host uses other functions of this module, does not have

    return devices.fp8 or lowvram.is_enabled(sd_model)


@contextmanager
def on_device(sd_model: Any) -> Iterator[None]:
    """Move the model to the device until exit, if it is in main memory after the API's "unload checkpoint"."""
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
    """Move the model to main memory until exit."""
    sd_models.send_model_to_cpu(sd_model)
    try:
        yield
    finally:
        sd_models.send_model_to_device(sd_model)


def remove_networks(sd_model: Any) -> None:
    """Remove Loras from the weights, using the WebUI's backups of the checkpoint's own weights."""
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


def why_no_training(sd_model: Any) -> Message:
    """Return why the checkpoint cannot be trained on, as a sentence; nothing if it can."""
    widths = widths_of(sd_model)
    if not widths:
        return msg("The text encoder of the loaded checkpoint does not support embeddings.")
    if getattr(sd_model, "is_sd3", False) or getattr(sd_model, "is_ssd", False):
        return OTHER_FAMILY
    if getattr(sd_model, "is_sdxl", False) and "clip_l" not in widths:
        return msg("The loaded checkpoint is the SDXL refiner; load the base checkpoint to train.")
    inner = sd_model.model
    channels = getattr(getattr(inner, "diffusion_model", None), "in_channels", 4)
    if getattr(inner, "conditioning_key", "crossattn") not in ("crossattn", "hybrid") or channels not in (4, 9):
        return msg(
            "The loaded checkpoint is for depth, editing or image variations; load one for text-to-image or inpainting to train."
        )
    return NOTHING


def widths_of(sd_model: Any) -> dict[str, int]:
    """Return the width of a vector per text encoder, without encoders that do not support embeddings."""
    return {key_of(weight): weight.shape[1] for _, weight in text_encoders(sd_model)}


def key_of(weight: torch.Tensor) -> str:
    """Return the key of the text encoder with this token embedding table, [vocabulary size, d]."""
    return key_for_width(weight.shape[1])


def text_encoders(sd_model: Any) -> list[tuple[Any, torch.Tensor]]:
    """Return the encoders that support embeddings, each with its token embedding table, [vocabulary size, d]."""
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
    """Return the native image size in pixels. The config's `image_size` is in latents, and wrong for SD2's 768 models."""
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
    """Read the model from the checkpoint's file, with the VAE that the WebUI uses, which may differ from the file's."""
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
    """Return the config of the WebUI's CLIP text encoder; None for SD2, which only has OpenCLIP."""
    clips = [encoder.wrapped for encoder, _ in text_encoders(sd_model) if hasattr(encoder.wrapped, "transformer")]
    return clips[0].transformer.config.to_dict() if clips else None


def _clip_skip(sd_model: Any) -> int | None:
    """Return the setting "Clip skip"; for SDXL only if "sdxl_clip_l_skip" is on. The engine ignores it for SD2."""
    if getattr(sd_model, "is_sdxl", False) and not getattr(shared.opts, "sdxl_clip_l_skip", False):
        return None
    return shared.opts.CLIP_stop_at_last_layers
