"""DiffusionModel from weights under the key names of CompVis's latent-diffusion code, which checkpoints and the WebUI use."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from train_embedding.embeddings.text_encoders import family_of, key_for_width
from train_embedding.engine.model import DiffusionModel, TextEncoder
from train_embedding.errors import HostFailed, UnreadableFile

CONFIGS = Path(__file__).parent / "configs"
_CROSS_ATTENTION = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
"A layer that SD1, SD2 and SDXL all have; [c, width of the context]."
_TEXT_PREFIX = "cond_stage_model.transformer."


def read_config(path: Path) -> dict[str, Any]:
    """The `model.params` of an LDM config file. A text encoder folder named in it is made absolute, beside the file."""
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        version = params.get("cond_stage_config", {}).get("params", {}).get("version")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFile(f'The model config "{path.name}" cannot be read: {type(error).__name__}.') from error
    if version and (path.parent / version).is_dir():
        params["cond_stage_config"]["params"]["version"] = str((path.parent / version).resolve())
    return params


def default_config(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The config of the family that the weights are of, for a checkpoint without one beside it.

    Raises HostFailed for a family that cannot be trained yet.
    """
    weight = state.get(_CROSS_ATTENTION)
    width = None if weight is None else weight.shape[1]
    if width == 768:
        return read_config(CONFIGS / "sd1.yaml")
    name = {1024: "an SD2 model", 2048: "an SDXL model"}.get(width or 0, "not a Stable Diffusion 1.x model")
    raise HostFailed(
        f"The checkpoint is {name}; only SD1 models can be trained in this version.",
        "A model of another structure needs its config beside it, under the checkpoint's name with .yaml.",
    )


def assemble(
    state: dict[str, torch.Tensor],
    params: dict[str, Any],
    *,
    text_config: dict[str, Any] | None = None,
    alphas_cumprod: torch.Tensor | None = None,
    clip_skip: int = 1,
) -> DiffusionModel:
    """Builds the modules on the meta device and gives them the tensors of `state` themselves, without a copy.

    state: tensors under LDM key names. params: an LDM config's `model.params`. text_config: that of a transformers CLIPTextModel,
    for a text encoder whose number of heads cannot be told from its weights. alphas_cumprod: [T], else computed from the
    config's linear_start and linear_end.

    Raises HostFailed when the weights do not fit the config.
    """
    try:
        return _assembled(state, params, text_config, alphas_cumprod, clip_skip)
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise HostFailed(f"The checkpoint's weights do not fit its config ({reason}).") from error


def _assembled(
    state: dict[str, torch.Tensor],
    params: dict[str, Any],
    text_config: dict[str, Any] | None,
    alphas_cumprod: torch.Tensor | None,
    clip_skip: int,
) -> DiffusionModel:
    check_channels(params["unet_config"]["params"]["in_channels"])
    unet, vae = _unet(state, params), _vae(state, params)
    text_encoder = _text_encoder(state, text_config or _text_config_from_folder(params))
    if alphas_cumprod is None:
        schedule = noise_schedule(params["linear_start"], params["linear_end"], int(params["timesteps"]))
    else:
        schedule = alphas_cumprod.detach().float()
    return DiffusionModel(
        unet=unet,
        vae=vae,
        text_encoders=(text_encoder,),
        alphas_cumprod=schedule.to(unet.conv_in.weight.device),
        prediction_type="v_prediction" if params.get("parameterization") == "v" else "epsilon",
        family=family_of({text_encoder.key: text_encoder.width}),
        latent_scale=float(params["scale_factor"]),
        resolution=8 * int(params.get("image_size", 64)),
        clip_skip=clip_skip,
    )


def check_channels(in_channels: int) -> None:
    """Raises HostFailed unless the UNet takes the 4 channels of a latent alone."""
    if in_channels != 4:
        raise HostFailed(f"The checkpoint's UNet takes {in_channels} channels (an inpainting model?); training needs one of 4.")


