"""Base of the hosts for Forge and reForge: a checkpoint in separate objects, and a memory manager that moves them.

It uses the names listed in webui/host.py, forge/model.py and forge/lent_model.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from modules import devices, sd_models

from train_embedding.errors import HostFailed
from train_embedding.hosts.forge import model as forge_model
from train_embedding.hosts.forge.lent_model import LentModel
from train_embedding.hosts.forge.model import EncoderSettings, NoiseSchedule
from train_embedding.hosts.webui.host import WebUIHost, another_checkpoint

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel


class ForgeBaseHost(WebUIHost):
    """Base of `ForgeHost` and `ReForgeHost`."""

    memory: Any
    "The program's memory manager."
    load_options: dict[str, Any]
    "Further options for its `load_models_gpu`."

    def __init__(self) -> None:
        super().__init__()
        self._lent: LentModel | None = None

    @abstractmethod
    def _encoder_settings(self, sd_model: Any) -> dict[str, EncoderSettings]:
        """Return which output of each text encoder the program uses with its current settings."""

    @abstractmethod
    def _schedule(self, sd_model: Any) -> NoiseSchedule:
        """Return the noise schedule of the checkpoint."""

    @abstractmethod
    def _compute_dtype(self, sd_model: Any) -> torch.dtype:
        """Return the dtype in which the UNet computes, which may differ from that of its weights."""

    def _program_settings_kept(self, _sd_model: Any) -> AbstractContextManager[None]:
        """Keep the program's settings that previews use until exit."""
        return nullcontext()

    def _runs_pickles(self) -> bool:
        """Return whether `torch.load`, which both programs use, executes pickles by default, as before torch 2.6."""
        return tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6)

    def _facts_of(self, sd_model: Any) -> dict[str, Any]:
        facts = forge_model.checkpoint_facts(sd_model, self._schedule(sd_model))
        return {**facts, "dtype": str(self._compute_dtype(sd_model)).removeprefix("torch.")}

    @contextmanager
    def model(self) -> Iterator[DiffusionModel]:
        """Share the program's own weights, or read the checkpoint's file if `forge_model.must_read_from_file`.

        Inside `exclusive`, the program first moves them to the device, removes Loras and frees memory for training.
        """
        sd_model = self._require_model()
        schedule = self._schedule(sd_model)
        if reason := forge_model.why_no_training(sd_model, schedule):
            raise HostFailed(reason)

        def build(from_file: bool) -> DiffusionModel:
            settings, dtype = self._encoder_settings(sd_model), self._compute_dtype(sd_model)
            if not from_file:
                return forge_model.shared_model(sd_model, settings, schedule, dtype)
            return forge_model.model_from_file(sd_model, settings, schedule, str(devices.device), dtype)

        if not self._working():
            yield build(forge_model.must_read_from_file(sd_model))
            return
        with self._program_settings_kept(sd_model):
            self._lent = LentModel(sd_model, self.memory, build, **self.load_options)
            try:
                yield self._lent.model
            finally:
                self._lent = None

    @contextmanager
    def _model_given_back(self) -> Iterator[None]:
        lent, self._lent = self._lent, None
        try:
            yield
        finally:
            self._lent = lent
        self._reclaim()

    def _reclaim(self) -> None:
        """Restore the lent model after others or a preview used it.

        Raises:
            HostFailed: Another checkpoint was loaded.
        """
        lent = self._lent
        if lent is None:
            return
        if sd_models.model_data.sd_model is not lent.sd_model:
            raise another_checkpoint(self.title, lent.sd_model.sd_checkpoint_info.title)
        lent.reclaim()
