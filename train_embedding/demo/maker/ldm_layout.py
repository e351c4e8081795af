"""Keys of CompVis's latent-diffusion code for the weights of diffusers and transformers modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def ldm_state(
    unet: Mapping[str, torch.Tensor], vae: Mapping[str, torch.Tensor], text: Mapping[str, torch.Tensor], layers_per_block: int
) -> dict[str, torch.Tensor]:
    """Combine the weights of all three networks in one state dict.

    Args:
        unet: State dict of a UNet with attention at every level.
        vae: State dict of the VAE.
        text: State dict of the text encoder.
        layers_per_block: The value in the UNet's config.
    """
    state = {"model.diffusion_model." + unet_key(key, layers_per_block): tensor for key, tensor in unet.items()}
    for key, tensor in vae.items():
        renamed = vae_key(key)
        is_projection = ".attn_1." in renamed and renamed.endswith("weight") and tensor.ndim == 2
        state["first_stage_model." + renamed] = tensor[:, :, None, None] if is_projection else tensor
    for key, tensor in text.items():
        state["cond_stage_model.transformer.text_model." + key.removeprefix("text_model.")] = tensor
    return state


def unet_key(key: str, layers: int) -> str:
    """Return the key in latent diffusion's openaimodel.UNetModel for a key of diffusers' UNet2DConditionModel."""
    stride = layers + 1
    rules: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (r"down_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f"input_blocks.{1 + int(m[1]) * stride + int(m[2])}.0."),
        (r"down_blocks\.(\d+)\.attentions\.(\d+)\.", lambda m: f"input_blocks.{1 + int(m[1]) * stride + int(m[2])}.1."),
        (r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.", lambda m: f"input_blocks.{(int(m[1]) + 1) * stride}.0.op."),
        (r"mid_block\.resnets\.(\d)\.", lambda m: f"middle_block.{2 * int(m[1])}."),
        (r"mid_block\.attentions\.0\.", lambda m: "middle_block.1."),
        (r"up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f"output_blocks.{int(m[1]) * stride + int(m[2])}.0."),
        (r"up_blocks\.(\d+)\.attentions\.(\d+)\.", lambda m: f"output_blocks.{int(m[1]) * stride + int(m[2])}.1."),
        (r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.", lambda m: f"output_blocks.{int(m[1]) * stride + layers}.2.conv."),
    ]
    for pattern, renamed in rules:
        match = re.match(pattern, key)
        if match:
            rest = key[match.end() :]
            part = rest.rsplit(".", 1)[0]
            return renamed(match) + (_RESNET[part] + rest.removeprefix(part) if "resnets" in match[0] else rest)
    part = key.rsplit(".", 1)[0]
    return _UNET_ENDS[part] + key.removeprefix(part)


def vae_key(key: str) -> str:
    """Return the key in latent diffusion's AutoencoderKL for a key of diffusers' with four levels."""
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.", r"encoder.down.\1.block.", key)
    key = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.resnets\.", lambda m: f"decoder.up.{3 - int(m[1])}.block.", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.upsamplers\.0\.", lambda m: f"decoder.up.{3 - int(m[1])}.upsample.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda m: f"mid.block_{int(m[1]) + 1}.", key)
    match = re.search(r"mid_block\.attentions\.0\.(.+)\.(weight|bias)$", key)
    if match:
        return key[: match.start()] + f"mid.attn_1.{_VAE_ATTENTION[match[1]]}.{match[2]}"
    return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
