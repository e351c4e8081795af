"""Stand-ins for the layers in which Forge keeps quantised weights, with the names that its own have."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

FORMATS = ("fp8", "fp8 with a scale", "gguf", "nf4", "nf4 of bitsandbytes")
BLOCK = 32
CODE = torch.linspace(-1, 1, 16)
"The values of four bits; nf4's own are not evenly spaced, which makes no difference here."


class GgufParameter(nn.Parameter):
    """Blocks of bytes, each an fp16 scale and 32 int8, under the shape of the values."""

    def __new__(cls, values: torch.Tensor) -> GgufParameter:
        blocks = values.reshape(-1, BLOCK)
        scale = blocks.abs().amax(1, keepdim=True).half() / 127
        numbers = (blocks / scale.float().clamp(min=1e-6)).round().clamp(-127, 127).to(torch.int8)
        made = super().__new__(cls, torch.cat([scale.view(torch.uint8), numbers.view(torch.uint8)], 1), requires_grad=False)
        made.gguf_cls = GgufClass  # pyright: ignore[reportAttributeAccessIssue]
        made.real_shape = values.shape  # pyright: ignore[reportAttributeAccessIssue]
        return made

    @property
    def shape(self) -> torch.Size:  # pyright: ignore[reportIncompatibleVariableOverride]
        return vars(self)["real_shape"]


class GgufClass:
    @staticmethod
    def dequantize_pytorch(parameter: Any) -> torch.Tensor:
        data = parameter.data
        return (data[:, :2].view(torch.float16) * data[:, 2:].view(torch.int8)).view(parameter.shape)


class FourBits(nn.Parameter):
    """Two values a byte, and a scale for each block in the state."""

    def __new__(cls, values: torch.Tensor) -> FourBits:
        blocks = values.reshape(-1, BLOCK)
        scale = blocks.abs().amax(1, keepdim=True).clamp(min=1e-6)
        numbers = (blocks / scale - CODE[:, None, None]).abs().argmin(0).to(torch.uint8).flatten()
        made = super().__new__(cls, (numbers[::2] | numbers[1::2] << 4)[:, None], requires_grad=False)
        made.quant_state = SimpleNamespace(absmax=scale, shape=values.shape)  # pyright: ignore[reportAttributeAccessIssue]
        return made


def dequantize_4bit(data: torch.Tensor, quant_state: Any) -> torch.Tensor:
    numbers = torch.cat([data & 15, data >> 4], 1).flatten().long()
    return (CODE[numbers].view(-1, BLOCK) * quant_state.absmax).view(quant_state.shape)


def quantise(unet: nn.Module, kind: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Quantise what Forge quantises of a UNet, in place, and return the values of all its tensors by name.

    It keeps every tensor in fp8, but only linear layers in other formats.
    """
    if kind == "nf4":
        functional = types.ModuleType("bitsandbytes.functional")
        vars(functional)["dequantize_4bit"] = dequantize_4bit
        monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
        monkeypatch.setitem(sys.modules, "bitsandbytes.functional", functional)
    make, values_of = _codec(kind)
    values: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for path, layer in list(unet.named_modules()):
            for name, parameter in list(layer.named_parameters(recurse=False)):
                key = f"{path}.{name}"
                is_matrix = name == "weight" and parameter.ndim == 2 and parameter.shape[1] % BLOCK == 0
                if not is_matrix and not kind.startswith("fp8"):
                    values[key] = parameter.data.clone()
                    continue
                changed = make(parameter.data)
                setattr(layer, name, changed)
                values[key] = values_of(changed)
                if kind.endswith("scale") and is_matrix:
                    layer.register_parameter("scale_weight", nn.Parameter(torch.tensor(1.5), requires_grad=False))
                    values[key] = values[key] * 1.5
    return values


def _codec(kind: str) -> tuple[Callable[[torch.Tensor], nn.Parameter], Callable[[Any], torch.Tensor]]:
    if kind.startswith("fp8"):
        return lambda values: nn.Parameter(values.to(torch.float8_e4m3fn), requires_grad=False), lambda stored: stored.float()
    if kind == "gguf":
        return GgufParameter, lambda stored: GgufClass.dequantize_pytorch(stored).float()
    if kind == "nf4":
        return FourBits, lambda stored: dequantize_4bit(stored.data, stored.quant_state)
    try:
        import bitsandbytes  # pyright: ignore[reportMissingImports]
    except (ImportError, AttributeError):  # its releases for a CPU need a newer torch than 2.1
        pytest.skip("bitsandbytes is not installed, or does not work with this torch")

    def quantised(values: torch.Tensor) -> nn.Parameter:
        data, state = bitsandbytes.functional.quantize_4bit(values, blocksize=64, quant_type="nf4")
        options = {"quant_state": state, "blocksize": 64, "quant_type": "nf4", "bnb_quantized": True}
        return bitsandbytes.nn.Params4bit(data, requires_grad=False, **options)

    return quantised, lambda stored: bitsandbytes.functional.dequantize_4bit(stored.data, quant_state=stored.quant_state)
