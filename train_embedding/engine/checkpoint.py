"""DiffusionModel from a checkpoint file or a diffusers folder, without any network."""

from __future__ import annotations

from pathlib import Path

import torch

from train_embedding.embeddings.text_encoders import family_of, key_for_width
from train_embedding.engine.ldm import assemble, check_channels, default_config, read_config
from train_embedding.engine.model import DiffusionModel, TextEncoder
from train_embedding.errors import HostFailed, NotFound, UnreadableFile


def load_checkpoint(path: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, clip_skip: int = 1) -> DiffusionModel:
    """Reads a diffusers folder, or a `.safetensors` or `.ckpt` file in LDM key layout with the `.yaml` beside it, if any.

    Raises NotFound, UnreadableFile for a damaged file or one that needs code to load, and HostFailed for a model that
    cannot be trained.
    """
    if path.is_dir():
        return _load_folder(path, device, dtype, clip_skip)
    if not path.is_file():
        raise NotFound(f'There is no checkpoint "{path}".')
    state = {key: _moved(tensor, device, dtype) for key, tensor in _read_state(path).items()}
    config = path.with_suffix(".yaml")
    params = read_config(config) if config.is_file() else default_config(state)
    return assemble(state, params, clip_skip=clip_skip)


def _moved(tensor: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise their own kinds for damaged files
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UnreadableFile(f'The checkpoint "{path.name}" cannot be read: {reason}') from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    items = state.items() if isinstance(state, dict) else ()
    tensors = {key: value for key, value in items if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UnreadableFile(f'The checkpoint "{path.name}" holds no weights.')
    return tensors


def _load_folder(path: Path, device: str, dtype: torch.dtype, clip_skip: int) -> DiffusionModel:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    if (path / "text_encoder_2").is_dir():
        raise HostFailed("The folder holds an SDXL model; only SD1 models can be trained in this version.")
    try:
        options = {"torch_dtype": dtype, "local_files_only": True}
        unet = UNet2DConditionModel.from_pretrained(path, subfolder="unet", **options)
        vae = AutoencoderKL.from_pretrained(path, subfolder="vae", **options)
        text = CLIPTextModel.from_pretrained(path / "text_encoder", **options)
        scheduler = DDPMScheduler.from_pretrained(path, subfolder="scheduler", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UnreadableFile(f'The folder "{path}" is not a diffusers model: {str(error).splitlines()[0][:120]}') from error
    check_channels(unet.config.in_channels)
    width = text.get_input_embeddings().weight.shape[1]
    return DiffusionModel(
        unet=unet.to(device),
        vae=vae.to(device),
        text_encoders=(TextEncoder(key_for_width(width), text.to(device)),),
        alphas_cumprod=scheduler.alphas_cumprod.float().to(device),
        prediction_type=scheduler.config.prediction_type,
        family=family_of({key_for_width(width): width}),
        latent_scale=float(vae.config.scaling_factor),
        resolution=int(unet.config.sample_size) * 8,
        clip_skip=clip_skip,
    )
