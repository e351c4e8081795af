"""A Stable Diffusion 1 checkpoint with random weights from a seed, as a file for a WebUI and as a diffusers folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from train_embedding.demo.maker.ldm_layout import ldm_state, unet_key
from train_embedding.demo.maker.unet import TEXT_CONFIG
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.loading.ldm import CONFIGS, read_config
from train_embedding.engine.prompts.tokenizer import FOLDER as TOKENIZER_FILES

NAME = "random-sd1"
GAIN = 0.6
"Standard deviation of weights times the square root of their inputs; below 1, so that sums of residual branches fit in fp16."
_TEXT = "cond_stage_model.transformer."


@dataclass(frozen=True)
class Size:
    """Widths of the networks; the defaults are those of Stable Diffusion 1.5."""

    unet_channels: int = 320
    vae_channels: int = 128
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12


TRUE_SIZE = Size()


def make(folder: Path, seed: int = 0, size: Size = TRUE_SIZE) -> Path:
    """Write NAME.safetensors (fp16, 2.1 GB at full size) with its config, and `diffusers/` with the same weights.

    Existing files are kept. Returns the path of the file.
    """
    file = folder / f"{NAME}.safetensors"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write_text_config(folder / "clip", size)
        config = yaml.safe_dump({"model": _ldm_config(folder / "clip", size)}, sort_keys=False)
        file.with_suffix(".yaml").write_text(config, encoding="utf-8")
        _save(random_state(seed, size), file)
    if not (folder / "diffusers" / "model_index.json").exists():
        _write_diffusers(file, folder / "diffusers")
    return file


def random_state(seed: int, size: Size = TRUE_SIZE) -> dict[str, torch.Tensor]:
    """Return normally distributed weights with LDM keys; they and the outputs of the networks are finite in fp16."""
    generator = torch.Generator().manual_seed(seed)
    return {key: fill(torch.empty(shape.shape), key, generator).half() for key, shape in sorted(_shapes(size).items())}


def fill(tensor: torch.Tensor, key: str, generator: torch.Generator) -> torch.Tensor:
    """Fill a weight in place, and return it. `key` is its name in a network of any layout."""
    if tensor.ndim == 1:  # of norms, and biases; the WebUI divides by the mean of what the last norm gives, which may not be 0
        mean = 1.0 if key.endswith("weight") else 0.0
        return tensor.normal_(mean, 0.1, generator=generator)
    deviation = 0.02 if "embedding.weight" in key else GAIN / tensor.shape[1:].numel() ** 0.5
    return tensor.normal_(std=deviation, generator=generator)


def _shapes(size: Size) -> dict[str, torch.Tensor]:
    """Return all tensors of the checkpoint on the meta device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_unet_diffusers_config_from_ldm, create_vae_diffusers_config_from_ldm
    from transformers import CLIPTextConfig, CLIPTextModel

    config = {"model": {"params": _params(size)}}
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(create_unet_diffusers_config_from_ldm(config, {}))
        vae = AutoencoderKL.from_config(create_vae_diffusers_config_from_ldm(config, {}))
        text = CLIPTextModel(CLIPTextConfig(**_text_config(size)))
    layers = config["model"]["params"]["unet_config"]["params"]["num_res_blocks"]
    state = ldm_state({}, vae.state_dict(), text.state_dict(), layers)
    for key, tensor in unet.state_dict().items():
        name = unet_key(key, layers)
        if key.startswith("up_blocks.0.upsamplers"):  # the lowest level has no attention, which would stand before it
            name = name.replace(".2.conv", ".1.conv")
        state["model.diffusion_model." + name] = tensor
    return {key: tensor for key, tensor in state.items() if not key.endswith("position_ids")}


def _params(size: Size) -> dict[str, Any]:
    params = read_config(CONFIGS / "sd1.yaml")
    params["unet_config"]["params"] |= {"model_channels": size.unet_channels, "context_dim": size.text_width}
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = size.vae_channels
    return params


def _ldm_config(clip: Path, size: Size) -> dict[str, Any]:
    """Return a config like the WebUI's v1-inference.yaml, with the text encoder's config and tokenizer in the folder `clip`."""
    params = _params(size)
    params |= {"num_timesteps_cond": 1, "first_stage_key": "jpg", "cond_stage_key": "txt", "channels": 4}
    params |= {"cond_stage_trainable": False, "conditioning_key": "crossattn", "use_ema": False}
    params["unet_config"]["target"] = "ldm.modules.diffusionmodules.openaimodel.UNetModel"
    unet = {"image_size": 32, "use_spatial_transformer": True, "use_checkpoint": False, "legacy": False}
    params["unet_config"]["params"] |= unet
    params["first_stage_config"]["target"] = "ldm.models.autoencoder.AutoencoderKL"
    params["first_stage_config"]["params"]["lossconfig"] = {"target": "torch.nn.Identity"}
    params["cond_stage_config"] = {
        "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
        "params": {"version": str(clip.resolve()), "device": "cpu"},
    }
    return {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}


def _text_config(size: Size) -> dict[str, Any]:
    sizes = {"hidden_size": size.text_width, "intermediate_size": 4 * size.text_width, "projection_dim": size.text_width}
    return {**TEXT_CONFIG, **sizes, "num_hidden_layers": size.text_layers, "num_attention_heads": size.text_heads}


def _write_text_config(folder: Path, size: Size) -> None:
    """Write a transformers folder without weights."""
    shutil.copytree(TOKENIZER_FILES, folder, dirs_exist_ok=True)
    config = {**_text_config(size), "architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _write_diffusers(file: Path, folder: Path) -> None:
    """Write the checkpoint for diffusers' pipelines and examples. The text encoder is fp32, as they keep it."""
    from diffusers import DDPMScheduler
    from safetensors.torch import load_file

    model = load_checkpoint(file, dtype=torch.float16)
    model.unet.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    params = read_config(file.with_suffix(".yaml"))
    schedule = {"beta_start": params["linear_start"], "beta_end": params["linear_end"], "beta_schedule": "scaled_linear"}
    DDPMScheduler(**schedule, num_train_timesteps=params["timesteps"], clip_sample=False).save_pretrained(folder / "scheduler")
    shutil.copytree(TOKENIZER_FILES, folder / "tokenizer", dirs_exist_ok=True)
    (folder / "text_encoder").mkdir(exist_ok=True)
    shutil.copyfile(file.parent / "clip" / "config.json", folder / "text_encoder" / "config.json")
    text = {key.removeprefix(_TEXT): tensor.float() for key, tensor in load_file(file).items() if key.startswith(_TEXT)}
    _save(text, folder / "text_encoder" / "model.safetensors")
    parts = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDPMScheduler"}
    index: dict[str, Any] = {part: ["diffusers", kind] for part, kind in parts.items()}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}), encoding="utf-8")


def _save(state: dict[str, torch.Tensor], file: Path) -> None:
    """Save a state dict; the file appears only when it is complete."""
    partial = file.with_suffix(".part")
    save_file(state, partial, metadata={"format": "pt"})
    partial.replace(file)
