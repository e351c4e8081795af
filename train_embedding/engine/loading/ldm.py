"""Building of a DiffusionModel from weights with LDM keys: those of CompVis's latent diffusion, checkpoints and the WebUI."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from train_embedding.embeddings.text_encoders import family_of
from train_embedding.engine.layers.quantised import Weight
from train_embedding.engine.loading.assign import assign_weights
from train_embedding.engine.loading.ldm_text_encoders import build_text_encoders, text_config_folder
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.model.noise_schedule import PredictionType, noise_schedule, zero_terminal_snr
from train_embedding.errors import HostFailed, UnreadableFile
from train_embedding.messages import msg

CONFIGS = Path(__file__).parent / "configs"
_CONFIG_OF_CONTEXT = {768: "sd1.yaml", 1024: "sd2.yaml", 2048: "sdxl.yaml"}
_CROSS_ATTENTION = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
"Key of a layer of SD1, SD2 and SDXL, [c, width of the context]."
_FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
"Key of the first layer of the UNet, [c, input channels, 3, 3]."
_FIRST_VAE_LAYER = "first_stage_model.encoder.conv_in.weight"
"Key of the first layer of the VAE, [c, 3, 3, 3]."
_LABELS = "model.diffusion_model.label_emb."


def read_config(path: Path) -> dict[str, Any]:
    """Read `model.params` of an LDM config. The path of a text encoder folder next to the file becomes absolute.

    Raises:
        UnreadableFile: The file cannot be read, or is not an LDM config.
    """
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        folder = text_config_folder(params)
        version = folder.get("version")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFile(
            msg('The model config "{file}" cannot be read: {reason}.', file=path.name, reason=type(error).__name__)
        ) from error
    if version and (path.parent / version).is_dir():
        folder["version"] = str((path.parent / version).resolve())
    return params


def default_config(state: Mapping[str, Weight]) -> dict[str, Any]:
    """Return the default config of a checkpoint's family.

    Raises:
        HostFailed: The family of the weights is not supported.
    """
    weight = state.get(_CROSS_ATTENTION)
    name = None if weight is None else _CONFIG_OF_CONTEXT.get(weight.shape[1])
    if name is None:
        raise HostFailed(
            msg("The checkpoint is not a Stable Diffusion 1, 2 or XL model."),
            msg("A model with a different structure needs a config file next to it, with the same name and the suffix .yaml."),
        )
    params = read_config(CONFIGS / name)
    if _FIRST_LAYER in state:
        channels, in_channels = state[_FIRST_LAYER].shape[:2]
        _unet_params(params).update(model_channels=channels, in_channels=in_channels)
    if _FIRST_VAE_LAYER in state:
        params["first_stage_config"]["params"]["ddconfig"]["ch"] = state[_FIRST_VAE_LAYER].shape[0]
    return params


def build_model(
    state: Mapping[str, Weight],
    params: dict[str, Any],
    *,
    text_config: dict[str, Any] | None = None,
    alphas_cumprod: torch.Tensor | None = None,
    clip_skip: int | None = None,
) -> DiffusionModel:
    """Build a model from tensors without copying them.

    Args:
        state: Tensors and quantised weights by LDM key.
        params: `model.params` of an LDM config, in CompVis's or Stability's (sgm) format.
        text_config: Config of a transformers CLIPTextModel, if it cannot be inferred from the weights.
        alphas_cumprod: ᾱ, [T]; None to compute it from the config.
        clip_skip: Layer of CLIP ViT-L to use, counted from the last layer; None for the default of the family.

    Raises:
        HostFailed: The weights do not fit the config, or the model cannot be trained on.
    """
    try:
        return _build_model(state, params, text_config, alphas_cumprod, clip_skip)
    except (RuntimeError, LookupError, AttributeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise HostFailed(msg("The checkpoint's weights do not fit its config: {reason}", reason=reason)) from error


def _build_model(
    state: Mapping[str, Weight],
    params: dict[str, Any],
    text_config: dict[str, Any] | None,
    alphas_cumprod: torch.Tensor | None,
    clip_skip: int | None,
) -> DiffusionModel:
    in_channels = _unet_params(params)["in_channels"]
    check_channels(in_channels)
    encoders = build_text_encoders(state, params, text_config, clip_skip)
    pooled = sum(encoder.pooled_width for encoder in encoders)
    unet, vae = _unet(state, params, pooled), _vae(state, params)
    schedule = _noise_schedule(state, params) if alphas_cumprod is None else alphas_cumprod.detach().float()
    prediction_type = _prediction_type(state, params, unet)
    return DiffusionModel(
        unet=unet,
        vae=vae,
        text_encoders=encoders,
        alphas_cumprod=schedule.to(next(unet.parameters()).device),
        prediction_type=prediction_type,
        family=family_of({encoder.key: encoder.width for encoder in encoders}),
        latent_scale=float(params["scale_factor"]),
        resolution=_resolution(params, prediction_type),
        inpainting=in_channels == 9,
    )


def check_channels(in_channels: int) -> None:
    """Raise HostFailed unless the UNet has 4 input channels, or the 9 of an inpainting model."""
    if in_channels not in (4, 9):
        raise HostFailed(
            msg(
                "The checkpoint's UNet has {channels} input channels, as in depth and editing models; training supports 4, or 9 "
                "for inpainting.",
                channels=in_channels,
            )
        )


def _unet_params(params: dict[str, Any]) -> dict[str, Any]:
    """Return the UNet's parameters, whose key differs between CompVis's configs and Stability's (sgm)."""
    return (params.get("unet_config") or params["network_config"])["params"]


