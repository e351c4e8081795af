"""Forge's loaded checkpoint as a DiffusionModel, and the facts about it. Only Forge and reForge can import this.

It relies on these names, read in Forge dfdcbab6 and reForge 3b56b268:

    sd model        forge_objects_original (without anybody's Lora), sd_checkpoint_info, is_sd1, is_sd2, is_sdxl
    its objects     unet.model.diffusion_model, vae.first_stage_model, with the key names of checkpoints;
                    clip.cond_stage_model.clip_l, .clip_h, .clip_g: each .transformer, a CLIPTextModel; its token embedding is
                    in .wrapped
    shared          opts
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from modules import shared

from train_embedding.errors import HostFailed
from train_embedding.hosts.forge.checkpoint_file import quantised_as

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder

_PLAIN = (torch.float32, torch.float16, torch.bfloat16)
"What weights are stored in that are not quantised."
_ONE = {"clip_l": "cond_stage_model.transformer.", "clip_h": "cond_stage_model.model."}
_TWO = {"clip_l": "conditioner.embedders.0.transformer.", "clip_g": "conditioner.embedders.1.model."}
"Where a checkpoint keeps its text encoder, or SDXL its two."
_TEXT = ("text_model.", "text_projection.")


@dataclass(frozen=True)
class EncoderSettings:
    """Which output of a text encoder the program uses; the fields are those of `engine.model.TextEncoder`."""

    layer: int
    normalised: bool
    padding: int


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise schedule of the loaded checkpoint."""

    alphas_cumprod: torch.Tensor
    "ᾱ of each timestep, [T]."
    prediction_type: str
    "What the UNet predicts, in diffusers' terms."
    to_zero: bool = False
    "Whether the terminal SNR is to be zero, where ᾱ is not rescaled yet."

    def rescaled_alphas(self) -> torch.Tensor:
        """Return ᾱ in fp32, [T], rescaled to zero terminal SNR where the checkpoint is trained so."""
        from train_embedding.engine.loading.shared_weights import to_normal_tensor
        from train_embedding.engine.model.noise_schedule import zero_terminal_snr

        alphas = to_normal_tensor(self.alphas_cumprod).float()
        return zero_terminal_snr(alphas) if self.to_zero else alphas


def forge_objects(sd_model: Any) -> Any:
    """Return the UNet, VAE and text encoders without any Lora."""
    return sd_model.forge_objects_original


def clip_models(sd_model: Any) -> dict[str, Any]:
    """Return the text encoders that take embeddings, by their keys."""
    models = forge_objects(sd_model).clip.cond_stage_model
    return {key: getattr(models, key) for key in ("clip_l", "clip_h", "clip_g") if hasattr(models, key)}


def token_table(clip_model: Any) -> torch.Tensor:
    """Return the token embedding of a text encoder, [vocabulary, d]."""
    from train_embedding.engine.loading.shared_weights import to_normal_tensor

    return to_normal_tensor(clip_model.transformer.text_model.embeddings.token_embedding.weight)


def widths_of(sd_model: Any) -> dict[str, int]:
    """Return the width of the token embedding per text encoder; empty for model families that cannot be trained."""
    if not (sd_model.is_sd1 or sd_model.is_sd2 or sd_model.is_sdxl):
        return {}  # Flux has a CLIP too, of which only the pooled output is used
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
        "resolution": 1024 if sd_model.is_sdxl else 768 if sd_model.is_sd2 and schedule.prediction_type != "epsilon" else 512,
        "why_no_training": why_no_training(sd_model, schedule),
    }


def why_no_training(sd_model: Any, schedule: NoiseSchedule) -> str:
    """Say why the checkpoint cannot be trained on, in one sentence; empty where it can."""
    widths = widths_of(sd_model)
    if not widths or getattr(sd_model, "is_ssd", False):
        return "Training works for SD1, SD2 and SDXL checkpoints; the loaded one is of another family."
    if sd_model.is_sdxl and "clip_l" not in widths:
        return "The loaded checkpoint is SDXL's refiner; load the base checkpoint to train."
    if _in_channels(sd_model) not in (4, 9):
        return "The loaded checkpoint is one for depth, editing or variations; training needs one of text, or for inpainting."
    if schedule.prediction_type not in ("epsilon", "v_prediction"):
        return f'The loaded checkpoint predicts "{schedule.prediction_type}"; training knows epsilon and v_prediction.'
    if is_quantised(unet_of(sd_model)) and (kind := quantised_as(Path(sd_model.sd_checkpoint_info.filename))):
        return f"The loaded checkpoint's file is quantised ({kind}); training needs one of fp32, fp16, bf16 or fp8."
    return ""


