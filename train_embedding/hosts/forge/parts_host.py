"""What Forge and reForge have in common as hosts: a checkpoint in parts, and a memory manager that moves them.

It relies on the names that webui_host.py, forge_model.py and forge_loan.py name.
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
from train_embedding.hosts.forge.loan import Loan
from train_embedding.hosts.forge.model import Reading, Schedule
from train_embedding.hosts.webui.host import WebUIHost

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel


class PartsHost(WebUIHost):
    """memory: the program's memory manager. load_options: of its `load_models_gpu`."""

    memory: Any
    load_options: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self._loan: Loan | None = None

    @abstractmethod
    def _readings(self, sd_model: Any) -> dict[str, Reading]:
        """Per text encoder what the program reads of it, under its settings of now."""

    @abstractmethod
    def _schedule(self, sd_model: Any) -> Schedule: ...

    @abstractmethod
    def _computes_in(self, sd_model: Any) -> torch.dtype:
        """The number format that the UNet computes in, whatever its weights are stored in."""

    def _lending(self, _sd_model: Any) -> AbstractContextManager[None]:
        return nullcontext()

    def _runs_pickles(self) -> bool:
        """Both read with a bare `torch.load`, which executes nothing since 2.6."""
        return tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6)

    def _facts_of(self, sd_model: Any) -> dict[str, Any]:
        facts = forge_model.checkpoint_facts(sd_model, self._schedule(sd_model))
        return {**facts, "dtype": str(self._computes_in(sd_model)).removeprefix("torch.")}

    @contextmanager
    def model(self) -> Iterator[DiffusionModel]:
        """The checkpoint over the program's own weights, or read from its file where these are quantised or there is no room.

        Inside `exclusive`, the program has put it on the device, without anybody's Lora, and has been told what training needs.
        """
        sd_model = self._needed()
        schedule = self._schedule(sd_model)
        if reason := forge_model.why_no_training(sd_model, schedule):
            raise HostFailed(reason)

        def build(from_file: bool) -> DiffusionModel:
            if not from_file:
                return forge_model.live(sd_model, self._readings(sd_model), schedule)
            return forge_model.read(
                sd_model, self._readings(sd_model), schedule, str(devices.device), self._computes_in(sd_model)
            )

        if not self._working():
            yield build(forge_model.keeps_weights_to_itself(sd_model))
            return
        with self._lending(sd_model):
            self._loan = Loan(sd_model, self.memory, build, **self.load_options)
            try:
                yield self._loan.model
            finally:
                self._loan = None

    @contextmanager
    def _model_given_back(self) -> Iterator[None]:
        loan, self._loan = self._loan, None
        try:
            yield
        finally:
            self._loan = loan
        self._take_back()

    def _take_back(self) -> None:
        """After others, or a preview, have used the lent model. Raises HostFailed where it is no longer the loaded one."""
        loan = self._loan
        if loan is None:
            return
        if sd_models.model_data.sd_model is not loan.sd_model:
            title = loan.sd_model.sd_checkpoint_info.title
            raise HostFailed(f"{self.title} loaded another checkpoint meanwhile.", f'Choose "{title}" again, and resume the run.')
        loan.take_back()