def _denoiser(params: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a part of an sgm config's denoiser; empty for CompVis's configs."""
    config: dict[str, Any] = params.get("denoiser_config") or {}
    denoiser: dict[str, Any] = config.get("params") or {}
    part: dict[str, Any] = denoiser.get(name) or {}
    return part


def _noise_schedule(state: Mapping[str, Weight], params: dict[str, Any]) -> torch.Tensor:
    if "denoiser_config" in params:
        given: dict[str, Any] = _denoiser(params, "discretization_config").get("params") or {}
        values: dict[str, Any] = {
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "timesteps": given.get("num_timesteps", 1000),
            **given,
        }
    else:
        values = params
    schedule = noise_schedule(values["linear_start"], values["linear_end"], int(values["timesteps"]))
    return zero_terminal_snr(schedule) if "ztsnr" in state else schedule


def _prediction_type(state: Mapping[str, Weight], params: dict[str, Any], unet: Any) -> PredictionType:
    """Find the prediction type from the config, from the key "v_pred" of some SDXL checkpoints, or by a test of SD2's UNet."""
    scaling = str(_denoiser(params, "scaling_config").get("target", "EpsScaling"))
    if not scaling.endswith(("EpsScaling", "VScaling")):
        raise HostFailed(
            msg('The checkpoint\'s config uses "{scaling}"; training supports EpsScaling and VScaling.', scaling=scaling)
        )
    given = params.get("parameterization")
    predicts_v = given == "v" or scaling.endswith("VScaling") or "v_pred" in state
    if given == "unknown" and unet.config.in_channels == 4:
        predicts_v = _predicts_v(unet)
    return "v_prediction" if predicts_v else "epsilon"


@torch.no_grad()
def _predicts_v(unet: Any) -> bool:
    """Return whether the UNet predicts v: whether its output at the last timestep differs from its input (as in the WebUI).

    The input is almost pure noise there: ε is close to the input, and v is close to the negative latent.
    """
    parameter = next(unet.parameters())
    noisy = torch.full((1, 4, 8, 8), 0.5, device=parameter.device, dtype=parameter.dtype)
    context = noisy.new_full((1, 2, unet.config.cross_attention_dim), 0.5)
    unet.eval()
    output = unet(noisy, torch.tensor([999], device=parameter.device), encoder_hidden_states=context, return_dict=False)[0]
    return float((output - noisy).float().mean()) < -1


def _resolution(params: dict[str, Any], prediction_type: PredictionType) -> int:
    """Return the resolution in pixels. `image_size` is in latents; it is missing for SDXL, and is 64 for SD2 at 768 pixels."""
    if "image_size" not in params:
        return 1024
    size = 8 * int(params["image_size"])
    is_sd2_v = _unet_params(params).get("context_dim") == 1024 and prediction_type == "v_prediction"
    return 768 if is_sd2_v and size == 512 else size


def _unet(state: Mapping[str, Weight], params: dict[str, Any], pooled: int) -> Any:
    """Build the UNet. `pooled` is the width of the pooled output of the text encoders, 0 if there is none."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, create_unet_diffusers_config_from_ldm

    config = create_unet_diffusers_config_from_ldm({"model": {"params": params}}, state)
    if not pooled and f"{_LABELS}0.0.weight" in state:
        raise HostFailed(
            msg("The checkpoint is also conditioned on images (unCLIP); training supports conditioning on text only.")
        )
    if pooled:
        numbers = (
            _unet_params(params)["adm_in_channels"] - pooled
        ) // 6  # channels for each of the six numbers of the size conditioning
        config |= {"class_embed_type": None, "addition_embed_type": "text_time", "addition_time_embed_dim": numbers}
    weights = convert_ldm_unet_checkpoint(dict(state), config)
    with _without_warnings(), torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    return assign_weights(unet, weights)


def _vae(state: Mapping[str, Weight], params: dict[str, Any]) -> Any:
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint, create_vae_diffusers_config_from_ldm

    config = create_vae_diffusers_config_from_ldm({"model": {"params": params}}, state)
    weights = convert_ldm_vae_checkpoint(dict(state), config)
    with _without_warnings(), torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    return assign_weights(vae, weights)


@contextmanager
def _without_warnings() -> Generator[None, None, None]:
    """Silence diffusers' warnings about config entries that its own conversion wrote."""
    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
