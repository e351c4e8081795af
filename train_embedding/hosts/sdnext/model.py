"""SD.Next's loaded checkpoint as a DiffusionModel, and facts about it. Can be imported only in SD.Next's process.

It uses these names of SD.Next 058a7f0c:

    modeldata       get_model_type (the family, by the pipeline's class)
    sd_models       disable_offload, move_model, set_diffuser_offload
    pipeline        unet, vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2, scheduler, default_scheduler,
                    sd_checkpoint_info; .pipe of some wrappers
    shared          opts.diffusers_offload_mode
    devices         device, dtype
    lora            lora_common: loaded_networks, previously_loaded_networks, extra_network_lora.activate; loaded_loras
                    of the pipeline
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from modules import devices, modeldata, sd_models, shared
from modules.lora import lora_common

from train_embedding.embeddings.text_encoders import key_for_width
from train_embedding.hosts.base import OTHER_FAMILY
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder

_FAMILIES = ("sd", "sdxl")
_PLAIN = (torch.float32, torch.float16, torch.bfloat16)
"Dtypes of weights that are not quantised."
_PREDICTIONS = ("epsilon", "v_prediction")
_SPLIT = ("sequential", "group")
"Offload modes in which no network is on the device as a whole."
_FORCE = "lora_force_reload"
"A setting: apply Loras again for every image."


@dataclass(frozen=True)
class Encoder:
    """A text encoder that supports embeddings."""

    key: str
    module: Any
    tokenizer: Any


def pipeline_of(sd_model: Any) -> Any:
    """Return the diffusers pipeline of SD.Next's model, which may be a wrapper."""
    return getattr(sd_model, "pipe", None) or sd_model


def encoders_of(sd_model: Any) -> list[Encoder]:
    """Return the text encoders that support embeddings; none for model families that are not supported."""
    pipe = pipeline_of(sd_model)
    if modeldata.get_model_type(pipe) not in _FAMILIES:
        return []
    found: list[Encoder] = []
    for suffix in ("", "_2"):
        module, tokenizer = getattr(pipe, f"text_encoder{suffix}", None), getattr(pipe, f"tokenizer{suffix}", None)
        if module is not None and tokenizer is not None:
            module = _uncompiled(module)
            found.append(Encoder(key_for_width(module.get_input_embeddings().weight.shape[1]), module, tokenizer))
    return found


def checkpoint_facts(sd_model: Any) -> dict[str, Any]:
    """Return the fields of HostInfo about the checkpoint."""
    checkpoint = pipeline_of(sd_model).sd_checkpoint_info
    facts = {"checkpoint_name": checkpoint.model_name, "checkpoint_hash": checkpoint.shorthash or ""}
    encoders = encoders_of(sd_model)
    facts["widths"] = {encoder.key: encoder.module.get_input_embeddings().weight.shape[1] for encoder in encoders}
    facts["why_no_training"] = why_no_training(sd_model)
    if encoders and not facts["why_no_training"]:
        unet = unet_of(sd_model)
        facts |= {"resolution": int(unet.config.sample_size) * 8, "dtype": str(unet.dtype).removeprefix("torch.")}
    return facts


def why_no_training(sd_model: Any) -> Message:
    """Return why the checkpoint cannot be trained on, as a sentence; nothing if it can."""
    pipe, encoders = pipeline_of(sd_model), encoders_of(sd_model)
    if modeldata.get_model_type(pipe) not in _FAMILIES:
        return OTHER_FAMILY
    if not encoders:
        return msg("The text encoder of the loaded checkpoint does not support embeddings.")
    if modeldata.get_model_type(pipe) == "sdxl" and len(encoders) < 2:
        return msg("The loaded checkpoint is the SDXL refiner; load the base checkpoint to train.")
    for module, needed in ((unet_of(sd_model), "UNet2DConditionModel"), (vae_of(sd_model), "AutoencoderKL")):
        if all(kind.__name__ != needed for kind in type(module).__mro__):
            return msg(
                "Training needs a {needed}; the loaded checkpoint has a {found}.", needed=needed, found=type(module).__name__
            )
    if unet_of(sd_model).config.in_channels not in (4, 9):
        return msg(
            "The loaded checkpoint is for depth, editing or image variations; load one for text-to-image or inpainting to train."
        )
    if (kind := _schedule_config(pipe).get("prediction_type")) not in _PREDICTIONS:
        return msg('The checkpoint has the prediction type "{type}"; training supports epsilon and v_prediction.', type=kind)
    if (mode := shared.opts.diffusers_offload_mode) in _SPLIT:
        return msg('Training does not work with the model offload mode "{mode}". Choose another in the settings.', mode=mode)
    if is_quantised(sd_model) and not _file_has_plain_weights(pipe.sd_checkpoint_info):
        return msg("The weights of the loaded checkpoint are quantized in a format that training does not support.")
    return NOTHING


def is_quantised(sd_model: Any) -> bool:
    """Return whether networks have weights in another format than fp32, fp16 or bf16, such as SDNQ's."""
    modules = (unet_of(sd_model), vae_of(sd_model), *(encoder.module for encoder in encoders_of(sd_model)))
    return any(parameter.dtype not in _PLAIN for module in modules for parameter in module.parameters())


