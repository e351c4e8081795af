"""Models whose weights are quantised to fp8, and the same models with the values of these weights in fp32."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import torch

from train_embedding.engine.layers.quantised import QuantisedWeight, Weight

NETWORKS = ("model.diffusion_model.", "cond_stage_model.", "conditioner.")
"Prefixes of the networks that hosts quantise."
NO_LAYERS = ("token_embedding.weight", "position_embedding.weight", "positional_embedding")
"Ends of the keys of weights that are looked up, or added."


class Fp8:
    """Weights in fp8, and how many of their dequantised values are in memory."""

    def __init__(self, state: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float8_e4m3fn) -> None:
        self.stored = {key: tensor.to(dtype) for key, tensor in state.items() if _is_layer(key, tensor)}
        "What a host keeps, by key."
        self.quantised: dict[str, Weight] = {**state, **{key: self._weight(key) for key in self.stored}}
        self.plain: dict[str, torch.Tensor] = {**state, **{key: self.stored[key].float() for key in self.stored}}
        self.calls = self.alive = self.most_alive = 0
        self.dtypes: set[torch.dtype] = set()
        "Dtypes in which layers computed."

    def _weight(self, key: str) -> QuantisedWeight:
        return QuantisedWeight(self.stored[key].shape, lambda _device, dtype: self._values(key, dtype))

    def _values(self, key: str, dtype: torch.dtype) -> torch.Tensor:
        values = self.stored[key].to(dtype)
        self.dtypes.add(dtype)
        self.calls += 1
        self.alive += 1
        self.most_alive = max(self.alive, self.most_alive)
        weakref.finalize(values, self._released)
        return values

    def _released(self) -> None:
        self.alive -= 1


def _is_layer(key: str, tensor: torch.Tensor) -> bool:
    return tensor.ndim > 1 and key.startswith(NETWORKS) and not key.endswith(NO_LAYERS)
