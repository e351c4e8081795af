"""Loading of a DiffusionModel from a checkpoint file or a diffusers folder, without internet access."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from train_embedding.embeddings.text_encoders import family_of, key_for_width
from train_embedding.engine.loading.ldm import build_model, check_channels, default_config, read_config
from train_embedding.engine.model.diffusion_model import DiffusionModel, TextEncoder
from train_embedding.engine.model.noise_schedule import LEAST_SIGNAL, PredictionType
from train_embedding.errors import HostFailed, NotFound, UnreadableFile
from train_embedding.messages import msg

_VAE = "first_stage_model."
_SDXL = "conditioner.embedders.1."
_NO_TENSORS: Mapping[str, torch.Tensor] = {}


def load_checkpoint(
    path: Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    clip_skip: int | None = None,
    config: Path | None = None,
    instead: Mapping[str, torch.Tensor] = _NO_TENSORS,
) -> DiffusionModel:
    """Load a diffusers folder, or a `.safetensors` or `.ckpt` file with LDM keys.

    SDXL's VAE stays in fp32, because it overflows in fp16.

    Args:
        path: A folder or a file.
        device: Device of the model.
        dtype: Dtype of all other networks.
        clip_skip: Layer of CLIP ViT-L to use, counted from the last layer; None for the default of the family.
        config: LDM config of a file; None for the `.yaml` file next to it, if there is one.
        instead: Tensors by key that replace those of a file, such as the tensors of another VAE.

    Raises:
        NotFound: The file or folder does not exist.
        UnreadableFile: It is damaged, or reading it would run code.
        HostFailed: The model cannot be trained on.
    """
    if path.is_dir():
        return _load_folder(path, device, dtype, clip_skip)
    if not path.is_file():
        raise NotFound(msg('There is no checkpoint "{path}".', path=path))
    state = {**_read_state(path), **instead}
    is_sdxl = any(key.startswith(_SDXL) for key in state)
    state = {key: _moved(state[key], device, torch.float32 if is_sdxl and key.startswith(_VAE) else dtype) for key in state}
    config_file = config or path.with_suffix(".yaml")
    params = read_config(config_file) if config_file.is_file() else default_config(state)
    return build_model(state, params, clip_skip=clip_skip)


def _moved(tensor: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors import safe_open

            with cast("Any", safe_open(path, framework="pt")) as file:  # safetensors has no annotations
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dictionary
        # `torch.load` may have been replaced by the host.
        loaded: object = torch.serialization.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise various errors for damaged files
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UnreadableFile(msg('The checkpoint "{file}" cannot be read: {reason}', file=path.name, reason=reason)) from error
    values = cast("dict[object, object]", loaded) if isinstance(loaded, dict) else {}
    nested = values.get("state_dict", values)
    items = cast("dict[object, object]", nested).items() if isinstance(nested, dict) else ()
    tensors = {key: value for key, value in items if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if not tensors:
        raise UnreadableFile(msg('The checkpoint "{file}" contains no weights.', file=path.name))
    return tensors


def _load_folder(path: Path, device: str, dtype: torch.dtype, clip_skip: int | None) -> DiffusionModel:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    is_sdxl = (path / "text_encoder_2").is_dir()
    if is_sdxl and not (path / "text_encoder").is_dir():
        raise HostFailed(msg("The checkpoint is SDXL's refiner."), msg("Use the SDXL base checkpoint."))
    try:
        options = {"torch_dtype": dtype, "local_files_only": True}
        unet = UNet2DConditionModel.from_pretrained(path, subfolder="unet", **options)
        vae = AutoencoderKL.from_pretrained(
            path, subfolder="vae", torch_dtype=torch.float32 if is_sdxl else dtype, local_files_only=True
        )
        scheduler = DDPMScheduler.from_pretrained(path, subfolder="scheduler", local_files_only=True)
        encoders = (_sdxl_encoders if is_sdxl else _one_encoder)(path, device, options, clip_skip)
    except Exception as error:  # the libraries raise various errors for damaged files, safetensors a plain Exception
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UnreadableFile(
            msg('The folder "{folder}" is damaged, or not a diffusers model: {reason}', folder=path, reason=reason)
        ) from error
    check_channels(unet.config.in_channels)
    return DiffusionModel(
        unet=unet.to(device),
        vae=vae.to(device),
        text_encoders=encoders,
        alphas_cumprod=scheduler.alphas_cumprod.float().clamp(min=LEAST_SIGNAL).to(device),
        prediction_type=_prediction_type(scheduler),
        family=family_of({encoder.key: encoder.width for encoder in encoders}),
        latent_scale=float(vae.config.scaling_factor),
        resolution=int(unet.config.sample_size) * 8,
        inpainting=unet.config.in_channels == 9,
    )


def _prediction_type(scheduler: Any) -> PredictionType:
    given = scheduler.config.prediction_type
    if given not in ("epsilon", "v_prediction"):
        raise HostFailed(
            msg('The checkpoint has the prediction type "{type}"; training supports epsilon and v_prediction.', type=given)
        )
    return given


def _one_encoder(path: Path, device: str, options: dict[str, Any], clip_skip: int | None) -> tuple[TextEncoder, ...]:
    """Load the text encoder of SD1 or SD2. SD2's has no unused last layer in folders, and clip skip does not apply to it."""
    from transformers import CLIPTextModel

    text = CLIPTextModel.from_pretrained(path / "text_encoder", **options).to(device)
    key = key_for_width(text.config.hidden_size)
    if text.config.hidden_act == "gelu":  # an OpenCLIP encoder
        return (TextEncoder(key, text, padding=0),)
    return (TextEncoder(key, text, layer=clip_skip or 1),)


def _sdxl_encoders(path: Path, device: str, options: dict[str, Any], clip_skip: int | None) -> tuple[TextEncoder, ...]:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    first = CLIPTextModel.from_pretrained(path / "text_encoder", **options).to(device)
    second = CLIPTextModelWithProjection.from_pretrained(path / "text_encoder_2", **options).to(device)
    return (
        TextEncoder("clip_l", first, layer=clip_skip or 2, normalised=False),
        TextEncoder("clip_g", second, layer=2, normalised=False, padding=0, pools=True),
    )