def noise_schedule(start: float, end: float, timesteps: int) -> torch.Tensor:
    """ᾱ_t = Π (1 − β), with √β linear from √start to √end, as in latent diffusion (Rombach et al. 2022); fp32 [timesteps]."""
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def _unet(state: dict[str, torch.Tensor], params: dict[str, Any]) -> Any:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, create_unet_diffusers_config_from_ldm

    config = create_unet_diffusers_config_from_ldm({"model": {"params": params}}, state)
    weights = convert_ldm_unet_checkpoint(dict(state), config)
    with _quiet(), torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    return _assigned(unet, weights)


def _vae(state: dict[str, torch.Tensor], params: dict[str, Any]) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint, create_vae_diffusers_config_from_ldm

    config = create_vae_diffusers_config_from_ldm({"model": {"params": params}}, state)
    weights = convert_ldm_vae_checkpoint(dict(state), config)
    with _quiet(), torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    return _assigned(vae, weights)


def _text_encoder(state: dict[str, torch.Tensor], config: dict[str, Any] | None) -> TextEncoder:
    from transformers import CLIPTextConfig, CLIPTextModel

    weights = _text_weights(state)
    with torch.device("meta"):
        module = CLIPTextModel(CLIPTextConfig(**(config or _text_config_from_weights(weights))))
    if not any(key.startswith("text_model.") for key in module.state_dict()):  # transformers 5
        weights = {key.removeprefix("text_model."): tensor for key, tensor in weights.items()}
    body = getattr(module, "text_model", module)
    length = body.embeddings.position_embedding.num_embeddings
    # Positions are part of the weights up to transformers 4.30, and some merging tools store them as floats.
    weights = {key: tensor for key, tensor in weights.items() if not key.endswith("position_ids")}
    body.embeddings.register_buffer("position_ids", torch.empty(1, length, dtype=torch.long, device="meta"), persistent=False)
    _assigned(module, weights)
    device = body.embeddings.position_embedding.weight.device
    body.embeddings.position_ids = torch.arange(length, device=device).unsqueeze(0)
    return TextEncoder(key_for_width(module.get_input_embeddings().weight.shape[1]), module)


def _text_weights(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The text encoder's tensors with keys from "text_model." on; early checkpoints leave that part of the key out."""
    weights: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        if key.startswith(_TEXT_PREFIX):
            weights["text_model." + key.removeprefix(_TEXT_PREFIX).removeprefix("text_model.")] = tensor
    if not weights:
        raise HostFailed("The checkpoint holds no CLIP text encoder.")
    return weights


def _text_config_from_folder(params: dict[str, Any]) -> dict[str, Any] | None:
    version = (params.get("cond_stage_config", {}).get("params") or {}).get("version")
    file = Path(version) / "config.json" if version else None
    if file is None or not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f'The text encoder config "{file}" cannot be read.') from error


def _text_config_from_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The config of a CLIP text encoder with heads of 64 channels, as all that OpenAI published have."""
    width = weights["text_model.embeddings.token_embedding.weight"].shape[1]
    layers = {key.split(".")[3] for key in weights if key.startswith("text_model.encoder.layers.")}
    return {
        "hidden_size": width,
        "intermediate_size": weights["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": width // 64,
        "vocab_size": weights["text_model.embeddings.token_embedding.weight"].shape[0],
        "max_position_embeddings": weights["text_model.embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
    }


def _assigned(module: Any, weights: dict[str, torch.Tensor]) -> Any:
    """The module with `weights` as its parameters: new objects that share storage with the caller's tensors."""
    tensors = {key: tensor.detach() for key, tensor in weights.items()}
    missing, unexpected = module.load_state_dict(tensors, strict=False, assign=True)
    if missing or unexpected:
        raise HostFailed(
            f"The checkpoint's weights do not fit its config: {len(missing)} missing and {len(unexpected)} unknown in "
            f"{type(module).__name__}, such as {(missing or unexpected)[0]}."
        )
    return module


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps diffusers from warning of config entries that its own conversion has written."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def shared_parameters(module: nn.Module, state: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """How many parameters of `module` lie in the storage of a tensor of `state`, and how many there are."""
    storages = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    parameters = list(module.parameters())
    return sum(parameter.untyped_storage().data_ptr() in storages for parameter in parameters), len(parameters)
