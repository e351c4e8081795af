"""The checkpoint while a run uses it. This module can be imported only in the processes of Forge and reForge.

It uses these names of their memory managers, in Forge dfdcbab6 and reForge 3b56b268: load_models_gpu(patchers,
memory_required=bytes), unload_all_models. The managers move models to the device when they are needed, and unload them or keep a
part of their weights in main memory if the device is full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from train_embedding.hosts.forge.model import forge_objects, must_read_from_file, tensors_of, unet_of
from train_embedding.hosts.forge.quantised import is_quantised, is_readable

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel

_GIB = 1024**3
_TRAINING_MEMORY = {"is_sd1": 2.2 * _GIB, "is_sd2": 5 * _GIB, "is_sdxl": 16.5 * _GIB}
"Bytes that a step of four images needs besides the weights (docs/benchmarks.md); the manager frees them if possible."


class LentModel:
    """The program's model, lent to a run as a DiffusionModel."""

    def __init__(self, sd_model: Any, memory: Any, build: Callable[[bool], DiffusionModel], **options: Any) -> None:
        """Load the program's model onto the device, or unload it if training uses a copy read from the file.

        Args:
            sd_model: The program's model.
            memory: Its memory manager.
            build: Makes the DiffusionModel: from the file if its argument is True, else with the program's weights.
            **options: Further options for the manager's `load_models_gpu`.
        """
        self.sd_model = sd_model
        self._memory = memory
        self._build = build
        self._options = options
        self._from_file = not is_readable(unet_of(sd_model))
        if not self._from_file:
            self._load_to_device()
            self._from_file = must_read_from_file(sd_model)
        if self._from_file:
            self._unload_all()
        self.model = build(self._from_file)

    def reclaim(self) -> None:
        """Restore the model after others used it: remove Loras, and move it to the device.

        If Forge moved the weights, the DiffusionModel shares them again, so that they are in memory only once.
        """
        if self._from_file:
            self._unload_all()
            return
        self._load_to_device()
        if must_read_from_file(self.sd_model):
            return  # not everything fits any more, so training keeps its own copy

        from train_embedding.engine.loading.shared_weights import rebind_storage, shares_storage

        # The small tensors of a quantised UNet are converted copies, which share nothing; its layers follow the program's.
        if is_quantised(unet_of(self.sd_model)) or not shares_storage(self.model, tensors_of(self.sd_model, self.model.dtype)):
            rebind_storage(self.model, self._build(False))

    def _load_to_device(self) -> None:
        """Move the model to the device and free memory for training."""
        objects = forge_objects(self.sd_model)
        memory = max(bytes_ for flag, bytes_ in _TRAINING_MEMORY.items() if getattr(self.sd_model, flag, False))
        with torch.inference_mode():  # in which the weights were made
            patchers = [objects.unet, objects.clip.patcher, objects.vae.patcher]
            self._memory.load_models_gpu(patchers, memory_required=int(memory), **self._options)

    def _unload_all(self) -> None:
        """Free the device for a copy read from the file; the program loads its model again when it needs it."""
        with torch.inference_mode():
            self._memory.unload_all_models()