def unet_of(sd_model: Any) -> Any:
    """Return the UNet."""
    return _uncompiled(getattr(pipeline_of(sd_model), "unet", None))


def vae_of(sd_model: Any) -> Any:
    """Return the VAE."""
    return _uncompiled(getattr(pipeline_of(sd_model), "vae", None))


def shared_model(sd_model: Any) -> DiffusionModel:
    """Make a DiffusionModel with SD.Next's own weights."""
    from train_embedding.engine.loading.shared_modules import model_from_modules

    config = _schedule_config(pipeline_of(sd_model))
    return model_from_modules(
        unet_of(sd_model), vae_of(sd_model), _text_encoders(sd_model), _alphas(config), config["prediction_type"]
    )


def model_from_file(sd_model: Any) -> DiffusionModel:
    """Read the model from the checkpoint's file or folder, since SD.Next has quantised it."""
    from train_embedding.engine.loading.checkpoint import load_checkpoint

    config = _schedule_config(pipeline_of(sd_model))
    path = Path(pipeline_of(sd_model).sd_checkpoint_info.path)
    model = load_checkpoint(path, device=str(devices.device), dtype=devices.dtype)
    return replace(model, alphas_cumprod=_alphas(config).to(model.device), prediction_type=config["prediction_type"])


@contextmanager
def without_offload(sd_model: Any) -> Iterator[None]:
    """Take the hooks of SD.Next's offload modes off, and move the model to the device, until exit."""
    claim(sd_model)
    try:
        yield
    finally:
        current = modeldata.model_data.sd_model
        if current is not None and shared.opts.diffusers_offload_mode != "none":
            sd_models.set_diffuser_offload(current, op="model", quiet=True, force=True)


@contextmanager
def moved_to_cpu(sd_model: Any) -> Iterator[None]:
    """Move the model to main memory until exit."""
    sd_models.move_model(sd_model, devices.cpu, force=True)
    try:
        yield
    finally:
        current = modeldata.model_data.sd_model
        if current is not None:
            sd_models.move_model(current, devices.device)


def claim(sd_model: Any) -> None:
    """Make the weights those of the checkpoint, on the device: without offload hooks and Loras."""
    remove_networks()
    sd_models.disable_offload(sd_model)
    sd_models.move_model(sd_model, devices.device, force=True)


def remove_networks() -> None:
    """Remove Loras from the weights, as SD.Next does for an image without any.

    SD.Next notes which Loras it has applied, and under which settings; the next image must find that there are none.
    """
    if not (lora_common.loaded_networks or lora_common.previously_loaded_networks):
        return
    options = shared.opts.data
    kept = {name: options[name] for name in (_FORCE,) if name in options}
    options[_FORCE] = True  # whatever is noted
    try:
        lora_common.extra_network_lora.activate(SimpleNamespace(steps=1), [])
    finally:
        del options[_FORCE]
        options.update(kept)
    pipeline_of(modeldata.model_data.sd_model).loaded_loras = {}


def _text_encoders(sd_model: Any) -> tuple[TextEncoder, ...]:
    """Return the outputs that SD.Next uses with clip skip 1, which its previews also have."""
    from train_embedding.engine.model.diffusion_model import TextEncoder

    encoders = encoders_of(sd_model)
    is_sdxl = len(encoders) > 1
    return tuple(
        TextEncoder(
            encoder.key,
            encoder.module,
            layer=2 if is_sdxl else 1,
            normalised=not is_sdxl,
            padding=encoder.tokenizer.pad_token_id,
            pools=encoder.key == "clip_g",
        )
        for encoder in encoders
    )


def _schedule_config(pipe: Any) -> dict[str, Any]:
    """Return the config of the checkpoint's own scheduler, with the settings of SD.Next that override it."""
    config = dict((getattr(pipe, "default_scheduler", None) or pipe.scheduler).config)
    if (chosen := getattr(shared.opts, "schedulers_prediction_type", "default")) not in ("default", None):
        config["prediction_type"] = chosen
    if getattr(shared.opts, "schedulers_rescale_betas", False):
        config["rescale_betas_zero_snr"] = True
    return config


def _alphas(config: dict[str, Any]) -> torch.Tensor:
    """Return ᾱ of each timestep, [T]."""
    from diffusers import DDPMScheduler

    scheduler: Any = DDPMScheduler  # its base classes have no annotations
    return scheduler.from_config({key: value for key, value in config.items() if not key.startswith("_")}).alphas_cumprod


def _file_has_plain_weights(checkpoint: Any) -> bool:
    """Return whether the checkpoint's file or folder has weights that are not quantised."""
    path = Path(checkpoint.path)
    if path.is_file():
        return path.suffix.lower() == ".safetensors"
    try:
        return "quantization_config" not in json.loads((path / "unet" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _uncompiled(module: Any) -> Any:
    """Return the module that `torch.compile` has wrapped."""
    return getattr(module, "_orig_mod", module)
