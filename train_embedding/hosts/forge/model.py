"""The loaded checkpoint as a DiffusionModel, and facts about it. Can be imported only in the processes of Forge and reForge.

It uses these names of Forge dfdcbab6 and reForge 3b56b268:

    sd model        forge_objects_original (without Loras), sd_checkpoint_info, is_sd1, is_sd2, is_sdxl
    its objects     unet.model.diffusion_model, vae.first_stage_model, with the key names of checkpoints;
                    clip.cond_stage_model.clip_l, .clip_h, .clip_g: each .transformer, a CLIPTextModel; its token embedding is
                    in .wrapped
    devices         device
    shared          opts
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from modules import devices, shared

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import OTHER_FAMILY
from train_embedding.hosts.forge.checkpoint_file import quantised_as
from train_embedding.hosts.forge.quantised import is_quantised, is_readable, weights_of
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    from train_embedding.engine.layers.quantised import Weight
    from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder

_UNET = "model.diffusion_model."
"Key prefix of the UNet in a checkpoint file."
_ONE = {"clip_l": "cond_stage_model.transformer.", "clip_h": "cond_stage_model.model."}
_TWO = {"clip_l": "conditioner.embedders.0.transformer.", "clip_g": "conditioner.embedders.1.model."}
"Key prefixes of the text encoder in a checkpoint file, and of SDXL's two text encoders."
_TEXT = ("text_model.", "text_projection.")
"Key prefixes within a text encoder."


@dataclass(frozen=True)
class EncoderSettings:
    """The output of a text encoder that the program uses; the fields are those of `engine.model.TextEncoder`."""

    layer: int
    normalised: bool
    padding: int


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise schedule of the loaded checkpoint."""

    alphas_cumprod: torch.Tensor
    "ᾱ of each timestep, [T]."
    prediction_type: str
    'What the UNet predicts, as diffusers names it, such as "epsilon".'
    to_zero: bool = False
    "Whether ᾱ must still be rescaled to zero terminal SNR."

    def rescaled_alphas(self) -> torch.Tensor:
        """Return ᾱ in fp32, [T], rescaled to zero terminal SNR if the checkpoint was trained with it."""
        from train_embedding.engine.loading.shared_weights import to_normal_tensor
        from train_embedding.engine.model.noise_schedule import zero_terminal_snr

        alphas = to_normal_tensor(self.alphas_cumprod).float()
        return zero_terminal_snr(alphas) if self.to_zero else alphas


def forge_objects(sd_model: Any) -> Any:
    """Return the UNet, VAE and text encoders without any Lora."""
    return sd_model.forge_objects_original


def clip_models(sd_model: Any) -> dict[str, Any]:
    """Return the text encoders that support embeddings, by key."""
    models = forge_objects(sd_model).clip.cond_stage_model
    return {key: getattr(models, key) for key in ("clip_l", "clip_h", "clip_g") if hasattr(models, key)}


def token_table(clip_model: Any) -> torch.Tensor:
    """Return the token embedding table of a text encoder, [vocabulary size, d]."""
    from train_embedding.engine.loading.shared_weights import to_normal_tensor

    return to_normal_tensor(clip_model.transformer.text_model.embeddings.token_embedding.weight)


def is_sd2(sd_model: Any) -> bool:
    """Return whether a checkpoint belongs to SD2, which Forge Neo does not know."""
    return getattr(sd_model, "is_sd2", False)


def widths_of(sd_model: Any) -> dict[str, int]:
    """Return the width of a vector per text encoder; empty for model families that are not supported."""
    if not (sd_model.is_sd1 or is_sd2(sd_model) or sd_model.is_sdxl):
        return {}  # Flux also has a CLIP, but uses only its pooled output
    tables = {
        key: clip_model.transformer.text_model.embeddings.token_embedding.weight
        for key, clip_model in clip_models(sd_model).items()
    }
    return {key: table.shape[1] for key, table in tables.items()}


