"""Small checkpoints of every family with the true widths, for a real WebUI: `python -m tests.webui.maker WEBUI_DATA_FOLDER`.

Writes te-NAME.safetensors with its config into models/Stable-diffusion, and puts this folder's `extension` beside the others: it
tells OpenCLIP and Forge of text towers with few layers, compares the program's model with ours over HTTP, and runs
tests/hosts/contract.py in the program's own process. Forge reads no configs: for it there are `sd1-narrow` and `sdxl-narrow`,
which have the published structure with fewer channels.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_unet_diffusers_config_from_ldm, create_vae_diffusers_config_from_ldm
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from tests import checkpoints
from tests.families import OpenClip, randomised, unet_config, unet_state
from train_embedding.demo.maker.ldm_layout import ldm_state
from train_embedding.demo.maker.unet import LAYERS, TEXT_CONFIG
from train_embedding.engine.loading.ldm import CONFIGS, read_config
from train_embedding.engine.prompts.tokenizer import FOLDER

NAMES = ("sd1-inpainting", "sd2", "sd2-v", "sd2-inpainting", "sdxl", "sdxl-inpainting")
NARROW = ("sd1-narrow", "sdxl-narrow")
DIFFUSERS = "demo-diffusers"
EXTENSION = Path(__file__).parent / "extension"
CLIP = {**TEXT_CONFIG, "hidden_size": 768, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 12}
TOWERS = {"sd2": ("te-tiny-H", 1024), "sdxl": ("te-tiny-bigG", 1280)}
"Per family the architecture in extension/openclip, and its width."
CHANNELS, VAE_CHANNELS = 64, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what the WebUI is given as --data-dir")
    parser.add_argument(
        "names",
        nargs="*",
        default=NAMES,
        help=f"of {', '.join((*NAMES, *NARROW, DIFFUSERS))}; the first {len(NAMES)} if none is named",
    )
    arguments = parser.parse_args()
    shutil.copytree(EXTENSION, arguments.folder / "extensions" / "te-test-families", dirs_exist_ok=True)
    models = arguments.folder / "models" / "Stable-diffusion"
    models.mkdir(parents=True, exist_ok=True)
    shutil.copytree(FOLDER, models / "te-clip", dirs_exist_ok=True)
    config = {**CLIP, "architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
    (models / "te-clip" / "config.json").write_text(json.dumps(config))
    for name in arguments.names:
        print(write_diffusers(models.parent / "Diffusers" / name) if name == DIFFUSERS else write(models, name))


def write(folder: Path, name: str) -> Path:
    """One checkpoint; its weights follow from the name."""
    torch.manual_seed(sum(name.encode()))
    base = name.split("-")[0]
    file = folder / f"te-{name}.safetensors"
    if name in NARROW:
        save_file({key: tensor.half().contiguous() for key, tensor in _narrow_state(base).items()}, file)
        return file
    state = ldm_state({}, checkpoints.source().vae.state_dict(), {}, LAYERS)
    state |= unet_state(_unet(name)) | _text_state(base)
    save_file({key: tensor.half().contiguous() for key, tensor in state.items()}, file)
    params = _sgm_params(name, folder) if base == "sdxl" else _ldm_params(name, folder)
    target = "sgm.models.diffusion.DiffusionEngine" if base == "sdxl" else "ldm.models.diffusion.ddpm.LatentDiffusion"
    if base != "sdxl" and name.endswith("inpainting"):
        target = "ldm.models.diffusion.ddpm.LatentInpaintDiffusion"
    file.with_suffix(".yaml").write_text(yaml.safe_dump({"model": {"target": target, "params": params}}, sort_keys=False))
    return file


def write_diffusers(folder: Path) -> Path:
    """The demo checkpoint as a diffusers folder, for SD.Next."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    from train_embedding.engine.loading.checkpoint import load_checkpoint
    from train_embedding.engine.prompts.tokenizer import clip_tokenizer
    from train_embedding.hosts.standalone import DEMO_CHECKPOINT

    model: Any = load_checkpoint(DEMO_CHECKPOINT)
    model.unet.register_to_config(sample_size=model.resolution // 8)
    model.vae.register_to_config(scaling_factor=model.latent_scale)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, prediction_type=model.prediction_type
    )
    parts = {"vae": model.vae, "unet": model.unet, "text_encoder": model.text_encoders[0].module, "scheduler": scheduler}
    pipeline = StableDiffusionPipeline(
        **parts, tokenizer=clip_tokenizer(), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.save_pretrained(folder)
    return folder


def _narrow_state(base: str) -> dict[str, torch.Tensor]:
    """As the family's default config wants it, with fewer channels."""
    params = read_config(CONFIGS / f"{base}.yaml")
    params["unet_config"]["params"]["model_channels"] = CHANNELS
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = VAE_CHANNELS
    config = {"model": {"params": params}}
    unet = create_unet_diffusers_config_from_ldm(config, {})
    if base == "sdxl":
        unet |= {"class_embed_type": None, "addition_embed_type": "text_time", "addition_time_embed_dim": 256}
    vae = randomised(AutoencoderKL.from_config(create_vae_diffusers_config_from_ldm(config, {})))
    state = ldm_state({}, vae.state_dict(), {}, 2)
    return state | unet_state(randomised(UNet2DConditionModel.from_config(unet))) | _text_state(base)


def _unet(name: str) -> Any:
    base = name.split("-")[0]
    config = unet_config(base.upper(), 9 if name.endswith("inpainting") else 4)
    levels = len(config["block_out_channels"])
    config["block_out_channels"] = tuple(CHANNELS * scale for scale in (1, 2, 4, 4)[:levels])
    config["cross_attention_dim"] = {"sd1": 768, "sd2": 1024, "sdxl": 2048}[base]
    config["attention_head_dim"] = 8 if base == "sd1" else tuple(side // 64 for side in config["block_out_channels"])
    if base == "sdxl":
        config |= {"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}
    return randomised(UNet2DConditionModel(**config))


def _text_state(base: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    if base != "sd2":
        clip = randomised(CLIPTextModel(CLIPTextConfig(**CLIP))).state_dict()
        prefix = "cond_stage_model.transformer" if base == "sd1" else "conditioner.embedders.0.transformer"
        state |= {f"{prefix}.text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in clip.items()}
    if base != "sd1":
        width = TOWERS[base][1]
        tower = randomised(OpenClip(width, layers=2, projection=width)).state_dict()
        prefix = "cond_stage_model.model" if base == "sd2" else "conditioner.embedders.1.model"
        state |= {f"{prefix}.{key}": tensor for key, tensor in tower.items()}
    return {key: tensor for key, tensor in state.items() if not re.search("position_ids$", key)}


def _unet_params(name: str) -> dict[str, Any]:
    base = name.split("-")[0]
    params: dict[str, Any] = {
        "in_channels": 9 if name.endswith("inpainting") else 4, "out_channels": 4, "model_channels": CHANNELS,
        "num_res_blocks": 2, "use_spatial_transformer": True, "use_checkpoint": False, "legacy": False,
    }  # fmt: skip
    if base == "sdxl":
        return params | {
            "attention_resolutions": [4, 2], "channel_mult": [1, 2, 4], "num_head_channels": 64, "context_dim": 2048,
            "use_linear_in_transformer": True, "transformer_depth": [1, 1, 2], "num_classes": "sequential",
            "adm_in_channels": 2816, "spatial_transformer_attn_type": "softmax-xformers",
        }  # fmt: skip
    params |= {"image_size": 32, "attention_resolutions": [4, 2, 1], "channel_mult": [1, 2, 4, 4], "transformer_depth": 1}
    if base == "sd1":
        return params | {"num_heads": 8, "context_dim": 768}
    return params | {"num_head_channels": 64, "context_dim": 1024, "use_linear_in_transformer": True}


def _vae_params() -> dict[str, Any]:
    return {**checkpoints.params()["first_stage_config"]["params"], "lossconfig": {"target": "torch.nn.Identity"}}


def _ldm_params(name: str, folder: Path) -> dict[str, Any]:
    inpainting = name.endswith("inpainting")
    encoder: dict[str, Any] = {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"}
    encoder["params"] = {"version": str((folder / "te-clip").resolve()), "device": "cpu"}
    if name.startswith("sd2"):
        encoder["target"] = "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder"
        encoder["params"] = {"arch": TOWERS["sd2"][0], "freeze": True, "layer": "penultimate", "device": "cpu"}
    return {
        "parameterization": "v" if name.endswith("-v") else "eps",
        "linear_start": 0.00085, "linear_end": 0.012, "num_timesteps_cond": 1, "timesteps": 1000, "first_stage_key": "jpg",
        "cond_stage_key": "txt", "image_size": 8, "channels": 4, "cond_stage_trainable": False,
        "conditioning_key": "hybrid" if inpainting else "crossattn", "scale_factor": 0.18215, "use_ema": False,
        **({"finetune_keys": None} if inpainting else {}),
        "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": _unet_params(name)},
        "first_stage_config": {"target": "ldm.models.autoencoder.AutoencoderKL", "params": _vae_params()},
        "cond_stage_config": encoder,
    }  # fmt: skip


def _sgm_params(name: str, folder: Path) -> dict[str, Any]:
    modules = "sgm.modules.diffusionmodules"
    text = {"is_trainable": False, "input_key": "txt"}
    version = str((folder / "te-clip").resolve())
    tower = {"arch": TOWERS["sdxl"][0], "version": "none", "freeze": True, "layer": "penultimate", "legacy": False}
    clip = {"layer": "hidden", "layer_idx": CLIP["num_hidden_layers"] - 1, "version": version}
    embedders = [
        {**text, "target": "sgm.modules.encoders.modules.FrozenCLIPEmbedder", "params": clip},
        {
            **text,
            "target": "sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder2",
            "params": {**tower, "always_return_pooled": True},
        },
    ]
    for key in ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple"):
        target = "sgm.modules.encoders.modules.ConcatTimestepEmbedderND"
        embedders.append({"is_trainable": False, "input_key": key, "target": target, "params": {"outdim": 256}})
    return {
        "scale_factor": 0.13025,
        "disable_first_stage_autocast": True,
        "denoiser_config": {
            "target": f"{modules}.denoiser.DiscreteDenoiser",
            "params": {
                "num_idx": 1000,
                "weighting_config": {"target": f"{modules}.denoiser_weighting.EpsWeighting"},
                "scaling_config": {"target": f"{modules}.denoiser_scaling.EpsScaling"},
                "discretization_config": {"target": f"{modules}.discretizer.LegacyDDPMDiscretization"},
            },
        },
        "network_config": {"target": f"{modules}.openaimodel.UNetModel", "params": _unet_params(name)},
        "conditioner_config": {"target": "sgm.modules.GeneralConditioner", "params": {"emb_models": embedders}},
        "first_stage_config": {"target": "sgm.models.autoencoder.AutoencoderKLInferenceWrapper", "params": _vae_params()},
    }


if __name__ == "__main__":
    main()
