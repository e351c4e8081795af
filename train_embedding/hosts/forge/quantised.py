"""The weights of Forge and reForge that are quantised, as weights of the engine. Can be imported only in their processes.

It uses these names of Forge dfdcbab6; reForge 3b56b268 has the first:

    layers          weight in fp8, with scale_weight, a factor, in some checkpoints
    GGUF            weight.gguf_cls (None if it is not quantised) and its dequantize_pytorch
    4 bits          weight.quant_state (None until the weight was on the device): shape
    bitsandbytes    functional.dequantize_4bit
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from train_embedding.engine.layers.quantised import Weight

_PLAIN = (torch.float32, torch.float16, torch.bfloat16)
"Dtypes of weights that are not quantised."
_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_SCALE = "scale_weight"
"Parameter of a layer that belongs to its weight."


def is_quantised(module: Any) -> bool:
    """Return whether a module has weights in another format than fp32, fp16 or bf16."""
    return any(parameter.dtype not in _PLAIN for parameter in module.parameters())


def is_readable(module: Any) -> bool:
    """Return whether the formats of all weights of a module are known."""
    return all(_is_known(parameter) for parameter in module.parameters())


def weights_of(module: Any, prefix: str, device: torch.device, dtype: torch.dtype) -> dict[str, Weight]:
    """Return the tensors of a quantised module by name, with the prefix and without the `wrapped.` that wrappers of a host add.

    The weights of its linear layers and convolutions stay where they are, and in their format: each is read from its layer
    whenever it is needed, so that training uses the weight that the memory manager moves or replaces. All other tensors are
    small; they are converted.

    Args:
        module: The module, whose formats are known.
        prefix: Prefix of the names.
        device: Device of the converted tensors.
        dtype: Their dtype.
    """
    from train_embedding.engine.layers.quantised import QuantisedWeight

    weights: dict[str, Weight] = {}
    for path, layer in module.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            key = prefix + f"{path}.{name}".replace(".wrapped.", ".")
            shape = _shape(parameter)
            if name == "weight" and len(shape) > 1 and not isinstance(layer, torch.nn.Embedding):
                weights[key] = QuantisedWeight(shape, partial(_dequantised, layer))
            elif name != _SCALE:
                weights[key] = _values(parameter, device).to(device, dtype)
    return weights


def _is_known(parameter: Any) -> bool:
    readers = (getattr(parameter, name, None) for name in ("gguf_cls", "quant_state"))
    return parameter.dtype in (*_PLAIN, *_FP8) or any(reader is not None for reader in readers)


def _shape(parameter: Any) -> torch.Size:
    """Return the shape of the dequantised values. A GGUF parameter returns it as its own."""
    state = getattr(parameter, "quant_state", None)
    return torch.Size(parameter.shape if state is None else state.shape)


def _dequantised(layer: Any, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return the values of a layer's weight as its own forward pass uses them, without Loras."""
    values = _values(layer.weight, device).to(device, dtype)
    scale = getattr(layer, _SCALE, None)
    return values if scale is None else values * scale.to(device, dtype)


def _values(parameter: Any, device: torch.device) -> torch.Tensor:
    """Return the values of a parameter in a floating-point format, on the device if they had to be computed."""
    if getattr(parameter, "gguf_cls", None) is not None:
        return parameter.gguf_cls.dequantize_pytorch(_on(parameter, device))
    if getattr(parameter, "quant_state", None) is not None:
        from bitsandbytes.functional import dequantize_4bit

        moved = _on(parameter, device)
        return dequantize_4bit(moved.data, quant_state=moved.quant_state)
    return parameter.data


def _on(parameter: Any, device: torch.device) -> Any:
    """Return a parameter on a device; the program's own stays where it is."""
    return parameter if parameter.device.type == device.type else parameter.to(device)
