"""diffusers' blocks as frozen layers: where a norm and an activation, or a gate, are kept as one tensor."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from train_embedding.engine.layers.frozen import FrozenLayer, geglu, group_norm


def frozen_block(block: nn.Module) -> type[nn.Module] | None:
    """The frozen kind of a block; None for one that is not of Stable Diffusion's usual kind."""
    if type(block) is GEGLU:
        return FrozenGEGLU
    if type(block) is ResnetBlock2D and _is_usual(block):
        return FrozenResnetBlock2D
    return None


def _is_usual(block: ResnetBlock2D) -> bool:
    return (
        block.time_embedding_norm == "default"
        and block.upsample is None
        and block.downsample is None
        and block.time_emb_proj is not None
        and not block.skip_time_act
        and block.dropout.p == 0
        and type(block.nonlinearity) is nn.SiLU
    )


def tell_skips(unet: Any) -> None:
    """Tells the resnets on the way up how many of their channels come over a skip connection, as diffusers' UNets pass them."""
    skips: list[int] = [unet.conv_in.out_channels]
    for block in unet.down_blocks:
        skips += [resnet.out_channels for resnet in block.resnets]
        skips += [sampler.out_channels for sampler in block.downsamplers or ()]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            resnet.skip_channels = skips.pop()


class FrozenGEGLU(FrozenLayer, GEGLU):
    def forward(self, hidden_states: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if not (torch.is_grad_enabled() and hidden_states.requires_grad):
            return super().forward(hidden_states, *arguments, **options)
        return geglu(self.proj(hidden_states))


class FrozenResnetBlock2D(FrozenLayer, ResnetBlock2D):
    """Computes what ResnetBlock2D computes; see `_is_usual` for what it leaves out."""

    skip_channels = 0
    "How many of the input's last channels come over a skip connection."

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        trained = any(parameter.requires_grad for norm in (self.norm1, self.norm2) for parameter in norm.parameters())
        if not torch.is_grad_enabled() or trained:
            return super().forward(input_tensor, temb, *arguments, **options)
        wanted = self._wanted_channels(input_tensor)
        hidden = self.conv1(group_norm(self.norm1, input_tensor, silu=True), whole_groups(self.norm1, wanted))
        assert self.time_emb_proj is not None
        hidden = hidden + self.time_emb_proj(self.nonlinearity(temb))[:, :, None, None]
        hidden = self.conv2(group_norm(self.norm2, hidden, silu=True))
        shortcut = input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor, wanted)
        return (shortcut + hidden) / self.output_scale_factor

    def _wanted_channels(self, joined: torch.Tensor) -> int:
        """How many of the first channels a gradient goes to: not those of a skip from before the prompt is read, where
        the convolutions need not compute it."""
        node = joined.grad_fn
        parts = node.next_functions if node is not None and node.name() == "CatBackward0" else ()
        ends_in_skip = len(parts) == 2 and parts[1][0] is None
        return joined.shape[1] - (self.skip_channels if ends_in_skip else 0)


def whole_groups(norm: nn.GroupNorm, channels: int) -> int:
    """The first channels, with those that a gradient of theirs depends on: a norm's whole groups."""
    group = norm.num_channels // norm.num_groups
    return -(-channels // group) * group
