"""Modules whose parameters are given tensors, not copies of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from train_embedding.errors import HostFailed


def assign_weights(module: Any, weights: dict[str, torch.Tensor]) -> Any:
    """Make tensors the parameters of a module; they share storage with the caller's.

    Args:
        module: Changed in place.
        weights: By the names of its parameters and buffers.

    Returns:
        The module.

    Raises:
        HostFailed: Names are missing or unknown.
    """
    tensors = {key: tensor.detach() for key, tensor in weights.items()}
    missing, unexpected = module.load_state_dict(tensors, strict=False, assign=True)
    if missing or unexpected:
        raise HostFailed(
            f"The checkpoint's weights do not fit its config: {len(missing)} missing and {len(unexpected)} unknown in "
            f"{type(module).__name__}, such as {(missing or unexpected)[0]}."
        )
    return module


def count_shared_parameters(module: nn.Module, state: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """Return how many parameters of a module share storage with a tensor of `state`, and how many it has."""
    storages = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    parameters = list(module.parameters())
    return sum(parameter.untyped_storage().data_ptr() in storages for parameter in parameters), len(parameters)