def unet_of(sd_model: Any) -> Any:
    """Return the UNet module."""
    return forge_objects(sd_model).unet.model.diffusion_model


def must_read_from_file(sd_model: Any) -> bool:
    """Return whether training needs a copy of the weights: they are quantised (fp8, nf4, gguf), or only partly on the device."""
    parameters = list(unet_of(sd_model).parameters())
    return is_quantised(unet_of(sd_model)) or len({parameter.device for parameter in parameters}) > 1


def is_quantised(module: Any) -> bool:
    """Return whether a module has weights in another format than fp32, fp16 or bf16."""
    return any(parameter.dtype not in _PLAIN for parameter in module.parameters())


def shared_model(sd_model: Any, settings: Mapping[str, EncoderSettings], schedule: NoiseSchedule) -> DiffusionModel:
    """Make a DiffusionModel over the program's own weights; see `tensors_of` for what is copied."""
    from train_embedding.engine.loading.ldm import default_config
    from train_embedding.engine.loading.shared_weights import model_from_host_weights

    state = tensors_of(sd_model)
    params = {**default_config(state), "parameterization": "v" if schedule.prediction_type == "v_prediction" else "eps"}
    model = model_from_host_weights(state, params, text_config=None, alphas_cumprod=schedule.rescaled_alphas())
    return _with_encoder_settings(model, settings)


def model_from_file(
    sd_model: Any, settings: Mapping[str, EncoderSettings], schedule: NoiseSchedule, device: str, dtype: torch.dtype
) -> DiffusionModel:
    """Read the UNet from the checkpoint's file; the VAE and the text encoders are the program's, which may not be the file's.

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
            f'There is no room on the GPU for "{file.name}" beside what training needs.', "Load a smaller checkpoint."
        ) from error
    model = replace(model, alphas_cumprod=schedule.rescaled_alphas().to(model.device))
    return _with_encoder_settings(replace(model, prediction_type=schedule.prediction_type), settings)


def tensors_of(sd_model: Any) -> dict[str, torch.Tensor]:
    """Return the program's tensors under the keys of a checkpoint file.

    All are on the UNet's device and, where there is no autocast, in the UNet's dtype: text encoders and VAE are copied for that.
    The programs convert each layer as it computes.
    """
    from train_embedding.engine.devices import support_of
    from train_embedding.engine.loading.shared_weights import named_tensors

    state = named_tensors(unet_of(sd_model), "model.diffusion_model.")
    like = next(iter(state.values()))
    others = {**_vae_tensors(sd_model), **_text_tensors(sd_model)}
    dtypes = {key: tensor.dtype if support_of(like.device).autocast else like.dtype for key, tensor in others.items()}
    return state | {key: tensor.to(like.device, dtypes[key]) for key, tensor in others.items()}


def _vae_tensors(sd_model: Any) -> dict[str, torch.Tensor]:
    from train_embedding.engine.loading.shared_weights import named_tensors

    return named_tensors(forge_objects(sd_model).vae.first_stage_model, "first_stage_model.")


def _text_tensors(sd_model: Any) -> dict[str, torch.Tensor]:
    """The tensors of text encoders that are not quantised."""
    from train_embedding.engine.loading.shared_weights import named_tensors

    found = {key: clip_model for key, clip_model in clip_models(sd_model).items() if not is_quantised(clip_model.transformer)}
    places = _TWO if sd_model.is_sdxl else _ONE
    state: dict[str, torch.Tensor] = {}
    for key, clip_model in found.items():
        tensors = named_tensors(clip_model.transformer)
        state |= {places[key] + name: tensor for name, tensor in tensors.items() if _is_wanted(key, name)}
    return state


def _is_wanted(key: str, name: str) -> bool:
    """The programs give every text encoder a projection; only SDXL's second one uses it."""
    return name.startswith(_TEXT if key == "clip_g" else _TEXT[0]) and not name.endswith("position_ids")


def _with_encoder_settings(model: DiffusionModel, settings: Mapping[str, EncoderSettings]) -> DiffusionModel:
    crop = (shared.opts.sdxl_crop_top, shared.opts.sdxl_crop_left)
    return replace(model, text_encoders=tuple(_set_encoders(model.text_encoders, settings)), crop=crop)


def _set_encoders(encoders: Iterable[TextEncoder], settings: Mapping[str, EncoderSettings]) -> Iterable[TextEncoder]:
    for encoder in encoders:
        used = settings[encoder.key]
        yield replace(encoder, layer=used.layer, normalised=used.normalised, padding=used.padding)


def _in_channels(sd_model: Any) -> int:
    return unet_of(sd_model).get_parameter("input_blocks.0.0.weight").shape[1]  # [c, channels that it takes, 3, 3]