def checkpoint_facts(sd_model: Any, schedule: NoiseSchedule) -> dict[str, Any]:
    """Return the fields of HostInfo about the checkpoint."""
    widths = widths_of(sd_model)
    return {
        "checkpoint_name": sd_model.sd_checkpoint_info.model_name,
        "checkpoint_hash": sd_model.sd_checkpoint_info.shorthash or "",
        "widths": widths,
        "resolution": 1024 if sd_model.is_sdxl else 768 if is_sd2(sd_model) and schedule.prediction_type != "epsilon" else 512,
        "why_no_training": why_no_training(sd_model, schedule),
    }


def why_no_training(sd_model: Any, schedule: NoiseSchedule) -> Message:
    """Return why the checkpoint cannot be trained on, as a sentence; nothing if it can."""
    widths = widths_of(sd_model)
    if not widths or getattr(sd_model, "is_ssd", False):
        return OTHER_FAMILY
    if sd_model.is_sdxl and "clip_l" not in widths:
        return msg("The loaded checkpoint is the SDXL refiner; load the base checkpoint to train.")
    if _in_channels(sd_model) not in (4, 9):
        return msg(
            "The loaded checkpoint is for depth, editing or image variations; load one for text-to-image or inpainting to train."
        )
    if schedule.prediction_type not in ("epsilon", "v_prediction"):
        return msg(
            'The checkpoint has the prediction type "{type}"; training supports epsilon and v_prediction.',
            type=schedule.prediction_type,
        )
    if not is_readable(unet_of(sd_model)) and (kind := quantised_as(Path(sd_model.sd_checkpoint_info.filename))):
        return msg(
            "The file of the loaded checkpoint is quantized ({kind}) in a format that training does not support.", kind=kind
        )
    return NOTHING


def unet_of(sd_model: Any) -> Any:
    """Return the UNet module."""
    return forge_objects(sd_model).unet.model.diffusion_model


def must_read_from_file(sd_model: Any) -> bool:
    """Return whether training needs its own copy: the format of the weights is unknown, or they are only partly on the device.

    Quantised weights of a known format are moved to the device when they are used.
    """
    unet = unet_of(sd_model)
    if is_quantised(unet):
        return not is_readable(unet)
    return len({parameter.device for parameter in unet.parameters()}) > 1


def shared_model(
    sd_model: Any, settings: Mapping[str, EncoderSettings], schedule: NoiseSchedule, dtype: torch.dtype
) -> DiffusionModel:
    """Make a DiffusionModel that shares the program's weights; `tensors_of` says which are copied, and what `dtype` is."""
    from train_embedding.engine.loading.ldm import default_config
    from train_embedding.engine.loading.shared_weights import model_from_host_weights

    state = tensors_of(sd_model, dtype)
    params = {**default_config(state), "parameterization": "v" if schedule.prediction_type == "v_prediction" else "eps"}
    model = model_from_host_weights(state, params, text_config=None, alphas_cumprod=schedule.rescaled_alphas())
    return _with_encoder_settings(model, settings)


def model_from_file(
    sd_model: Any, settings: Mapping[str, EncoderSettings], schedule: NoiseSchedule, device: str, dtype: torch.dtype
) -> DiffusionModel:
    """Make a DiffusionModel with the UNet from the checkpoint's file and the program's VAE and text encoders.

    The VAE and text encoders may differ from those in the file.

    Raises:
        HostFailed: The file cannot be trained on, or does not fit on the device.
    """
    from train_embedding.engine.devices import is_out_of_memory
    from train_embedding.engine.loading.checkpoint import load_checkpoint
    from train_embedding.engine.loading.shared_weights import to_normal_tensor

    file = Path(sd_model.sd_checkpoint_info.filename)
    others = {key: to_normal_tensor(tensor) for key, tensor in {**_vae_tensors(sd_model), **_text_tensors(sd_model)}.items()}
    try:
        with torch.inference_mode(False):
            model = load_checkpoint(file, device=device, dtype=dtype, instead=others)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise HostFailed(
            msg('Not enough GPU memory to load "{checkpoint}" for training.', checkpoint=file.name),
            msg("Load a smaller checkpoint."),
        ) from error
    model = replace(model, alphas_cumprod=schedule.rescaled_alphas().to(model.device))
    return _with_encoder_settings(replace(model, prediction_type=schedule.prediction_type), settings)


