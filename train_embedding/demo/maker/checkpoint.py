"""The files of a demo checkpoint: weights with LDM keys, their config, and the config of the text encoder."""

# torch and numpy annotate these only partly:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from train_embedding.demo.maker.ldm_layout import ldm_state
from train_embedding.demo.maker.unet import LAYERS, TEXT_CONFIG


def write_checkpoint(folder: Path, unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel) -> None:
    """Write demo.safetensors (fp16), demo.yaml and clip/ into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = ldm_state(unet.state_dict(), vae.state_dict(), text_encoder.state_dict(), LAYERS)
    weights = {key: tensor.to(torch.float16).contiguous() for key, tensor in state.items() if not key.endswith("position_ids")}
    save_file(weights, folder / "demo.safetensors", metadata={"format": "pt"})
    shutil.copyfile(Path(__file__).with_name("demo.yaml"), folder / "demo.yaml")
    config = {**TEXT_CONFIG, "architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "torch_dtype": "float16"}
    (folder / "clip").mkdir(exist_ok=True)
    (folder / "clip" / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "demo.safetensors").chmod(0o644)


def read_checkpoint(
    file: Path, unet: UNet2DConditionModel | None, vae: AutoencoderKL | None, text_encoder: CLIPTextModel | None
) -> None:
    """Copy the weights of a checkpoint into those networks that are given, which have the same structure.

    Raises:
        KeyError: The file lacks a weight.
        RuntimeError: A weight has another shape.
    """
    saved = load_file(file)
    own = ldm_state(
        unet.state_dict() if unet else {},
        vae.state_dict() if vae else {},
        text_encoder.state_dict() if text_encoder else {},
        LAYERS,
    )
    for key, tensor in own.items():
        if not key.endswith("position_ids"):
            tensor.copy_(saved[key])
