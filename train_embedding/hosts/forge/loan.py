"""A checkpoint in Forge's parts while it is lent for training. Only Forge's and reForge's processes can import this.

It relies on these names of their memory managers, read in Forge dfdcbab6 and reForge 3b56b268: load_models_gpu(patchers,
memory_required=bytes), unload_all_models. The managers put models on the device when these are needed, and take them away, or
leave a part of their weights in main memory, when there is no room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from train_embedding.hosts.forge.model import is_quantised, keeps_weights_to_itself, parts, tensors_of, unet_of

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel

_GIB = 1024**3
_ROOM = {"is_sd1": 2.2 * _GIB, "is_sd2": 5 * _GIB, "is_sdxl": 16.5 * _GIB}
"What a step of four pictures needs beside the weights, docs/benchmarks.md; the manager makes as much of it free as it can."


class Loan:
    """sd_model: the program's. memory: its manager. build: makes the DiffusionModel, over the program's weights or, for True,
    read from the file. options: of the manager's `load_models_gpu`."""

    def __init__(self, sd_model: Any, memory: Any, build: Callable[[bool], DiffusionModel], **options: Any) -> None:
        self.sd_model = sd_model
        self._memory = memory
        self._build = build
        self._options = options
        self._apart = is_quantised(unet_of(sd_model))
        if not self._apart:
            self._claim()
            self._apart = keeps_weights_to_itself(sd_model)
        if self._apart:
            self._make_way()
        self.model = build(self._apart)

    def take_back(self) -> None:
        """After others have used the model: what they merged into it is taken out, and it is on the device again. What Forge had
        to move meanwhile is shared anew, so that it is there once."""
        if self._apart:
            self._make_way()
            return
        self._claim()
        if keeps_weights_to_itself(self.sd_model):
            return  # there is no room any more for all of it, and what training uses stays where it is

        from train_embedding.engine.loading.shared_weights import rebind_storage, shares_storage

        if not shares_storage(self.model, tensors_of(self.sd_model)):
            rebind_storage(self.model, self._build(False))

    def _claim(self) -> None:
        objects = parts(self.sd_model)
        room = max(bytes_ for flag, bytes_ in _ROOM.items() if getattr(self.sd_model, flag, False))
        with torch.inference_mode():  # in which the weights were made
            patchers = [objects.unet, objects.clip.patcher, objects.vae.patcher]
            self._memory.load_models_gpu(patchers, memory_required=int(room), **self._options)

    def _make_way(self) -> None:
        """A model read from the file takes the place of the program's own, which it loads again when it needs it."""
        with torch.inference_mode():
            self._memory.unload_all_models()