def tensors_of(sd_model: Any, dtype: torch.dtype) -> dict[str, Weight]:
    """Return the program's weights under the keys of a checkpoint file.

    All are on the UNet's device and, if the device has no autocast, in the UNet's dtype. Text encoders and the VAE are copied for
    that, since the programs move and convert their layers only while these compute. Quantised layers stay as they are.

    Args:
        sd_model: The program's model.
        dtype: Dtype in which the UNet computes, for the tensors of a quantised UNet that are converted.
    """
    from train_embedding.engine.devices import support_of
    from train_embedding.engine.loading.shared_weights import named_tensors

    unet = unet_of(sd_model)
    device = _device_of(unet)
    state: dict[str, Weight] = {}
    if is_quantised(unet):
        state |= weights_of(unet, _UNET, device, dtype)
    else:
        state |= named_tensors(unet, _UNET)
        dtype = next(unet.parameters()).dtype
    for key, tensor in {**_vae_tensors(sd_model), **_text_tensors(sd_model)}.items():
        state[key] = tensor.to(device, tensor.dtype if support_of(device).autocast else dtype)
    for prefix, key, clip_model in _text_encoders(sd_model):
        if is_quantised(clip_model.transformer):
            found = weights_of(clip_model.transformer, "", device, dtype)
            state |= {prefix + name: weight for name, weight in found.items() if _is_in_checkpoint(key, name)}
    return state


def _device_of(module: Any) -> torch.device:
    """Return the program's device if a part of a module is there, or else the device of its first parameter."""
    found = [parameter.device for parameter in module.parameters()]
    return next((device for device in found if device.type == torch.device(devices.device).type), found[0])


def _vae_tensors(sd_model: Any) -> dict[str, torch.Tensor]:
    from train_embedding.engine.loading.shared_weights import named_tensors

    return named_tensors(forge_objects(sd_model).vae.first_stage_model, "first_stage_model.")


def _text_tensors(sd_model: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of the text encoders that are not quantised."""
    from train_embedding.engine.loading.shared_weights import named_tensors

    state: dict[str, torch.Tensor] = {}
    for prefix, key, clip_model in _text_encoders(sd_model):
        if not is_quantised(clip_model.transformer):
            tensors = named_tensors(clip_model.transformer)
            state |= {prefix + name: tensor for name, tensor in tensors.items() if _is_in_checkpoint(key, name)}
    return state


def _text_encoders(sd_model: Any) -> list[tuple[str, str, Any]]:
    """Return the key prefix in a checkpoint file, the key and the model of each text encoder."""
    prefixes = _TWO if sd_model.is_sdxl else _ONE
    return [(prefixes[key], key, clip_model) for key, clip_model in clip_models(sd_model).items()]


def _is_in_checkpoint(key: str, name: str) -> bool:
    """Return whether a checkpoint file has a tensor: every text encoder here has a projection, but only clip_g uses it."""
    return name.startswith(_TEXT if key == "clip_g" else _TEXT[0]) and not name.endswith("position_ids")


def _with_encoder_settings(model: DiffusionModel, settings: Mapping[str, EncoderSettings]) -> DiffusionModel:
    crop = (shared.opts.sdxl_crop_top, shared.opts.sdxl_crop_left)
    return replace(model, text_encoders=tuple(_set_encoders(model.text_encoders, settings)), crop=crop)


def _set_encoders(encoders: Iterable[TextEncoder], settings: Mapping[str, EncoderSettings]) -> Iterable[TextEncoder]:
    for encoder in encoders:
        used = settings[encoder.key]
        yield replace(encoder, layer=used.layer, normalised=used.normalised, padding=used.padding)


def _in_channels(sd_model: Any) -> int:
    return unet_of(sd_model).get_parameter("input_blocks.0.0.weight").shape[1]  # [output channels, input channels, 3, 3]
