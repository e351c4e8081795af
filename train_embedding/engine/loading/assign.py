"""Assignment of tensors to the parameters of modules without copying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from train_embedding.engine.layers.quantised import QuantisedWeight, Weight, hold_quantised
from train_embedding.errors import HostFailed
from train_embedding.messages import msg


def assign_weights(module: Any, weights: Mapping[str, Weight]) -> Any:
    """Make tensors the parameters of a module, sharing their storage, and let layers hold quantised weights.

    Args:
        module: The module, changed in place.
        weights: Tensors by the names of parameters and buffers.

    Returns:
        The module.

    Raises:
        HostFailed: Names are missing or unknown.
        ValueError: A layer cannot hold its quantised weight.
    """
    tensors = {key: tensor.detach() for key, tensor in weights.items() if isinstance(tensor, torch.Tensor)}
    quantised = {key: weight for key, weight in weights.items() if isinstance(weight, QuantisedWeight)}
    no_layer = _hold_all(module, quantised)
    missing, unknown = module.load_state_dict(tensors, strict=False, assign=True)
    unexpected: list[str] = [*unknown, *no_layer]
    if missing or unexpected:
        raise HostFailed(
            msg(
                "The checkpoint's weights do not fit its config: {missing} missing and {unknown} unknown in {module}, such as "
                "{name}.",
                missing=len(missing),
                unknown=len(unexpected),
                module=type(module).__name__,
                name=(missing or unexpected)[0],
            )
        )
    return module


def count_shared_parameters(module: nn.Module, state: Mapping[str, Weight]) -> tuple[int, int]:
    """Return how many parameters of a module share storage with a tensor of `state`, and how many parameters it has."""
    storages = {tensor.untyped_storage().data_ptr() for tensor in state.values() if isinstance(tensor, torch.Tensor)}
    parameters = list(module.parameters())
    return sum(parameter.untyped_storage().data_ptr() in storages for parameter in parameters), len(parameters)


def _hold_all(module: Any, weights: Mapping[str, QuantisedWeight]) -> list[str]:
    """Let the layers of a module hold quantised weights, and return the keys of those without a layer."""
    layers: dict[str, nn.Module] = dict(module.named_modules())
    no_layer: list[str] = []
    for key, weight in weights.items():
        path, _, name = key.rpartition(".")
        if name == "weight" and path in layers:
            hold_quantised(layers[path], weight)
        else:
            no_layer.append(key)
    return no_layer
