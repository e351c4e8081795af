"""A small model of every family, of its true structure, with random weights: diffusers, transformers, OpenCLIP."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from tests import checkpoints
from train_embedding.demo.maker.ldm_layout import ldm_state, unet_key
from train_embedding.demo.maker.unet import LAYERS, TEXT_CONFIG
from train_embedding.engine.loading import ldm
from train_embedding.engine.model.diffusion_model import DiffusionModel

BASES = ("SD1", "SD2", "SDXL")
VARIANTS = ("SD1", "SD1 inpainting", "SD2", "SD2 v", "SD2 inpainting", "SDXL", "SDXL v", "SDXL inpainting")
FAST = ("SD1", "SD1 inpainting", "SD2 v")
SOME_SLOW = [pytest.param(variant, marks=[] if variant in FAST else pytest.mark.slow) for variant in VARIANTS]
"All variants, of which `make test` uses one of each kind."
CLIP_WIDTH = TEXT_CONFIG["hidden_size"]
OPENCLIP_WIDTH, OPENCLIP_LAYERS = 128, 3
POOLED = 96
"Not the width: a projection that was transposed would be noticed."
SIZE_CHANNELS = 32
"For each of SDXL's six numbers."


class OpenClip(nn.Module):
    """OpenCLIP's text tower with its own parameter names, written after its published architecture: pre-norm blocks of
    causal attention and a GELU network, the projection on the side."""

    def __init__(self, width: int, layers: int, projection: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(49408, width)
        self.positional_embedding = nn.Parameter(torch.empty(77, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList([OpenClipBlock(width) for _ in range(layers)])
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, projection))
        self.logit_scale = nn.Parameter(torch.ones([]))

    def hidden(self, ids: torch.Tensor) -> list[torch.Tensor]:
        """What goes into each block, and what comes out of the last; [B, 77, d] each."""
        states = [self.token_embedding(ids) + self.positional_embedding]
        for block in cast("nn.ModuleList", self.transformer.resblocks):
            states.append(block(states[-1]))
        return states

    def pooled(self, ids: torch.Tensor) -> torch.Tensor:
        """The projected state at the end of the text, whose id is the highest, [B, p]."""
        last = self.ln_final(self.hidden(ids)[-1])
        return last[torch.arange(len(ids)), ids.argmax(-1)] @ self.text_projection


class OpenClipBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        layers = (("c_fc", nn.Linear(width, 4 * width)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(4 * width, width)))
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        normalised = self.ln_1(x)
        x = x + self.attn(normalised, normalised, normalised, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


@dataclass(frozen=True)
class Family:
    """The networks of a family. clip: transformers' CLIPTextModel, which SD2 has not; openclip: which SD1 has not."""

    variant: str
    unet: Any
    vae: Any
    clip: Any
    openclip: OpenClip | None

    @property
    def base(self) -> str:
        return self.variant.split()[0]

    @property
    def is_v(self) -> bool:
        return self.variant.endswith(" v")

    @property
    def is_inpainting(self) -> bool:
        return self.variant.endswith("inpainting")

    def state(self) -> dict[str, torch.Tensor]:
        """The very tensors of the networks under the keys of a checkpoint."""
        state = ldm_state({}, self.vae.state_dict(), {}, LAYERS)
        state |= unet_state(self.unet)
        prefixes = {"SD1": ("cond_stage_model.transformer.", ""), "SD2": ("", "cond_stage_model.model.")}
        clip, openclip = prefixes.get(self.base, ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."))
        if self.clip is not None:
            parts = self.clip.state_dict().items()
            state |= {f"{clip}text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in parts}
        if self.openclip is not None:
            state |= {openclip + key: tensor for key, tensor in self.openclip.state_dict().items()}
        return state

    def params(self) -> dict[str, Any]:
        """The family's default config, with the numbers of these networks."""
        params = ldm.read_config(ldm.CONFIGS / f"{self.base.lower()}.yaml")
        params["first_stage_config"] = checkpoints.params()["first_stage_config"]
        params["image_size"] = 8
        unet = params["unet_config"]["params"]
        config = self.unet.config
        unet |= {"model_channels": 32, "in_channels": config.in_channels, "context_dim": config.cross_attention_dim}
        if self.base == "SD1":
            unet["num_heads"] = 4
        else:
            unet["num_head_channels"] = 16
            params["parameterization"] = "v" if self.is_v else "eps"
        if self.base == "SDXL":
            unet |= {"transformer_depth": [1, 1, 2], "adm_in_channels": POOLED + 6 * SIZE_CHANNELS}
            params["conditioner_config"]["params"]["emb_models"][0]["params"]["layer_idx"] = TEXT_CONFIG["num_hidden_layers"] - 1
        return params

    def model(self, clip_skip: int | None = None) -> DiffusionModel:
        return ldm.build_model(self.state(), self.params(), text_config=self.text_config, clip_skip=clip_skip)

    @property
    def text_config(self) -> dict[str, Any] | None:
        return None if self.clip is None else TEXT_CONFIG


@cache
def family(variant: str) -> Family:
    """Not to be changed: everything in this process shares it."""
    made = checkpoints.source()
    base = variant.split()[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(variant.encode()))
        unet = randomised(UNet2DConditionModel(**unet_config(base, 9 if variant.endswith("inpainting") else 4)))
    clip = None if base == "SD2" else made.text_encoder
    return Family(variant, unet, made.vae, clip, None if base == "SD1" else _openclip())


@cache
def model(variant: str) -> DiffusionModel:
    """A model over the family's weights. Not to be changed."""
    return family(variant).model()


def unet_state(unet: Any) -> dict[str, torch.Tensor]:
    """The UNet's tensors under latent diffusion's keys."""
    return {"model.diffusion_model." + _ldm_key(unet, key): tensor for key, tensor in unet.state_dict().items()}


def true_size_state(base: str, in_channels: int) -> dict[str, torch.Tensor]:
    """A checkpoint of the published size without values: everything on the meta device."""
    config = unet_config(base, in_channels)
    width = {"SD1": 768, "SD2": 1024, "SDXL": 2048}[base]
    config |= {"cross_attention_dim": width, "block_out_channels": (320, 640, 1280, 1280)[: len(config["block_out_channels"])]}
    config["attention_head_dim"] = {"SD1": 8, "SD2": (5, 10, 20, 20), "SDXL": (5, 10, 20)}[base]
    if base == "SDXL":
        embedding = {"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}
        config |= {"transformer_layers_per_block": (1, 2, 10), **embedding}
    levels = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
        vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, **levels)
        clip = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
        openclip = OpenClip(1280, 32, 1280) if base == "SDXL" else OpenClip(1024, 24, 1024)
    made = Family(base, unet, vae, None if base == "SD2" else clip, None if base == "SD1" else openclip)
    return {key: tensor for key, tensor in made.state().items() if not key.endswith("position_ids")}


def wrapped(base: str) -> Callable[[str], str]:
    """Turns a checkpoint's key into the one it has in the WebUI, which wraps text encoders and token embeddings."""

    def name(key: str) -> str:
        key = re.sub(r"^(cond_stage_model|conditioner\.embedders\.\d)\.", r"\1.wrapped.", key)
        return key.replace("token_embedding.", "token_embedding.wrapped.")

    return name


def unet_config(base: str, in_channels: int) -> dict[str, Any]:
    config: dict[str, Any] = {"sample_size": 8, "in_channels": in_channels, "out_channels": 4, "layers_per_block": 2}
    if base == "SDXL":
        return config | {
            "block_out_channels": (32, 64, 128),
            "cross_attention_dim": CLIP_WIDTH + OPENCLIP_WIDTH,
            "attention_head_dim": (2, 4, 8),
            "use_linear_projection": True,
            "transformer_layers_per_block": (1, 1, 2),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_CHANNELS,
            "projection_class_embeddings_input_dim": POOLED + 6 * SIZE_CHANNELS,
        }
    return config | {
        "block_out_channels": (32, 64, 128, 128),
        "cross_attention_dim": CLIP_WIDTH if base == "SD1" else OPENCLIP_WIDTH,
        "attention_head_dim": 4 if base == "SD1" else (2, 4, 8, 8),
        "use_linear_projection": base == "SD2",
    }


def randomised(module: Any) -> Any:
    """Every parameter at random: new networks have zeros where a wrong weight would not be noticed."""
    module.eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            reads_prompt = ".attn2.to_v." in name or ".attn2.to_out." in name  # so that prompts matter to random networks
            gain = 2.0 if reads_prompt else 0.5
            parameter.normal_(std=0.3 if "token_embedding" in name else gain / parameter[0].numel() ** 0.5)
        elif "norm" in name or "ln_" in name:
            parameter.normal_(mean=1.0 if name.endswith("weight") else 0.0, std=0.1)
        else:
            parameter.normal_(std=0.1)
    return module


@cache
def _openclip() -> OpenClip:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        return randomised(OpenClip(OPENCLIP_WIDTH, OPENCLIP_LAYERS, POOLED))


def _ldm_key(unet: Any, key: str) -> str:
    if key.startswith("add_embedding."):
        return re.sub(r"^add_embedding\.linear_([12])", lambda match: f"label_emb.0.{2 * int(match[1]) - 2}", key)
    name = unet_key(key, unet.config.layers_per_block)
    upsampler = re.match(r"up_blocks\.(\d)\.upsamplers", key)
    if upsampler and unet.config.up_block_types[int(upsampler[1])] == "UpBlock2D":
        return name.replace(".2.conv", ".1.conv")  # no attention stands before it
    return name
