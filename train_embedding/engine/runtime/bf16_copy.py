"""A bf16 copy of an fp32 UNet, for runs on CPUs that multiply matrices of bf16 in hardware (Intel's AMX).

bf16 instructions alone are not enough. Measured at the size of SD1.5, 256², one thread, oneDNN limited to each instruction set by
ONEDNN_MAX_CPU_ISA, with torch 2.13 and 2.1: with AMX, the UNet's part of a step takes 0.45 and 0.53 times as long as in fp32;
with AVX-512 and its bf16 instructions 1.26 times; with AVX-512 alone, where torch also reports that bf16 is supported, 3.2 times.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from train_embedding.main_memory import main_memory

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from train_embedding.engine.model.diffusion_model import DiffusionModel

FEWEST_WEIGHTS = 2**27
"Weights of a UNet from which on a copy is made; SD1.5's has 860 million. Small ones gain little, and stay exact."
SPARE_MEMORY = 2**30
"Bytes of main memory that stay free beside the copy."


@functools.cache
def cpu_has_amx() -> bool:
    """Return whether the CPU multiplies matrices of bf16 in hardware and torch uses that. False where this is not known."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:  # not on Linux
        return False
    return "amx_bf16" in flags and torch.backends.mkldnn.is_available()


def with_bf16_unet(model: DiffusionModel) -> DiffusionModel:
    """Return the model with a bf16 copy of its UNet if steps are faster with it and the main memory is enough.

    Text encoders, the VAE and the model itself are not changed. At SD1.5's size with random weights, gradients of the prompt
    differ from those in fp32 by 1.2 %.
    """
    weights = list(model.unet.parameters())
    count = sum(weight.numel() for weight in weights)
    if model.device.type != "cpu" or any(weight.dtype != torch.float32 for weight in weights):
        return model
    if count < FEWEST_WEIGHTS or not cpu_has_amx() or 0 < main_memory()[1] < 2 * count + SPARE_MEMORY:
        return model
    return replace(model, unet=_bf16(model.unet))


def _bf16(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a copy. Its weights are converted one by one, so that there is no second copy in fp32."""
    converted: dict[int, object] = {
        id(weight): nn.Parameter(weight.detach().to(torch.bfloat16), requires_grad=False) for weight in unet.parameters()
    }
    converted |= {id(buffer): buffer.to(torch.bfloat16) if buffer.is_floating_point() else buffer for buffer in unet.buffers()}
    return copy.deepcopy(unet, converted)
