"""Memory of SDXL with quantised weights at true size: the figures in docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from train_embedding.engine.layers.quantised import QuantisedWeight, hold_quantised
from train_embedding.engine.profiling.memory import RESERVED, count_memory, weight_bytes
from train_embedding.engine.profiling.meta_models import meta_model

GIB = 2**30


@pytest.mark.slow
def test_sdxl_in_fp8_and_in_four_bits() -> None:
    model = meta_model("SDXL", torch.float16)
    weights = weight_bytes(model)
    linear = convolution = 0
    for layer in model.unet.modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        stored = layer.weight.data.to(torch.float8_e4m3fn)
        linear += stored.numel() if isinstance(layer, nn.Linear) else 0
        convolution += stored.numel() if isinstance(layer, nn.Conv2d) else 0
        original: Any = layer
        original.__class__ = nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d  # not a frozen layer any more
        hold_quantised(layer, QuantisedWeight(stored.shape, lambda device, dtype, stored=stored: stored.to(device, dtype)))
    in_fp8 = weights - linear - convolution
    bytes_of_four_bits = 4.5 / 8  # with an fp32 scale for 64 values (nf4), or an fp16 scale for 32 (Q4_0)
    in_four_bits = weights - linear * (2 - bytes_of_four_bits)
    assert [round(size / GIB, 2) for size in (in_fp8, in_four_bits)] == [4.07, 3.47]
    step = count_memory(model, 1024, checkpointing=True)
    assert round(step.peak / GIB, 2) == 0.76, "including the dequantised values"
    assert in_four_bits + step.peak + RESERVED < in_fp8 + step.peak + RESERVED < 6 * GIB
